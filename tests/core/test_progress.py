import pytest

from eva_core import progress
from eva_core.progress import Bar, Spaced, quiet, say


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
    assert capsys.readouterr().err == "bach: 3000 images, 1,500.0 images/s\n"


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
