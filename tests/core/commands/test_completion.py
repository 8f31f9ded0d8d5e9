import subprocess

import pytest

from eva_core import registry
from eva_core.cli import main


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    array = " ".join(f"'{word}'" for word in words)
    code = f"{script}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _eva; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_commands_names_and_flags(capsys: pytest.CaptureFixture):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "eva", "lead") == ["leaderboard"]
    assert set(completed(script, "eva", "")) == {entry.name for entry in registry.commands.entries()}
    assert completed(script, "eva", "fit", "--model", "uni2") == ["uni2_h"]
    assert completed(script, "eva", "fit", "--batch") == ["--batch_size"]
    assert completed(script, "eva", "download", "phi") == ["phikon", "phikon_v2"]
    assert completed(script, "eva", "download", "bac") == ["bach"]


def test_zsh_takes_the_same_script_after_a_line_of_its_own(capsys: pytest.CaptureFixture):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert main(["completion", "zsh"]) == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first == "autoload -U +X bashcompinit && bashcompinit"
    assert rest == script


@pytest.mark.parametrize(("argv", "got"), [([], "nothing"), (["fish"], "fish"), (["bash", "zsh"], "bash zsh")])
def test_another_shell_is_one_line(argv: list[str], got: str, capsys: pytest.CaptureFixture):
    assert main(["completion", *argv]) == 2
    assert capsys.readouterr().err.endswith(f"Expected `eva completion bash` or `zsh`, but got {got}.\n")
