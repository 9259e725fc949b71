"""The store of `s3://` URIs: objects and listings of buckets."""

from __future__ import annotations

import contextlib
import random
import re
import string
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, pairwise
from typing import Any

from fsspec.utils import glob_translate

from detector.errors import ConfigError
from jobs.storage.files import RangeFile, StoredFile
from jobs.storage.objects import ABSENT, Found, LeaveOut, Links, Listing, NotFoundError, RefusedError, Sieve, Stored
from jobs.storage.s3.body import RangeBody, check_page, etag_of
from jobs.storage.s3.client import S3Client
from jobs.storage.s3.ranges import ObjectRanges
from jobs.storage.walk import LIKE_FOLDER

PAGE_KEYS = 1_000  # in an answer: as many as S3 gives
NEAR = 4  # folders: the inmost and the outmost that are looked around in
AT_ONCE = 16  # requests of one listing
PAGES_AHEAD = 4  # of each folder, so that few are in memory
LEVELS = 3  # of folders, each alone in the one above: a key may have a thousand, and they are not asked for one by one
NO_PAGE: dict[str, Any] = {"IsTruncated": False}
HEX_DIGITS = "123456789abcdef"  # markers are named by slots, whose first digits are equally common
LAST = "\U0010ffff"  # sorts after every key


class S3:
    """Objects in buckets; an object's tag is its ETag."""

    def __init__(self) -> None:
        self._client = S3Client()

    def stat(self, uri: str, *, as_source: bool = False) -> Stored | None:  # noqa: ARG002 - an ETag is for both
        """HEAD."""
        head = self._client.head(uri, (404,)) if self._client.split(uri)[1] else None
        return None if head is None else Stored(uri.rstrip("/"), head["ContentLength"], etag_of(head))

    def read(self, uri: str) -> bytes:
        """GET; if it breaks off, GET the rest of the same object."""
        return self._read_tagged(uri)[0]

    def write(self, uri: str, content: bytes) -> None:
        """PUT."""
        self._client.put(uri, content)

    def put(self, uri: str, content: bytes, expected: str) -> Found | None:
        """PUT under a condition; if it is refused, an earlier attempt may have succeeded: so compare what is there."""
        if expected == ABSENT:
            done = self._client.put(uri, content, (412,), IfNoneMatch="*")
        else:
            done = self._client.put(uri, content, (404, 412), IfMatch=f'"{expected}"')
        if done:
            return None
        try:
            found = Found(*self._read_tagged(uri))
        except NotFoundError:
            return Found(None, ABSENT)
        return None if found.content == content else found

    def remove(self, uri: str) -> None:
        """DELETE; it succeeds on S3 without an object, too."""
        bucket, key = self._client.split(uri)
        self._client.ask(uri, "delete_object", refusals=(404,), Bucket=bucket, Key=key)

    def check_bucket(self, uri: str) -> None:
        """List one key, which needs the bucket and the right to list it."""
        bucket, key = self._client.split(uri)
        arguments = {"Bucket": bucket, "Prefix": _prefix_of(key), "MaxKeys": 1}
        if self._client.ask(uri, "list_objects_v2", check_page, (404,), **arguments) is None:
            raise NotFoundError(f"{uri}: not found. Check the bucket and the spelling.")

    @contextlib.contextmanager
    def opened(self, stored: Stored, *, whole: bool) -> Iterator[StoredFile]:
        """GET by ranges, each on the condition that the object is still the planned one: no HEAD is needed."""
        file = RangeFile(stored, ObjectRanges(self._client, stored, multipart=whole), whole=whole)
        yield StoredFile(file, stored.uri, file.verify)

    def first_bytes(self, stored: Stored, n_bytes: int) -> bytes:
        """GET that range, on the condition that the object is the planned one."""
        return ObjectRanges(self._client, stored, multipart=False).fetch(0, n_bytes)

    def around(self, uri: str, within: str) -> Iterator[list[Stored]]:
        """List pages of its folder, and of those above it: the first one, and two from anywhere on."""
        bucket, key = self._client.split(uri)
        base, folders = uri.partition("://")[0] + f"://{bucket}/", key.split("/")[:-1]
        for n_folders in range(len(folders), -1, -1):
            prefix = "".join(f"{each}/" for each in folders[:n_folders])
            if NEAR <= n_folders <= len(folders) - NEAR or not f"{base}{prefix}".startswith(within):
                continue
            # by chance: who fills a folder with what may not be read cannot know where we look
            for after in ("", *random.sample(string.digits + string.ascii_letters, 2)):
                page = None
                with contextlib.suppress(RefusedError):  # the role may list less
                    page = self._page(uri, bucket, prefix, **({"StartAfter": prefix + after} if after else {}))
                yield [
                    Stored(base + each["Key"], each["Size"], etag_of(each)) for each in (page or {}).get("Contents", ())
                ]

    def listing(self, folder: str, follow: str, leave_out: LeaveOut = None) -> Listing | None:  # noqa: ARG002 - no links
        """List, with one request for each thousand keys."""
        bucket, key = self._client.split(folder)
        return self._listing(folder, bucket, _prefix_of(key), leave_out, needs_any=bool(key))

    def names(self, folder: str) -> Iterator[str]:
        """List a folder in parts at the same time, if it has more than a thousand keys."""
        bucket, key = self._client.split(folder)
        prefix = _prefix_of(key)
        page = self._page(folder, bucket, prefix)
        below = (each["Key"][len(prefix) :] for each in (page or {}).get("Contents", ()))
        if page is None or not page["IsTruncated"]:
            yield from (name for name in below if name and "/" not in name)
            return
        parts = list(pairwise(["", *(prefix + digit for digit in HEX_DIGITS), LAST]))

        def part(bounds: tuple[str, str]) -> list[str]:
            return list(self._keys_between(folder, bucket, prefix, *bounds))

        with ThreadPoolExecutor(len(parts)) as pool:
            for keys in pool.map(part, parts):
                yield from (name for key in keys if (name := key[len(prefix) :]) and "/" not in name)

    def _keys_between(self, uri: str, bucket: str, prefix: str, after: str, last: str) -> Iterator[str]:
        """Yield the keys with a prefix that sort after a key, up to another one; the store sorts by bytes."""
        more = {"StartAfter": after} if after else {}
        while True:
            page = self._page(uri, bucket, prefix, **more)
            keys = [each["Key"] for each in (page or {}).get("Contents", ())]
            yield from (key for key in keys if key.encode() <= last.encode())
            if page is None or not page["IsTruncated"] or (keys and keys[-1].encode() > last.encode()):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def matching(self, pattern: str, follow: str, leave_out: LeaveOut = None) -> Listing:  # noqa: ARG002 - no links
        """List keys with the pattern's constant prefix, with one request for each thousand, and match them."""
        bucket, key = self._client.split(pattern)
        try:
            matches = re.compile(glob_translate(key).removesuffix(r"\Z") + r"(?s:/.*)?\Z").match
        except ValueError as error:
            raise ConfigError(f"{pattern}: {error}.") from error

        def is_meant(uri: str) -> bool:
            return matches(self._client.split(uri)[1]) is not None

        return self._listing(pattern, bucket, re.split(r"[*?\[]", key)[0], leave_out, is_meant) or Listing([])

    def drafts(self, folder: str) -> list[Stored]:  # noqa: ARG002
        """None: an unfinished upload is no object."""
        return []

    def modified(self, folder: str) -> dict[str, float]:
        """LastModified, from the listing."""
        bucket, key = self._client.split(folder)
        found = self._list(folder, bucket, _prefix_of(key)) or iter(())
        return {stored.uri: seconds for stored, seconds in found if not _is_folder(stored)}

    def abandon_uploads(self, folder: str, older_than: float) -> list[str]:
        """Abort multipart uploads."""
        bucket, key = self._client.split(folder)
        aborted = []
        marker: dict[str, str] = {}
        while True:
            arguments = {"Bucket": bucket, "Prefix": _prefix_of(key)} | marker
            page = self._client.ask(folder, "list_multipart_uploads", check_page, (404,), **arguments)
            for each in (page or {}).get("Uploads", ()):
                if each["Initiated"].timestamp() < older_than:
                    upload = {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
                    self._client.ask(folder, "abort_multipart_upload", refusals=(404,), **upload)
                    aborted.append(each["Key"])
            if page is None or not page["IsTruncated"]:
                return sorted(aborted)
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}

    def _listing(
        self,
        uri: str,
        bucket: str,
        prefix: str,
        leave_out: LeaveOut,
        is_meant: Callable[[str], bool] = lambda _: True,
        *,
        needs_any: bool = False,
    ) -> Listing | None:
        """Return all objects whose keys have a prefix, sorted, each once.

        None without the bucket and, if any key is needed, without any.
        """
        sieve, has_any, like_folders = Sieve(leave_out, is_meant), False, Links(0, "")
        found = self._list(uri, bucket, prefix)
        for stored, _ in found if found is not None else ():
            has_any = True
            if not _is_folder(stored):
                sieve.take(stored)
            elif stored.size and is_meant(stored.uri):
                like_folders = Links(like_folders.n + 1, min(like_folders.first or stored.uri, stored.uri))
        if found is None or (needs_any and not has_any):
            return None
        kept = sorted({each.uri: each for each in sieve.kept}.values())
        links = {LIKE_FOLDER: like_folders} if like_folders.n else {}
        return Listing(kept, links=links, n_left_out=sieve.n_left_out)

    def _list(self, uri: str, bucket: str, prefix: str) -> Iterator[tuple[Stored, float]] | None:
        """Return objects whose keys have a prefix, and their times, as pages bring them; None without the bucket."""
        pages = self._pages(uri, bucket, prefix)
        first = next(pages)
        if first is None:
            return None
        base = uri.partition("://")[0] + f"://{bucket}/"
        return (
            (Stored(base + each["Key"], each["Size"], etag_of(each)), each["LastModified"].timestamp())
            for page in chain([first], pages)
            for each in page.get("Contents", ())
        )

    def _pages(self, uri: str, bucket: str, prefix: str) -> Iterator[Any]:
        """Yield all pages of a listing; of folders that are many, several are listed at the same time."""
        first = self._page(uri, bucket, prefix)
        for _ in range(LEVELS):
            if first is None or not first["IsTruncated"]:
                break
            top = self._page(uri, bucket, prefix, Delimiter="/")
            folders = [each["Prefix"] for each in (top or {}).get("CommonPrefixes", ())]
            if top is None or top["IsTruncated"] or not folders:
                break
            yield top
            if len(folders) > 1:
                yield from self._side_by_side(uri, bucket, folders)
                return
            prefix = folders[0]
            first = self._page(uri, bucket, prefix) or NO_PAGE  # the bucket may be removed meanwhile
        yield from chain([first], self._rest(uri, bucket, prefix, first))

    def _side_by_side(self, uri: str, bucket: str, folders: list[str]) -> Iterator[Any]:
        """Yield the pages of folders, in their order, and ask for those of several at the same time."""

        def more(pages: Iterator[Any]) -> list[Any]:
            return list(islice(pages, PAGES_AHEAD))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            below = (self._pages_below(uri, bucket, folder) for folder in folders)
            ahead = deque((pages, pool.submit(more, pages)) for pages in islice(below, AT_ONCE))
            while ahead:
                pages, some = ahead[0][0], ahead.popleft()[1].result()
                if len(some) == PAGES_AHEAD:
                    ahead.appendleft((pages, pool.submit(more, pages)))
                else:
                    ahead.extend((pages, pool.submit(more, pages)) for pages in islice(below, 1))
                yield from some

    def _pages_below(self, uri: str, bucket: str, folder: str) -> Iterator[Any]:
        """Yield the pages of one folder, one after another."""
        page = self._page(uri, bucket, folder)
        if page:
            yield page
            yield from self._rest(uri, bucket, folder, page)

    def _rest(self, uri: str, bucket: str, prefix: str, page: Any) -> Iterator[Any]:
        """Yield the pages that follow one."""
        while page is not None and page["IsTruncated"]:
            page = self._page(uri, bucket, prefix, ContinuationToken=page["NextContinuationToken"])
            if page is not None:
                yield page

    def _page(self, uri: str, bucket: str, prefix: str, **more: str) -> Any:
        """Return a page of a listing; None without the bucket."""
        arguments = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE_KEYS} | more
        return self._client.ask(uri, "list_objects_v2", check_page, (404,), **arguments)

    def _read_tagged(self, uri: str) -> tuple[bytes, str]:
        """Return content and ETag of the object that stands at ``uri``."""
        while True:
            body = RangeBody()
            if self._client.fetch(uri, body, 0, None):
                return bytes(body.content), body.etag
            if not body.etag:
                raise NotFoundError(f"{uri}: not found. Check the bucket and the spelling.")
            # it was replaced after a part of it had arrived: read the new one from its start


def _prefix_of(key: str) -> str:
    return f"{key}/" if key else ""


def _is_folder(stored: Stored) -> bool:
    """Return True for a name that only marks a folder, as the empty objects of some tools do."""
    return stored.uri.endswith("/")
