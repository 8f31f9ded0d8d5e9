"""Downloads over a connection that breaks, and archives that want out of their folder."""

import errno
import gzip
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from eva_core.contracts.cards import DatasetCard
from eva_core.errors import EvaError, UsageError
from eva_vision import download
from eva_vision.download import Remote, fetch, obtain, unpack

CONTENT = bytes(range(256)) * 40_000  # 10 MB
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
CARD = DatasetCard(name="it", licence="CC0 1.0", citation="Them 2020")


class Server(ThreadingHTTPServer):
    """Serves `files`; `cuts` holds after how many bytes the next answers break off, `busy` how many fail with 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/it.bin": CONTENT}
        self.cuts: list[int] = []
        self.busy = 0
        self.ranges = True
        self.seen: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        path = self.path.partition("?")[0]
        self.server.seen.append((path, asked))
        content = self.server.files.get(path)
        if content is None or self.server.busy:
            self.server.busy = max(0, self.server.busy - 1)
            return self.send_error(404 if content is None else 503)
        first = int(re.findall(r"\d+", asked)[0]) if asked and self.server.ranges else 0
        if first and first >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if asked and self.server.ranges else 200)
        if asked and self.server.ranges:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[first : first + cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def refusal(call: object, *args: object) -> str:
    with pytest.raises(EvaError) as caught:
        call(*args)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Fetching.


def test_a_whole_file_is_checked_and_renamed(server: Server, tmp_path: Path):
    told: list[str] = []
    fetch(server.url("it.bin?download=1"), tmp_path / "deep" / "it.bin", MD5, told.append)
    assert (tmp_path / "deep" / "it.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["it.bin"]
    assert server.url("it.bin") in told[0]


def test_what_is_there_is_checked_and_not_fetched_again(server: Server, tmp_path: Path):
    (tmp_path / "it.bin").write_bytes(CONTENT)
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert server.seen == []


def test_a_full_disk_is_said_at_once_and_what_came_is_kept(server: Server, tmp_path: Path, monkeypatch):
    tried: list[str] = []

    def full(url: str, part: Path, headers: Mapping[str, str]) -> None:
        tried.append(url)
        part.write_bytes(CONTENT[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(EvaError, match=r"it\.bin\.part \(No space left on device\)\. Free space"):
        fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert len(tried) == 1
    assert (tmp_path / "it.bin.part").stat().st_size == 100


def test_a_cut_connection_goes_on_where_it_broke(server: Server, tmp_path: Path):
    server.cuts = [3_000_000, 4_000_000]
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert (tmp_path / "it.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.seen] == [None, "bytes=3000000-", "bytes=7000000-"]


def test_a_later_call_goes_on_where_the_last_one_stopped(server: Server, tmp_path: Path):
    (tmp_path / "it.bin.part").write_bytes(CONTENT[:1_234_567])
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert server.seen == [("/it.bin", "bytes=1234567-")]
    assert (tmp_path / "it.bin").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(server: Server, tmp_path: Path):
    (tmp_path / "it.bin.part").write_bytes(CONTENT)
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert (tmp_path / "it.bin").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_anew(server: Server, tmp_path: Path):
    (tmp_path / "it.bin.part").write_bytes(CONTENT + b"more")
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert (tmp_path / "it.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_start(server: Server, tmp_path: Path):
    server.ranges, server.cuts = False, [3_000_000]
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert (tmp_path / "it.bin").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path):
    server.busy = 3
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert len(server.seen) == 4


def test_more_cuts_than_attempts_are_fine_while_something_arrives(server: Server, tmp_path: Path):
    server.cuts = [1_000_000] * 8
    fetch(server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert (tmp_path / "it.bin").read_bytes() == CONTENT


def test_a_server_that_stays_busy_ends_in_a_line_and_keeps_the_part(server: Server, tmp_path: Path):
    (tmp_path / "it.bin.part").write_bytes(CONTENT[:1000])
    server.busy = 99
    message = refusal(fetch, server.url("it.bin"), tmp_path / "it.bin", MD5)
    assert "after 5 attempts" in message
    assert "503" in message
    assert "it.bin.part" in message
    assert (tmp_path / "it.bin.part").stat().st_size == 1000


def test_no_server_ends_in_a_line(server: Server, tmp_path: Path):
    url = server.url("it.bin")
    server.shutdown()
    server.server_close()
    assert "after 5 attempts" in refusal(fetch, url, tmp_path / "it.bin", MD5)


def test_404_is_not_tried_again(server: Server, tmp_path: Path):
    assert "HTTP 404" in refusal(fetch, server.url("gone.bin"), tmp_path / "gone.bin")
    assert len(server.seen) == 1


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path, algorithm: str):
    message = refusal(fetch, server.url("it.bin"), tmp_path / "it.bin", f"{algorithm}:0123")
    assert f"Expected {algorithm}:0123" in message
    assert list(tmp_path.iterdir()) == []


# Unpacking.


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def tarred(path: Path, members: list[tarfile.TarInfo], content: bytes = b"x") -> Path:
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_zip(tmp_path: Path):
    unpack(zipped(tmp_path / "a.zip", {"set/": b"", "set/x/1.txt": b"one", "set/2.txt": b"two"}), tmp_path)
    assert (tmp_path / "set" / "x" / "1.txt").read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "set"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_tar(tmp_path: Path, name: str):
    unpack(tarred(tmp_path / name, [member("./", tarfile.DIRTYPE), member("./set/1.txt")], b"one"), tmp_path)
    assert (tmp_path / "set" / "1.txt").read_bytes() == b"one"


def test_gz(tmp_path: Path):
    (tmp_path / "a.h5.gz").write_bytes(gzip.compress(CONTENT))
    unpack(tmp_path / "a.h5.gz", tmp_path)
    assert (tmp_path / "a.h5").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "set/../../out.txt", "C:\\out.txt", "set\\..\\out.txt"])
def test_members_that_want_out_are_refused(tmp_path: Path, name: str):
    folder = tmp_path / "in"
    folder.mkdir()
    for archive in (
        zipped(tmp_path / "a.zip", {"set/1.txt": b"one", name: b"out"}),
        tarred(tmp_path / "a.tar.gz", [member("set/1.txt"), member(name)]),
    ):
        assert repr(name) in refusal(unpack, archive, folder)
        assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_are_refused(tmp_path: Path, kind: bytes):
    archive = tarred(tmp_path / "a.tar.gz", [member("set", kind, "/etc"), member("set/1.txt")])
    assert "'set'" in refusal(unpack, archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_zip_links_are_refused(tmp_path: Path):
    info = zipfile.ZipInfo("set")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    assert "'set'" in refusal(unpack, tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.txt.gz"])
@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.98])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, name: str, keep: float):
    noise = hashlib.shake_256(b"").digest(100_000)
    archive = tmp_path / name
    if name == "a.zip":
        zipped(archive, {"set/1.bin": noise})
    elif name in ("a.tar", "a.tar.gz"):
        tarred(archive, [member("set/1.bin")], noise)
    else:
        archive.write_bytes(gzip.compress(noise))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    assert "Cannot unpack" in refusal(unpack, archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_changed_byte_is_noticed(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"set/1.bin": hashlib.shake_256(b"").digest(10_000)})
    content = bytearray(archive.read_bytes())
    content[5_000] ^= 1
    archive.write_bytes(content)
    assert "Cannot unpack" in refusal(unpack, archive, tmp_path)
    assert not (tmp_path / "set").exists()


def test_what_a_kill_left_is_cleared(tmp_path: Path):
    (tmp_path / ".a.zip.unpacking" / "set").mkdir(parents=True)
    (tmp_path / ".a.zip.unpacking" / "set" / "half.txt").write_text("ha")
    unpack(zipped(tmp_path / "a.zip", {"set/1.txt": b"one"}), tmp_path)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["1.txt"]


def test_what_is_there_is_not_overwritten(tmp_path: Path):
    (tmp_path / "set").mkdir()
    assert "Expected room for set" in refusal(unpack, zipped(tmp_path / "a.zip", {"set/1.txt": b"one"}), tmp_path)
    assert list((tmp_path / "set").iterdir()) == []


def test_other_formats_are_refused(tmp_path: Path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(UsageError, match=r"\.zip"):
        unpack(tmp_path / "a.rar", tmp_path)


# Both.


def test_obtain_shows_the_licence_unpacks_and_tidies(server: Server, tmp_path: Path):
    server.files["/set.zip"] = zipped(tmp_path / "made.zip", {"set/1.txt": b"one"}).read_bytes()
    server.files["/table.csv"] = b"a,b\n"
    remotes = (Remote(server.url("set.zip?download=1"), "set"), Remote(server.url("table.csv"), "table.csv"))
    told: list[str] = []
    obtain(CARD, remotes, tmp_path / "root", told.append)
    assert told[0] == "it: licence CC0 1.0; cite Them 2020."
    visible = [path.name for path in (tmp_path / "root").iterdir() if not path.name.startswith(".")]
    assert sorted(visible) == ["set", "table.csv"]
    assert (tmp_path / "root" / "set" / "1.txt").read_bytes() == b"one"
    told.clear()
    for root in (tmp_path / "root", tmp_path / "root" / "set"):
        obtain(CARD, remotes, root, told.append)
    assert (told, len(server.seen)) == ([], 2)


def test_obtain_notices_an_archive_of_something_else(server: Server, tmp_path: Path):
    server.files["/set.zip"] = zipped(tmp_path / "made.zip", {"other/1.txt": b"one"}).read_bytes()
    message = refusal(obtain, CARD, (Remote(server.url("set.zip"), "set"),), tmp_path / "root")
    assert "Expected set in set.zip" in message


def test_a_dataset_downloads_itself(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from eva_vision.datasets.crc import Crc
    from tests.vision.datasets import test_crc

    test_crc.tree(tmp_path / "made")
    for name in ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"):
        images = (tmp_path / "made" / name).rglob("*.tif")
        files = {str(path.relative_to(tmp_path / "made")): path.read_bytes() for path in images}
        server.files[f"/{name}.zip"] = zipped(tmp_path / f"{name}.zip", files).read_bytes()
    monkeypatch.setattr(Crc, "counts", test_crc.COUNTS)
    monkeypatch.setattr(Crc, "remotes", [Remote(server.url(f"{n}.zip"), n) for n in Crc.folders.values()])
    assert Crc(str(tmp_path / "root"), download=True).fingerprint() == Crc(str(tmp_path / "made")).fingerprint()
