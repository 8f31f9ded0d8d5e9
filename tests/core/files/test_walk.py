"""The walk: every file once by what it is, loops end, and what cannot be looked at is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eva_core.files.walk import ordinary, walk

PNG = ".png"


def is_png(path: str) -> bool:
    return path.endswith(PNG)


@pytest.fixture
def write(tmp_path: Path):
    """Write files by path below a folder, and links by `path -> target`; returns the folder."""

    def make(*files: str, **links: str) -> Path:
        root = tmp_path / "root"
        for path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(os.fsencode(path))
        for path, target in links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, root / path)
        return root

    return make


def names(root: Path) -> list[str]:
    return list(walk(root, is_png).files)


def test_files_come_sorted_with_their_sizes(write):
    root = write("b/2.png", "a.png", "b/10.png", "b/notes.txt", "b-c.png", "B.png")
    found = walk(root, is_png)
    assert list(found.files) == ["B.png", "a.png", "b-c.png", "b/10.png", "b/2.png"]
    assert found.files["b/10.png"].st_size == len("b/10.png")
    assert found.failed == found.same_files == found.same_folders == {}


def test_hidden_files_and_what_systems_leave_are_none(write):
    litter = (".x.png", "._a.png", ".git/a.png", "__MACOSX/a.png", "@eaDir/a.png/t.png", "lost+found/a.png")
    assert names(write("a.png", *litter)) == ["a.png"]
    assert [name for name in (".DS_Store", "a/Thumbs.db", "desktop.ini", "a.b", "x/_a") if ordinary(name)] == [
        "a.b",
        "x/_a",
    ]


def test_linked_folders_and_files_are_read_like_any_other(write, tmp_path):
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "x.png").touch()
    (outside / "y.png").touch()
    root = write("a.png", linked=str(outside / "deep"), file=str(outside / "y.png"))
    os.symlink(outside / "y.png", root / "y.png")
    assert names(root) == ["a.png", "linked/x.png", "y.png"]
    os.symlink(root, tmp_path / "other")
    assert names(tmp_path / "other") == ["a.png", "linked/x.png", "y.png"]


@pytest.mark.parametrize(
    "links",
    [
        {"up": ".."},
        {"here": "."},
        {"up": "..", "here": "."},
        {"a/b/top": "../..", "a/self": "."},
        {"a/x": "../c", "c/y": "../a"},
        {"l1": "a", "l2": "l1", "a/back": "../l2"},
        {"a/root": "/"},
    ],
    ids=str,
)
def test_loops_end_and_count_nothing_twice(write, links):
    root = write("one.png", "a/two.png", "a/b/three.png", "c/four.png", **links)
    found = walk(root, is_png)
    assert sorted(found.files) == ["a/b/three.png", "a/two.png", "c/four.png", "one.png"]
    assert found.failed == {}


def test_a_loop_through_a_linked_folder_ends(write, tmp_path):
    pool = tmp_path / "pool"
    (pool / "p1").mkdir(parents=True)
    (pool / "p2").mkdir()
    (pool / "p1" / "x.png").touch()
    (pool / "p2" / "y.png").touch()
    os.symlink(pool, pool / "p1" / "up")
    assert names(write("a.png", p1=str(pool / "p1"))) == ["a.png", "p1/x.png"]


def test_of_several_names_the_real_one_stands(write):
    root = write("z/real.png", **{"a.png": "z/real.png", "b": "z", "c.png": "a.png"})
    found = walk(root, is_png)
    assert list(found.files) == ["z/real.png"]
    assert found.same_files == {"a.png": "z/real.png", "c.png": "z/real.png"}
    assert found.same_folders == {"b": "z"}
    (root / "y.png").hardlink_to(root / "z" / "real.png")
    found = walk(root, is_png)
    assert list(found.files) == ["y.png"]
    assert found.same_files == dict.fromkeys(("a.png", "c.png", "z/real.png"), "y.png")
    (root / "d").mkdir()
    (root / "d" / "x.png").hardlink_to(root / "y.png")  # looked at after y.png
    assert names(root) == ["d/x.png"]
    assert set(walk(root, is_png).same_files.values()) == {"d/x.png"}


def test_file_systems_without_inodes_keep_all_their_files(write, monkeypatch):
    root = write("a.png", "b/c.png")
    monkeypatch.setattr("eva_core.files.walk._identity", lambda info: None)
    assert names(root) == ["a.png", "b/c.png"]


def test_links_that_lead_nowhere_are_named_if_they_may_matter(write):
    gone = {"x.png": "/gone/x.png", "folder": "/gone", "v1.0": "/gone", "notes.txt": "/gone", "p": "q", "q": "p"}
    found = walk(write("a.png", **gone), is_png)
    assert list(found.failed) == ["folder", "p", "q", "v1.0", "x.png"]
    assert all(reason.startswith("a link that leads nowhere: ") for reason in found.failed.values())


def test_what_is_no_file_is_named(write):
    root = write("a.png")
    os.mkfifo(root / "pipe.png")
    assert walk(root, is_png).failed == {"pipe.png": "it is neither a file nor a folder"}


def test_names_that_are_not_utf8_or_look_like_patterns(write):
    odd = (os.fsdecode(b"caf\xe9.png"), "[a].png", "*.png", "a b?.png", "ü/é.png")
    assert sorted(names(write(*odd))) == sorted(odd)


LOWERED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_folders_that_may_not_be_listed_or_entered_are_named_once(write, mode):
    root = write("a.png", "locked/b.png", "locked/c.png", "locked/d/e.png", **{"locked/f.png": "../a.png"})
    code = "import sys; from eva_core.files.walk import walk; f = walk(sys.argv[1], lambda p: p.endswith('.png'))\n"
    code += "print(list(f.files), f.failed)"
    (root / "locked").chmod(mode)
    try:
        lowered = LOWERED if os.getuid() == 0 else []  # root may read everything
        done = subprocess.run([*lowered, sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    finally:
        (root / "locked").chmod(0o755)
    assert done.stdout.strip() == "['a.png'] {'locked': 'permission denied'}"
