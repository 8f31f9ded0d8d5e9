from datetime import UTC, datetime

import pytest

from eva_vision.slides.reading.bucket_keys import Object, is_odd, plain, shown, without_markers


@pytest.mark.parametrize("key", ["a//b.svs", "/a.svs", "a/./b", "a/../b", "a/b\n.svs", "a\x7f", "a/"])
def test_keys_that_cannot_be_named(key: str):
    assert is_odd(key)
    assert not is_odd(plain(key)) or plain(key) == ""


@pytest.mark.parametrize("key", ["a.svs", "a/b c/ü & ,.svs", "a/.hidden", "a..b/c"])
def test_keys_that_can(key: str):
    assert not is_odd(key)
    assert plain(key) == key


def test_what_an_odd_key_would_be():
    assert plain("a//./b/../c\x01.svs") == "a/b/c_.svs"


def test_only_empty_objects_above_others_are_markers_of_folders():
    objects = {"a": Object(0), "a/b": Object(3), "c": Object(0), "d": Object(5), "d/e": Object(0)}
    assert set(without_markers(objects)) == {"a/b", "c", "d", "d/e"}


def test_a_version_is_what_storage_tells():
    when, never = datetime(2026, 1, 2, tzinfo=UTC), datetime.fromtimestamp(0, UTC)
    assert Object.from_answer(3, '"e"', when) == Object(3, f'"e" {when.timestamp()}')
    assert Object.from_answer(3, None, when).version == str(when.timestamp())
    assert Object.from_answer(3, '"e"', never).version == '"e"'
    assert Object.from_answer(3, None, never).version == ""


def test_a_text_is_one_line():
    assert shown("a\nb\x00\n\nmore") == r"a\nb\x00"
