import os
from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.slides.index import BLOBS, LINES, LISTED, Index
from eva_vision.slides.index_files import read_content
from tests.vision.slides.test_index import built, dummies, pretend, told


@pytest.fixture
def small(tmp_path):
    """An index that was made in two goes, the second of which did a slide again; its slides and its folder."""
    slides, output = dummies(tmp_path / "slides"), tmp_path / "index"
    built(slides[:3], output, pretend)
    Path(slides[0]).write_text("another")
    built(slides, output, pretend)
    return slides, output


@pytest.mark.parametrize("file", [LINES, BLOBS, LISTED])
def test_an_index_that_was_cut_anywhere_says_which_slides_are_missing(small, file, capsys):
    slides, output = small
    assert told(output, capsys) == (set(slides), "")
    whole = (output / file).read_bytes()
    for cut in reversed(range(len(whole) - (file == LISTED))):  # its last byte is the end of the line
        os.truncate(output / file, cut)
        content = read_content(output)
        gone = set(slides) - content.entries.keys()
        assert (content.missing, content.listed) == (sorted(gone), file != LISTED)
        assert bool(gone) == (file != LISTED)
        if cut % 97 == 0:
            paths, said = told(output, capsys)
            assert (paths or set()) == set(slides) - gone
            assert "slides may be missing" in said or f"{len(gone)} slides are missing from the index" in said
            assert all(path in said for path in gone)
    built(slides, output, pretend)
    assert told(output, capsys) == (set(slides), "")


@pytest.mark.parametrize("file", [LINES, BLOBS, LISTED])
def test_an_index_that_lost_a_file_says_so_and_is_made_whole(small, file, capsys):
    slides, output = small
    (output / file).unlink()
    assert "missing" in told(output, capsys)[1]
    built(slides, output, pretend)
    assert told(output, capsys) == (set(slides), "")


@pytest.mark.parametrize("file", [LINES, LISTED])
def test_a_flipped_bit_changes_nothing_unsaid(small, file, capsys):
    _, output = small
    whole, entries = (output / file).read_bytes(), Index(output).entries
    for at in range(0, len(whole), 23):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        (output / file).write_bytes(damaged)
        paths, said = told(output, capsys)
        if paths is not None:
            assert set(Index(output, tell=False).entries) <= set(entries)
            assert said or set(Index(output).entries) == set(entries)  # the header, or a line that no longer counts


@pytest.mark.parametrize("text", ["slide,mpp\na,0.5\n", "notes", '{"eva_index": 1, "tissue": "hsv"}\n{"path": "/a"}\n'])
def test_files_of_something_else_or_of_another_version_are_left_alone(text, tmp_path):
    output = tmp_path / "index"
    output.mkdir()
    (output / LINES).write_text(text)
    with pytest.raises(UsageError, match="Expected an index"):
        built(dummies(tmp_path / "slides"), output, pretend)
    assert (output / LINES).read_text() == text
