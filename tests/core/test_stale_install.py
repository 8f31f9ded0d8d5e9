import json
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from eva_core import stale_install
from eva_core.cli import main
from eva_core.stale_install import stale_line


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An editable install of a package with one name."""
    root, info = tmp_path / "my checkout", tmp_path / "site" / "eva_pathology-0.1.dist-info"
    root.mkdir()
    info.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project.entry-points."eva.tasks"]\nold = "a:B"\n')
    (info / "entry_points.txt").write_text("[eva.tasks]\nold = a:B\n")
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": root.as_uri()}))
    monkeypatch.setattr(stale_install, "distribution", lambda name: PathDistribution(info))
    return root


def test_an_install_of_this_checkout_is_not_stale(checkout: Path):
    assert stale_line() is None


def test_a_new_name_that_was_not_installed_is_said_with_what_to_do(checkout: Path):
    (checkout / "pyproject.toml").write_text('[project.entry-points."eva.tasks"]\nold = "a:B"\nnew = "c:D"\n')
    assert stale_line() == (
        f"{checkout} was updated since it was installed: new are not known yet. "
        f"Run: python -m pip install --editable {checkout}"
    )


def test_what_fails_says_so_too_and_doctor(checkout: Path, capsys: pytest.CaptureFixture):
    (checkout / "pyproject.toml").write_text('[project.entry-points."eva.tasks"]\nnew = "c:D"\n')
    assert main(["fit", "--config", "nosuch"]) == 2
    assert "was updated since it was installed" in capsys.readouterr().err
    assert main(["doctor"]) == 1
    assert "was updated since it was installed" in capsys.readouterr().out


def test_an_installed_wheel_has_no_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    info = next(checkout.parent.glob("site/*"))
    (info / "direct_url.json").unlink()
    (checkout / "pyproject.toml").write_text('[project.entry-points."eva.tasks"]\nnew = "c:D"\n')
    assert stale_line() is None
