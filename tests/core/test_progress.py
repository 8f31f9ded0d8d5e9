import os
import sys

import pytest

from eva_core import progress
from eva_core.cli import main
from eva_core.progress import Bar, Spaced, log, quiet, reported, say, stage, timed


def test_nothing_is_said_while_it_is_quiet(capsys: pytest.CaptureFixture):
    with quiet():
        with quiet():
            say("inner")
        say("outer")
        with Bar("bar", 1, "images"):
            pass
    say("after")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "after\n")


def test_a_bar_without_a_terminal_is_a_line_at_the_end(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Bar("bach", 3000, "images") as bar:
        bar.advance(1000)
        bar.advance(2000)
        now[0] += 2
    assert capsys.readouterr().err == "bach: 3000 images, 1,500.0 images/s, 2.0 s\n"


def test_a_bar_that_fails_or_is_hidden_says_nothing(capsys: pytest.CaptureFixture):
    with pytest.raises(RuntimeError), Bar("a", 1, "images"):
        raise RuntimeError
    with Bar("b", 1, "images", visible=False) as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""


def test_calls_take_a_tenth_of_the_time_and_the_last_is_made_up_for(monkeypatch: pytest.MonkeyPatch):
    now, calls = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def slow() -> None:
        calls.append(now[0])
        now[0] += 1

    spaced = Spaced(slow)
    for _ in range(30):  # one a second, besides the time that calls take
        spaced()
        now[0] += 1
    assert calls == [100, 110, 120, 130]
    spaced.finish()
    assert len(calls) == 5
    spaced.finish()
    assert len(calls) == 5  # nothing is owed


def test_a_long_stage_says_how_far_it_is_once_a_minute(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Bar("training", 400, "steps", done=100) as bar:
        for _ in range(3):
            now[0] += 50
            bar.advance(25)
    with Bar("training", 4, "steps", lines=False) as bar:
        now[0] += 100
        bar.advance(1)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "training: 150 of 400 steps, 0.5 steps/s, 8 min 20 s left"
    assert second.startswith("training: 175 steps, 0.5 steps/s, 2 min 30 s")
    assert third.startswith("training: 1 steps")


def test_a_summary_has_the_seconds_of_each_stage(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with reported():
        now[0] += 1
        for what in ("extract", "fit", "extract"):
            with Bar(what):
                now[0] += 2
        with timed("other ranks"):
            now[0] += 70
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "starting 1.0 s; extract 4.0 s; fit 2.0 s; other ranks 1 min 10 s; in all 1 min 17 s"
    with reported(), Bar("one"):
        pass
    assert "in all" not in capsys.readouterr().err  # its own line has said it
    with reported():
        for number in range(40):
            with Bar(f"stage {number}"):
                now[0] += number
    assert "; 28 others 6 min 18 s; in all 13 min 00 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], ["note", "measure", "stage: 0.0 s"]),
        (["--quiet"], []),
        (["--verbose"], ["note", "measure", "stage: 0.0 s"]),
    ],
)
def test_quiet_and_verbose_hold_for_a_command_and_its_processes(flags, said, capsys, monkeypatch):
    given = []

    def command(argv: list[str]) -> int:
        given.append((argv, os.environ.get(progress.VERBOSITY)))
        say("note")
        log("measure")
        with Bar("stage"):
            pass
        print("result")
        return 0

    monkeypatch.setattr("eva_core.commands.doctor.main", command)
    monkeypatch.delenv(progress.VERBOSITY, raising=False)
    assert main(["doctor", *flags]) == 0
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err.splitlines() == said
    assert given == [([], flags[0].removeprefix("--") if flags else None)]
    assert progress.VERBOSITY not in os.environ


def test_quiet_and_verbose_together_are_refused_and_plugins_have_their_own(plugin, capsys):
    assert main(["doctor", "--quiet", "--verbose"]) == 2
    assert "--quiet or --verbose" in capsys.readouterr().err
    code = "def main(argv):\n    print(argv)\n"
    plugin("toy_command", "[eva.commands]\ntoy = toy_command:main\n", code)
    assert main(["toy", "--quiet"]) == 0
    assert capsys.readouterr().out == "['--quiet']\n"


def test_a_terminal_has_a_summary_and_no_lines(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with reported():
        with Bar("stage", 2, "images") as bar:
            bar.advance(2)
        log("measure")
    err = capsys.readouterr().err
    assert "measure" not in err
    assert "stage: " not in err
    assert [line.split()[0] for line in err.splitlines() if " s" in line and "left" not in line] == [
        *("starting", "stage", "in"),
    ]


def test_a_log_has_the_line_of_a_stage_before_it_begins(capsys: pytest.CaptureFixture):
    with stage("Building"):
        assert capsys.readouterr().err == "Building ...\n"
    with stage("Hidden", visible=False):
        pass
    assert capsys.readouterr().err == ""
