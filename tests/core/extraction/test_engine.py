import numpy as np

from eva_core.extraction.engine import batches_of


def test_batches_hold_the_missing_rows_in_order():
    assert [rows.tolist() for rows in batches_of(np.arange(10), 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [rows.tolist() for rows in batches_of(np.array([1, 7, 9]), 2)] == [[1, 7], [9]]
    assert batches_of(np.arange(0), 4) == []
