"""The table of results that were written by hand."""

import numpy as np

from eva_pretrain.studies.scores import study_record
from eva_pretrain.studies.table import as_markdown, failures, on_screen
from tests.pretrain.studies.results import BASE, BETTER, START, STUDY, make_run, result


def test_the_table_says_what_was_found(runs):
    record = study_record(STUDY, runs)
    text = as_markdown(record)
    row = next(line for line in text.splitlines() if line.startswith("| better"))
    assert "| 3 | 0.720 ± 0.110 (" in row
    assert r"| +0.110 \* (+0.100 to +0.120) |" in row
    assert "- In-distribution: better is better than base; start cannot be told apart from base." in text
    assert "c (balanced accuracy on test, n = 40 of 10 groups)" in text
    assert "Six colour numbers alone reach 0.250 in-distribution." in text
    assert on_screen(record).row_count == 3


def test_what_failed_is_a_row_with_its_reason(runs, tmp_path):
    failed, half = runs[-1], runs[-2]
    for pair in failed.pairs:
        (pair.folder / "default" / "results.json").unlink()
    (failed.folder / "failed.json").write_text('{"reason": "out of memory"}')
    (half.pairs[2].folder / "default" / "results.json").unlink()
    (half.pairs[2].folder / "failed.json").write_text('{"reason": "no such file"}')
    record = study_record(STUDY, runs)
    better = record["variants"][2]
    assert better["in_distribution"]["seeds"] == [0, 1]
    assert better["out_of_distribution"]["seeds"] == [0]
    assert failures(record) == [("better, seed 1 on c", "no such file"), ("better, seed 2", "out of memory")]
    text = as_markdown(record)
    assert "| better | 1 / 2 of 3 |" in text
    assert "- better, seed 2 has no score: out of memory" in text


def test_intervals_of_images_are_called_too_narrow(tmp_path):
    run = make_run(tmp_path, BASE, 0)
    for pair in run.pairs:
        result(pair.folder / "default", 0.5, np.full(2000, 0.5), kind="image-level, optimistic")
    text = as_markdown(study_record(STUDY, [run, *(make_run(tmp_path, v, 0) for v in (START, BETTER))]))
    assert "- a: no groups are known, so its images are resampled: too narrow an interval." in text
