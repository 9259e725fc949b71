"""An object on S3 whose name ends in a slash is heard of if it has content: nothing of an archive vanishes."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.storage.objects import Links
from jobs.storage.walk import LIKE_FOLDER
from tests.support.storage import forget_clients

SIZES = {"in/": 0, "in/a.wav": 32_000, "in/day/": 0, "in/g.wav/": 32_000, "in/h.tar/": 10_240, "in/q.wav//": 32_000}


class Bucket(BaseHTTPRequestHandler):
    """A bucket that can be listed, which is all that a folder marker needs; some servers do not store such names."""

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        prefix = query.get("prefix", [""])[0]
        keys = "".join(
            f'<Contents><Key>{key}</Key><Size>{size}</Size><ETag>"{len(key)}"</ETag>'
            "<LastModified>2026-11-30T00:00:00Z</LastModified></Contents>"
            for key, size in SIZES.items()
            if key.startswith(prefix)
        )
        content = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode()
        is_list = "list-type" in query
        self.send_response(200 if is_list else 404)
        self.send_header("Content-Length", str(len(content) if is_list else 0))
        self.end_headers()
        self.wfile.write(content if is_list else b"")

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    forget_clients()
    yield "s3://archive"
    forget_clients()
    server.shutdown()
    server.server_close()


def test_a_listing_tells_them_apart_from_markers_of_folders(bucket: str) -> None:
    for found in (storage.survey(f"{bucket}/in"), storage.matching(f"{bucket}/*n/*")):
        assert found is not None
        assert [each.uri for each in found.objects] == [f"{bucket}/in/a.wav"]
        assert found.links == {LIKE_FOLDER: Links(3, f"{bucket}/in/g.wav/")}


def test_they_are_counted_as_passed_over_and_warned_of(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    found = find(InputConfig(input=(f"{bucket}/in",)))

    assert [each.uri for each in found.files] == [f"{bucket}/in/a.wav"]
    assert found.passed_over.to_content() == {f"({LIKE_FOLDER})": {"count": 3, "examples": ["in/g.wav/"]}}
    assert "3 objects with content whose names end in a slash" in caplog.text


def test_an_archive_of_nothing_else_says_so(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SIZES, "in/a.wav")

    with pytest.raises(ConfigError, match=r"3 \(like a folder\)"):
        find(InputConfig(input=(f"{bucket}/in",)))
