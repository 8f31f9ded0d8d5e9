"""The page of help: all settings, grouped, common ones first, without torch."""

import subprocess
import sys
from dataclasses import fields

import pytest

from eva_core.errors import UsageError
from eva_pretrain.run.config import PARTS, Export, build_parser
from eva_pretrain.run.help_page import COMMON, TOP_LEVEL, arguments_of, page, settings_of


def test_every_setting_has_a_line_and_a_meaning():
    text = page()
    for part, kind in {**PARTS, "export": Export}.items():
        for field in fields(kind):
            assert f"  --{part}.{field.name}" in text
        assert [s.name for s in settings_of(kind.__module__, kind.__name__)[1] if not s.text] == []
    own = {action.dest for action in build_parser()._actions if "." not in action.dest}
    assert own - {"help", "print_config", *PARTS, "export"} <= TOP_LEVEL.keys()
    assert [a.name for a in arguments_of("eva_pretrain.methods.dinov2", "DinoV2")[:2]] == ["prototypes", "hidden"]


def test_common_flags_come_first():
    lines = [line for line in page().splitlines() if line.startswith("  --")]
    assert [line.split()[0].removeprefix("--") for line in lines[:10]] == list(COMMON)


def test_a_recipe_shows_its_values():
    assert "[32]" in page()
    text = " ".join(page(["--config", "dinov2_vits14", "--help"]).split())
    assert "Patches of a batch of one device. [recipe: 128]" in text
    assert "[recipe: 65536]" in text
    with pytest.raises(UsageError, match="Did you mean dinov2_vits14"):
        page(["--config=dinov2_vits41"])


def test_help_imports_no_torch():
    code = "import sys; from eva_core.cli import main; main(['pretrain', '-h']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
