"""Logins of web servers: used to read, kept in no address."""

import base64

import pytest

from eva_vision.slides.build_index import failure
from eva_vision.slides.reading import logins
from eva_vision.slides.reading.blobs import Blob


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch, tmp_path):
    monkeypatch.setattr(logins, "_KNOWN", {})
    monkeypatch.setenv("HOME", str(tmp_path))


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_a_login_is_used_and_not_shown():
    blob = Blob("https://alice:p%40ss@h:8080/a/b.svs")
    assert (blob.url, blob.root, blob.key) == ("https://h:8080/a/b.svs", "https://h:8080", "a/b.svs")
    assert logins.headers("https://h:8080") == basic("alice:p@ss")
    assert logins.headers("https://other") == {}


def test_a_login_comes_from_netrc(tmp_path):
    (tmp_path / ".netrc").write_text("machine h login bob password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert logins.headers("https://h:8080") == basic("bob:secret")


def test_a_failure_keeps_no_secret():
    found = failure("https://a:pw@h/x.svs?sig=dead", OSError("no https://a:pw@h/x.svs?sig=dead"))
    assert not {"pw", "dead"} & set(str(found.entry).replace(":", "@").replace("=", "@").split("@"))
    assert found.entry["path"] == "https://h/x.svs"
