import pytest

from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("batch_size", 0), ("workers", -1), ("devices", 0), ("part_seconds", -1.0), ("part_seconds", float("nan"))),
        *(("memory_gb", 0.0), ("memory_gb", float("inf"))),
    ],
)
def test_numbers_that_make_no_sense_are_refused(field, value):
    with pytest.raises(UsageError, match=f"^Expected --{field}"):
        Extraction(**{field: value})
