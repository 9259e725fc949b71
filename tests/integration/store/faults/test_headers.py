"""Headers that the uploader of an object chooses are never taken for the store's fault."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from hashlib import md5

import fsspec
import pytest

from jobs import storage
from jobs.errors import StorageError
from jobs.storage import RefusedError, Stored
from tests.support.proxy import FaultProxy
from tests.support.store_faults import SHORT

CHOSEN = {
    "Latin-1": [("Content-Disposition", 'attachment; filename="caf\xe9.wav"'), ("Content-Language", "\xff")],
    "metadata": [("x-amz-meta-a", "\xe9\xff"), ("x-amz-meta-b", "a\x01b"), ("x-amz-meta-c", "")],
    "dates": [("Expires", "never"), ("x-amz-object-lock-retain-until-date", "never")],
    "numbers": [("x-amz-tagging-count", "many"), ("x-amz-missing-meta", "some")],
    "content": [("Content-Type", "\xff/\xff; charset=nonesuch"), ("Content-Encoding", "gzip, \xff")],
    "cookies": [("Set-Cookie", "\xff=;;\xff"), ("Link", "<\xff>; rel=")],
    "long": [("Cache-Control", "v" * 1_000_000)],
    "many": [(f"x-amz-meta-{number}", "v") for number in range(2_000)],
}


@pytest.mark.parametrize("chosen", CHOSEN)
def test_headers_that_are_not_used_are_not_read(s3_root: str, proxy: FaultProxy, chosen: str) -> None:
    planned = Stored(f"{s3_root}/a", len(SHORT), md5(SHORT).hexdigest())
    proxy.when("GET", r"/a$").headers(*CHOSEN[chosen])
    proxy.when("HEAD", r"/a$").headers(*CHOSEN[chosen])

    with storage.opened(planned, whole=True) as file:
        content = file.read()
        file.verify()

    assert content == storage.read_bytes(planned.uri) == SHORT
    assert storage.stat(planned.uri) == planned
    assert proxy.log
    assert all(request.status in (200, 206) for request in proxy.log)


def test_a_name_as_old_browsers_send_it_is_no_fault(
    s3_root: str, proxy: FaultProxy, store: fsspec.AbstractFileSystem
) -> None:
    url = urllib.parse.urlsplit(store.sign(f"{s3_root}/b.wav", client_method="put_object"))
    connection = http.client.HTTPConnection(url.netloc)
    name = b'attachment; filename="caf\xe9.wav"'
    connection.request("PUT", f"{url.path}?{url.query}", SHORT, {"Content-Disposition": name})
    reply = connection.getresponse()
    assert reply.read() == b""
    assert reply.status == 200

    assert storage.read_bytes(f"{s3_root}/b.wav") == SHORT
    url = urllib.parse.urlsplit(store.sign(f"{s3_root}/b.wav"))
    connection.request("GET", f"{url.path}?{url.query}")
    assert connection.getresponse().getheader("Content-Disposition") == name.decode("latin-1")


def test_names_that_xml_cannot_write_are_listed(s3_root: str) -> None:
    keys = ["a\x01b.wav", "a\r\n.wav", "\ufffe.wav", "a&amp;<>.wav", "%41+ .wav", "e\u0301.wav"]
    for key in keys:
        storage.write_bytes(f"{s3_root}/names/{key}", SHORT)

    found = storage.listing(f"{s3_root}/names") or []

    assert {each.uri for each in found} == {f"{s3_root}/names/{key}" for key in keys}
    assert all(storage.read_bytes(each.uri) == SHORT for each in found)


@pytest.mark.parametrize("lines", [[("a", "v" * 2_000_000)], [("a b", "c")]], ids=["too long", "no name"])
def test_an_object_whose_replies_cannot_be_read_is_refused_soon_if_others_can(
    s3_root: str, proxy: FaultProxy, lines: list[tuple[str, str]]
) -> None:
    storage.write_bytes(f"{s3_root}/b", SHORT)
    proxy.when("GET", r"/a$").headers(*lines)
    proxy.when("GET", r"/a$").before(lambda _: storage.read_bytes(f"{s3_root}/b"))
    storage.set_retry_budget(5.0)
    began = time.monotonic()

    with pytest.raises(RefusedError, match=f"{s3_root}/a: the store's replies about it cannot be read"):
        storage.read_bytes(f"{s3_root}/a")

    assert time.monotonic() - began < 3.0


def test_a_store_of_which_no_reply_can_be_read_has_all_the_time_there_is(s3_root: str, proxy: FaultProxy) -> None:
    proxy.when("GET").headers(("a b", "c"))
    storage.set_retry_budget(1.0)
    began = time.monotonic()

    with pytest.raises(StorageError, match="cannot be read"):
        storage.read_bytes(f"{s3_root}/a")

    assert 1.0 <= time.monotonic() - began < 3.0
