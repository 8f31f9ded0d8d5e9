import pytest

from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_vision.slide_level.protocol import SlideLevel


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("mpp", 0.0, "mpp of slides above 0"),
        ("tissue", 1.5, "tissue between 0 and 1"),
        ("folds", 1, "folds of at least 2"),
        ("lr", (), "lr as numbers above 0"),
        ("patches", 0, "patches to be at least 1"),
        ("penalties", (0.0,), "penalties above 0"),
        ("datasets", {"panda": {"patchs": 3}}, "patchs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(field: str, value: object, line: str):
    with pytest.raises(UsageError, match=line):
        SlideLevel(**{field: value})


def test_what_is_otherwise_for_one_dataset_holds_unless_it_was_asked_for():
    published = SlideLevel(datasets={"panda": {"patches": 1000, "mpp": 0.5}})
    assert published.of("panda", published).patches == 1000
    assert published.of("other", published).patches == 4096
    asked = SlideLevel(patches=7, datasets=published.datasets)
    assert asked.of("panda", published).patches == 7


def test_the_published_protocol_reads_levels_and_ours_an_exact_mpp():
    published, ours = (load_protocol(name).slide_classification for name in ("eva-0.4", "strict"))
    assert (published.reading, published.runs, published.batch_size, published.patience) == ("level", 20, 32, 20)
    assert published.of("panda_small").patches == 200
    assert (ours.reading, ours.mpp, ours.tissue, ours.patches) == ("exact", 0.5, 0.4, 4096)
