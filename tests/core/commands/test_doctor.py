"""`eva doctor`: what it reports, and every plugin that is broken."""

import pytest

from eva_core import registry
from eva_core.cli import main

GROUPS = sorted({f"eva.{kind}" for kind in ("models", "datasets", "heads", "tasks", "methods", "commands", "tissue")})


def test_doctor_reports(capsys: pytest.CaptureFixture, cache):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(title in out for title in ("versions", "devices", "cache", "tokens", "plugins"))
    assert str(cache) in out
    assert "every registered name imports" in out


def test_every_group_is_looked_at():
    assert {names.group for names in registry.every_group()} >= set(GROUPS)


@pytest.mark.parametrize("group", [*GROUPS, "eva.groups_to_come"])
def test_a_broken_plugin_of_any_group_is_named_with_its_package(
    group: str, plugin, capsys: pytest.CaptureFixture, cache
):
    name = f"broken_{group.partition('.')[2]}"
    plugin(name, f"[{group}]\nbad = {name}:bad\n", "import nowhere_to_be_found")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"{group}: 'bad' of {name} 1.2.3 does not import (ModuleNotFoundError" in out
    assert "every registered name imports" not in out


def test_a_name_that_two_packages_claim_is_told(plugin, capsys: pytest.CaptureFixture, cache):
    plugin("first", "[eva.methods]\nshared = first:a\n", "a = 1")
    plugin("second", "[eva.methods]\nshared = second:a\n", "a = 2")
    assert main(["doctor"]) == 1
    assert "'shared' is claimed by first 1.2.3 and second 1.2.3" in capsys.readouterr().out
