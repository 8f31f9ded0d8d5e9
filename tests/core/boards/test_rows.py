from eva_core.boards.rows import Cell, Row, Standings


def test_what_nobody_looked_at_is_neither_verified_nor_wrong():
    cell = Cell()
    assert (cell.verified, cell.wrong, cell.source) == (None, [], "")
    board = Standings("b", "B", "eva-0.4", [], [Row("m", "linear", {"t": cell})], 0, False)
    assert board.conflicts == []
