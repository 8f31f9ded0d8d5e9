"""Measures of a run stay readable whatever a kill or a disk did to their file."""

from eva_pretrain.monitor.lines import append_line, drop_lines, read_lines


def test_a_line_of_the_monitor_that_was_cut_is_left_aside(tmp_path):
    file = tmp_path / "monitor.jsonl"
    assert read_lines(file) == []
    for line in ({"step": 1}, {"step": 2}):
        append_line(file, line)
    file.write_text(file.read_text()[:-5])
    append_line(file, {"step": 3})
    told: list[str] = []
    assert read_lines(file, told.append) == [{"step": 1}, {"step": 3}]
    assert told == [f"1 of 3 lines of {file} are damaged, and left out."]


def test_a_line_of_the_monitor_that_has_changed_is_left_aside(tmp_path):
    file = tmp_path / "monitor.jsonl"
    for line in ({"step": 1, "monitor/knn": 0.5}, {"step": 2, "monitor/knn": 0.75}):
        append_line(file, line)
    text = file.read_text()
    for old, new in (("0.75", "0.95"), ("step", "stap"), ('": 2', '": 3')):
        file.write_text(text[:45] + text[45:].replace(old, new))
        assert read_lines(file) == [{"step": 1, "monitor/knn": 0.5}], file.read_text()
    file.write_bytes(text.encode().replace(b"knn", b"k\xffn"))
    assert read_lines(file) == []


def test_lines_beyond_the_checkpoint_go(tmp_path):
    file = tmp_path / "log.jsonl"
    assert drop_lines(file, lambda step: step > 3) == -1
    for step in (1, 3, 5, 7):
        append_line(file, {"step": step})
    assert drop_lines(file, lambda step: step > 3 and step != 7) == 7
    assert [line["step"] for line in read_lines(file)] == [1, 3, 7]
    append_line(file, {"step": 4})
    assert drop_lines(file, lambda step: step > -1) == 7
    assert read_lines(file) == []
