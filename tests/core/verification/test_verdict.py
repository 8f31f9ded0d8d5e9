from pathlib import Path

from eva_core.verification.verdict import Verdict


def test_what_is_wrong_weighs_more_than_what_was_not_looked_at():
    assert Verdict(Path("r"), holds=["seal"]).exit_code == 0
    assert Verdict(Path("r"), unchecked=["data: not here"]).exit_code == 2
    assert Verdict(Path("r"), wrong=["x"], unchecked=["data: not here"]).exit_code == 1


def test_one_line_says_what_holds_and_others_what_does_not():
    verdict = Verdict(Path("r"), ["seal", "4 files"], unchecked=["data: not here."])
    assert verdict.line() == "r: in part not checked: seal; 4 files."
    assert verdict.lines() == ["not checked: data: not here."]
    many = Verdict(Path("r"), wrong=[f"{n}" for n in range(50)])
    assert (len(many.lines()), many.lines()[-1]) == (21, "... and 30 more.")
    assert many.line() == "r: wrong: nothing holds."
