"""Patches of slides, cut to a folder."""

import numpy as np
import pytest
from PIL import Image

from eva_pretrain.data.folder_stream import FolderStream
from eva_pretrain.data.loader import PatchStream
from eva_pretrain.run.config import parse
from eva_pretrain.studies import cut_patches as module
from eva_pretrain.studies.cut_patches import cut_patches
from tests.pretrain.studies.conftest import TINY


@pytest.fixture
def plan(index, tmp_path):
    return parse(["--config", "demo", *TINY[2:], "--slides", str(index.folder), "--output", str(tmp_path / "run")])


def test_they_are_the_first_of_the_stream(plan, index, tmp_path):
    done = cut_patches(plan, 10, tmp_path / "cut")
    files = sorted((tmp_path / "cut").glob("*/*.jpg"))
    assert done["patches"] == len(files) == 10
    assert done["bytes"] == sum(file.stat().st_size for file in files)
    assert done["seconds"] > 0
    with PatchStream(index, plan.sampling, 10, 0).reader() as read:
        batch = read(0)
    wanted = batch.pixels.permute(0, 2, 3, 1).numpy().astype(int)
    assert {name for name, _ in done["seen"]} == {index.entries[n].name for n in batch.slide}
    got = np.stack([np.asarray(Image.open(file)) for file in files]).astype(int)
    assert got.shape == wanted.shape == (10, 40, 40, 3)
    assert np.abs(got - wanted).mean() < 2.5  # JPEG
    assert len(FolderStream(tmp_path / "cut", 4, 40).paths) == 10


def test_a_cut_that_was_killed_goes_on(plan, tmp_path, monkeypatch):
    whole = cut_patches(plan, 11, tmp_path / "whole")
    save, saved = module._save, []

    def killed(path, pixels):
        if len(saved) == 6:
            raise KeyboardInterrupt
        saved.append(path)
        save(path, pixels)

    monkeypatch.setattr(module, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        cut_patches(plan, 11, tmp_path / "cut")
    monkeypatch.setattr(module, "_save", save)
    left = tmp_path / "cut/000000/.000000006.jpg"
    left.touch()
    done = cut_patches(plan, 11, tmp_path / "cut")
    assert not left.exists()
    assert done["patches"] == 11
    assert sorted(done["seen"]) == sorted(whole["seen"])
    for file in sorted((tmp_path / "whole").glob("*/*.jpg")):
        assert (tmp_path / "cut" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("cut again"))
    assert cut_patches(plan, 11, tmp_path / "cut")["patches"] == 11


@pytest.mark.parametrize("name", ["000000/000000005.jpg", "cut.jsonl"])
def test_what_has_changed_is_cut_again(plan, tmp_path, capsys, name):
    whole = cut_patches(plan, 11, tmp_path / "cut")
    files = {file: file.read_bytes() for file in (tmp_path / "cut").glob("*/*.jpg")}
    damaged = tmp_path / "cut" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 4
    damaged.write_bytes(content)
    again = cut_patches(plan, 11, tmp_path / "cut")
    assert "not as they were cut" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in files} == files
    assert (again["seen"], again["bytes"]) == (whole["seen"], whole["bytes"])
    damaged.unlink()
    cut_patches(plan, 11, tmp_path / "cut")
    assert {file: file.read_bytes() for file in files} == files


def test_a_record_that_has_changed_is_told_and_costs_no_cutting(plan, tmp_path, monkeypatch, capsys):
    whole = cut_patches(plan, 11, tmp_path / "cut")
    record = tmp_path / "cut/cut.json"
    record.write_text(record.read_text().replace('"patches": 11', '"patches": 15'))
    monkeypatch.setattr(module, "_save", lambda *_: pytest.fail("cut again"))
    again = cut_patches(plan, 11, tmp_path / "cut")
    assert (again["patches"], again["seen"]) == (11, whole["seen"])
    assert "cut.json is damaged: it is written again" in capsys.readouterr().err
