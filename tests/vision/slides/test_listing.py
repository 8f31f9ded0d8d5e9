"""Slides by patterns, on disks and in buckets: each once, and what cannot be looked at is named."""

import pytest

from eva_core.errors import EvaError, UsageError
from eva_vision.slides import list_slides, open_slide
from eva_vision.slides.reading import blobs


@pytest.fixture
def url(web):
    return f"http://127.0.0.1:{web.server_port}/ycbcr.svs"


def test_listing_a_bucket(bucket):
    def keys(pattern):
        return [found.removeprefix(f"{bucket}/") for found in list_slides(f"{bucket}/{pattern}")]

    assert keys("**/*.svs") == ["a/b/two & 3.svs", "a/one.svs", "c.svs"]
    assert keys("*.svs") == ["c.svs"]
    assert keys("a/*.svs") == ["a/one.svs"]
    assert keys("a/**/*.svs") == ["a/b/two & 3.svs", "a/one.svs"]
    assert keys("a/[o-p]ne.s?s") == ["a/one.svs"]
    assert keys("c.svs") == ["c.svs"]
    with pytest.raises(UsageError, match="nothing matches"):
        keys("*.ndpi")


def test_listing_a_disk(tmp_path):
    for name in ("b.svs", "a/c.svs", "a/d/e.svs", "a/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.svs").mkdir()
    assert list_slides(f"{tmp_path}/**/*.svs") == [f"{tmp_path}/{n}" for n in ("a/c.svs", "a/d/e.svs", "b.svs")]
    assert list_slides(f"{tmp_path}/b.svs") == [f"{tmp_path}/b.svs"]
    with pytest.raises(UsageError, match="nothing matches"):
        list_slides(f"{tmp_path}/*.ndpi")


def test_a_disk_has_every_file_once_by_its_real_name(tmp_path):
    for name in ("b.svs", "a/c.SVS", "batch [1]/x[2].svs", "a/._c.svs", "caf\udce9.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for link, target in {"a/up": "..", "0.svs": "b.svs", "0": "a", "a/d.svs": "../b.svs"}.items():
        (tmp_path / link).symlink_to(target)
    (tmp_path / "z.svs").hardlink_to(tmp_path / "b.svs")
    names = ["a/c.SVS", "b.svs", "batch [1]/x[2].svs", "caf\udce9.svs"]
    assert list_slides(f"{tmp_path}/**/*.svs") == [f"{tmp_path}/{name}" for name in names]
    assert list_slides(f"{tmp_path}/0.svs") == [f"{tmp_path}/0.svs"]
    assert list_slides(f"{tmp_path}/0/*.svs") == [f"{tmp_path}/0/c.SVS", f"{tmp_path}/0/d.svs"]
    for pattern in ("batch [1]/x[2].svs", "batch [1]/*.svs", "**/x[2].svs"):
        assert list_slides(f"{tmp_path}/{pattern}") == [f"{tmp_path}/batch [1]/x[2].svs"]


def test_relative_patterns_stay_relative(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.svs").touch()
    monkeypatch.chdir(tmp_path)
    for pattern in ("**/*.svs", "a/*.svs", "./a/b.svs", "*/b.svs"):
        assert list_slides(pattern) == ["a/b.svs"]


def test_what_cannot_be_looked_at_is_named(tmp_path, capsys):
    (tmp_path / "gone.svs").symlink_to("/gone.svs")
    with pytest.raises(EvaError, match=r"found none, and could not look at .*gone.svs \(a link that leads nowhere"):
        list_slides(f"{tmp_path}/*.svs")
    (tmp_path / "a.svs").touch()
    assert list_slides(f"{tmp_path}/*.svs") == [f"{tmp_path}/a.svs"]
    assert f"{tmp_path}/gone.svs: a link that leads nowhere" in capsys.readouterr().err


@pytest.fixture
def odd_bucket(bucket):
    """A bucket of this test's own."""
    client = pytest.importorskip("boto3").client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="oddities")
    yield lambda key, body=b"x": client.put_object(Bucket="oddities", Key=key, Body=body)
    for item in client.list_objects_v2(Bucket="oddities")["Contents"]:
        client.delete_object(Bucket="oddities", Key=item["Key"])
    client.delete_bucket(Bucket="oddities")


PLAIN = ("a.svs", "100%.svs", "a#b+c d.SVS", "%41.svs", "f/[1]?*.svs", "f/u\u0308.svs", "raw/ok.svs")


@pytest.mark.parametrize("odd", ["raw//two.svs", "raw/../two.svs", "./two.svs", "raw/t\two.svs", "raw/two\x7f.svs"])
def test_an_odd_key_hides_no_other(odd_bucket, odd, capsys):
    for key in PLAIN:
        odd_bucket(key)
    odd_bucket("raw/", b"")
    odd_bucket("empty.svs/", b"")
    odd_bucket("raw//notes.txt")
    odd_bucket(odd)
    assert list_slides("s3://oddities/**/*.svs") == sorted(f"s3://oddities/{key}" for key in PLAIN)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("s3://oddities/")
    assert "two" in line
    assert "copy the object to another key" in line
    assert [blobs.Blob(path).size() for path in list_slides("s3://oddities/**/*.svs")] == [1] * len(PLAIN)
    assert list_slides("s3://oddities/f/*[*].svs") == ["s3://oddities/f/[1]?*.svs"]


def test_markers_of_folders_are_no_slides(odd_bucket):
    for key, body in {"a/": b"", "a/b.svs": b"x", "a/c.svs": b""}.items():
        odd_bucket(key, body)
    assert list_slides("s3://oddities/**") == ["s3://oddities/a/b.svs", "s3://oddities/a/c.svs"]


def test_web_servers_list_nothing(url):
    assert list_slides(url) == [url]
    with pytest.raises(UsageError, match="without wildcards"):
        list_slides(url.replace("ycbcr", "*"))
    with pytest.raises(UsageError, match=r"without '\?'"):
        open_slide(url + "?token=1")
