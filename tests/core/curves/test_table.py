import io

from rich.console import Console

from eva_core.curves.table import columns_of, interval_of, nulls_of, remarks, show, told_text
from tests.core.curves.example import example


def printed(content) -> str:
    console = Console(width=300, file=io.StringIO())
    show(content, console)
    return console.file.getvalue()


def test_the_table_states_labels_scores_and_intervals():
    text = printed(example())
    assert "balanced_accuracy on crc test, logreg, strict (synthetic data)" in text
    row = next(line for line in text.splitlines() if line.startswith("│ 10 %"))
    for cell in (" 100 ", " 9 to 10 ", "0.700 (0.650 to 0.750)", "0.800 (0.750 to 0.850)", " 0.350 "):
        assert cell in row
    assert "<m>" in text
    assert "[b]n is better than <m> at 10 % of train, by 0.100" in text
    assert "0.900 (0.800 to 1.000)" in text  # of few groups the t-interval holds


def test_few_groups_have_the_t_interval():
    points = example()["models"][0]["points"]
    assert [interval_of(p) for p in points] == [None, points[1]["ci95"], points[2]["t95"]]


def test_columns_name_patients_where_they_are_known():
    assert columns_of(example()) == {
        "labelled samples": ["48 to 51", "100", "1,000"],
        "patients or slides": ["4", "9 to 10", "80"],
    }
    assert list(columns_of(example(grouped=False))) == ["labelled samples"]


def test_remarks_say_what_is_not_as_asked():
    text = "\n".join(remarks(example()))
    assert "n = 200 on test; intervals over 40 patients or slides, draws and runs; 2 draws" in text
    assert "1 % is 5.0 % on average: patients or slides are whole, and each class stays" in text
    assert "10 % is" not in text
    assert "<m>, [b]n at 1 %, 2 of 2 draws could not be fitted: Expected groups, but it has 1." in text
    assert "names no patients" in "\n".join(remarks(example(grouped=False)))


def test_colour_stands_beside_models_unless_it_is_one():
    assert nulls_of(example()) == {"colour_stats": [None, 0.35, 0.45]}
    content = example()
    content["models"][1]["model"] = "colour_stats"
    assert nulls_of(content) == {}


def test_of_a_lower_metric_the_other_one_is_better():
    content = example()
    content["higher_is_better"] = False
    assert told_text(-0.1, ["a", "b"], "10 %", content) == "a is better than b at 10 % of train, by 0.100"
