"""Patterns: what they match, and which folders may hold a match."""

import pytest

from eva_vision.slides.patterns import Pattern, parted


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("**/*.svs", ["a.svs", "x/y/a.svs", "X.SVS", "x/TCGA.1.2.svs"], ["a.tif", ".a.svs", "x/._a.svs", ".x/a.svs"]),
        ("*.svs", ["a.svs"], ["x/a.svs"]),
        ("x/**", ["x/a", "x/y/a.b"], ["x", "y/a", "x/Thumbs.db", "x/.DS_Store"]),
        ("**/x/**/*.tif", ["x/a.tif", "p/x/q/r/a.TIF"], ["y/a.tif", "xx/a.tif"]),
        ("*/s?ide[1-3].ndpi", ["p/slide1.ndpi", "p/s ide3.ndpi"], ["p/slide4.ndpi", "slide1.ndpi", "p/q/slide1.ndpi"]),
        ("[!a]*.svs", ["b.svs"], ["a.svs"]),
        ("p[1]/s[2].svs", ["p[1]/s[2].svs", "p1/s2.svs"], ["p1/s3.svs"]),
        (".cache/*.svs", [".cache/a.svs"], ["cache/a.svs", ".cache/.a.svs"]),
        ("**/.*.svs", [".a.svs", "x/.a.svs"], ["a.svs", ".x/.a.svs"]),
        ("*{1}.svs", ["a{1}.svs"], ["a1.svs"]),
        ("u\u0308*.svs", ["\u00fcber.svs"], []),
        ("\u00fc*.svs", ["u\u0308ber.svs"], []),
        ("a+b(c).*", ["a+b(c).svs"], ["aab(c).svs"]),
    ],
)
def test_patterns_match_names(pattern, matching, others):
    found = Pattern(pattern)
    assert [path for path in matching if not found.matches(path)] == []
    assert [path for path in others if found.matches(path)] == []


def test_only_folders_that_may_hold_a_match_are_entered():
    def entered(pattern):
        return [path for path in ("a", "a/b", "a/b/c", "d", ".h") if Pattern(pattern).leads(path)]

    assert entered("*.svs") == []
    assert entered("a/*/x.svs") == ["a", "a/b"]
    assert entered("**/*.svs") == ["a", "a/b", "a/b/c", "d"]
    assert entered("a/b/**/x.svs") == ["a", "a/b", "a/b/c"]
    assert entered(".h/*") == [".h"]


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("/data/**/*.svs", ("/data", "**/*.svs")),
        ("/*.svs", ("/", "*.svs")),
        ("*.svs", ("", "*.svs")),
        ("a/b[1]/c/*.svs", ("a", "b[1]/c/*.svs")),
        ("a/b.svs", ("a", "b.svs")),
    ],
)
def test_the_fixed_part_ends_before_the_first_wildcard(pattern, parts):
    assert parted(pattern) == parts
