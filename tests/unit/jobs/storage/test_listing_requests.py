"""A listing of S3 takes few requests, however deep the folders are that somebody has made."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from xml.sax.saxutils import escape

import pytest

from jobs import storage
from tests.support.storage import forget_clients

MORE_THAN_A_PAGE = range(1_001)


class Bucket(BaseHTTPRequestHandler):
    """A bucket that can be listed, in pages, with and without a delimiter."""

    keys: tuple[str, ...] = ()
    n_requests = 0

    def do_GET(self) -> None:
        type(self).n_requests += 1
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "\0")
        after, room = query.get("continuation-token", ""), int(query["max-keys"])
        below = (key for key in self.keys if key.startswith(prefix) and key > after)
        shown = lambda key: prefix + "".join(key[len(prefix) :].partition(delimiter)[:2])  # noqa: E731
        found = [(name, list(some)[-1]) for name, some in groupby(below, shown)]
        content = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if name.endswith(delimiter)
            else f'<Contents><Key>{escape(name)}</Key><Size>1</Size><ETag>"1"</ETag>'
            "<LastModified>2026-11-30T00:00:00Z</LastModified></Contents>"
            for name, _ in found[:room]
        )
        if is_cut := len(found) > room:
            content += f"<NextContinuationToken>{escape(found[room - 1][1])}</NextContinuationToken>"
        self.send(f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated>{content}</ListBucketResult>")

    def send(self, content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(Bucket, "n_requests", 0)
    forget_clients()
    yield Bucket
    forget_clients()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("deep", "n_requests"),
    [
        # a page that is cut, and one with folders, at each level; from the last level on, two pages of keys
        ("/" * 1_000, 2 + 2 + 2 + 2),
        ("a/" * 500, 2 + 2 + 2 + 2),
        ("a/", 2 + 2 + 1),  # no folders below it: a page, a look for folders, and the other page
        ("", 2 + 1),  # 1,001 objects and no folder: two pages, and a look for folders between them
    ],
)
def test_a_listing_goes_down_into_few_levels_of_folders(
    bucket: type[Bucket], deep: str, n_requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [*(f"calls/r{number}.wav" for number in range(5)), *(f"calls/{deep}{number}" for number in MORE_THAN_A_PAGE)]
    monkeypatch.setattr(Bucket, "keys", tuple(sorted(keys)))

    found = storage.listing("s3://archive/calls")

    assert [each.uri for each in found or []] == [f"s3://archive/{key}" for key in sorted(keys)]
    assert bucket.n_requests == n_requests


def test_folders_below_one_that_is_alone_are_listed_side_by_side(
    bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sorted(f"calls/2026/{day}/{number}" for day in range(3) for number in range(400))
    monkeypatch.setattr(Bucket, "keys", tuple(keys))

    assert [each.uri for each in storage.listing("s3://archive/calls") or []] == [f"s3://archive/{key}" for key in keys]
    assert bucket.n_requests == 2 + 2 + 3
