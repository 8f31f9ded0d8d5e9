import json

from eva_core.files.checked_lines import checked_line, fields_of


def test_a_line_is_what_was_written_or_nothing():
    fields = {"step": 7, "value": 0.25, "names": ["Ä", None]}
    line, check = checked_line(fields)
    assert fields_of(line) == (fields, check)
    assert json.loads(line) == {**fields, "check": check}
    for bit in range(8 * len(line)):
        changed = bytearray(line)
        changed[bit // 8] ^= 1 << bit % 8
        assert fields_of(bytes(changed))[0] is None, changed
    assert all(fields_of(line[:end])[0] is None for end in range(len(line)))
