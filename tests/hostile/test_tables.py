"""B21 to B27, B36: lists, labels and reports with harmful cells or bytes."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs import table_files
from jobs.inputs.labels import read_labels
from jobs.inputs.lists import read_entries
from jobs.reports.evaluation import page
from jobs.reports.review import csv_sheet
from tests.hostile.harness import Lab, hostile
from tests.integration.browser.test_evaluation_page import content_of
from tests.support import ROOT
from tests.support.labelled_scores import judged_rows

ROW = {"utterance_id": "a", "label": "spoof"}
FORMULAS = ["=HYPERLINK(1)", "+cmd|x", "@SUM(1)", "\tx", "-2+3"]


def refused(lab: Lab, name: str, content: bytes, match: str, read: Callable[[str], Any] = read_labels) -> None:
    """Require that a list is refused with its name."""
    path = lab.folder / name
    path.write_bytes(content)
    with pytest.raises(SchemaError, match=match) as caught:
        read(str(path))
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 2_000
    lab.saw("refused, 65")


def parquet(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@hostile(
    "B21",
    given="ids that a spreadsheet would run as formulas",
    expected="stored unchanged; a spreadsheet takes them for text in a CSV",
)
def test_formulas_are_text(lab: Lab, suffix: str) -> None:
    rows = [{"utterance_id": name, "label": "spoof"} for name in FORMULAS]
    path = lab.folder / f"labels{suffix}"
    path.write_bytes(
        parquet(pa.Table.from_pylist(rows))
        if suffix == ".parquet"
        else "".join(json.dumps(row) + "\n" for row in rows).encode()
    )

    assert read_labels(str(path))["utterance_id"].to_pylist() == FORMULAS
    sources = [path for path in (ROOT / "jobs").rglob("*.py") if "csv.writer" in path.read_text()]
    assert {path.relative_to(ROOT / "jobs").as_posix() for path in sources} == {
        "reports/review/csv_sheet.py",
        "reports/sql/answers.py",
        "demo/archive.py",  # its ids are ours
    }
    sheet = csv_sheet.write_csv([{"utterance_id": name} for name in FORMULAS]).decode("utf-8-sig")
    cells = [row["utterance_id"] for row in csv.DictReader(io.StringIO(sheet, newline=""))]
    assert all(cell.startswith(("'", "\\")) for cell in cells)
    assert [csv_sheet.unescape_formula(cell) for cell in cells] == FORMULAS
    lab.saw("text")


NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]><svg onload=alert(1)>", "{{ 7 * 7 }}"]


@pytest.mark.parametrize("name", NAMES)
@hostile("B22", given="a name with <script>, onerror=, ]]>, {{ }} in a report", expected="escaped")
def test_a_name_is_escaped_on_the_page(lab: Lab, name: str) -> None:
    # that Chromium runs none of it is shown in tests/integration/browser/test_evaluation_page.py
    text = page.render(content_of(judged_rows(system=name)))

    assert (name in text) == (html.escape(name) == name)  # braces are no template here
    assert name in html.unescape(text)
    assert "<script" not in text
    lab.saw("escaped")


class Marked(pa.ExtensionType):  # type: ignore[misc]
    """An extension type that records when it is built from a file's bytes, as a pickled type could run code."""

    built: list[bytes] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(pa.string(), "hostile.marked")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Marked:
        cls.built.append(serialized)
        return cls()


@pytest.fixture
def marked() -> Iterator[bytes]:
    """Provide a list with a column of that type, which is registered as Ray registers its own types."""
    pa.register_extension_type(Marked())
    column = pa.ExtensionArray.from_storage(Marked(), pa.array(["x"]))
    content = parquet(pa.table({"utterance_id": ["a"], "label": ["spoof"], "extra": column}))
    pq.read_table(io.BytesIO(content))
    assert Marked.built  # what Arrow does by itself
    Marked.built.clear()
    yield content
    pa.unregister_extension_type("hostile.marked")


@hostile(
    "B25", given="a Parquet list with an Arrow extension type", expected="refused, 65; the type is not instantiated"
)
def test_an_extension_type_is_refused_before_it_is_built(lab: Lab, marked: bytes) -> None:
    refused(lab, "labels.parquet", marked, "extension type")

    assert Marked.built == []


GOOD = parquet(pa.table({name: [value] * 2 for name, value in ROW.items()}))


def with_footer_length(n_bytes: int) -> bytes:
    return GOOD[:-8] + n_bytes.to_bytes(4, "little") + GOOD[-4:]


def of_one_value(n_rows: int, n_bytes: int) -> bytes:
    """Return a few kilobytes of Parquet that expand to a column of long texts."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array(["x" * n_bytes]))
    return parquet(pa.table({"utterance_id": column, "label": column}), compression="zstd")


PARQUETS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a footer that claims 4 GiB": (lambda: with_footer_length(0xFFFF_FFFF), "a footer of"),
    "a footer that claims more than is there": (lambda: with_footer_length(len(GOOD)), "a footer of"),
    "a footer of 3 bytes": (lambda: with_footer_length(3), "cannot be read"),
    "a footer of noise": (lambda: GOOD[:-200] + bytes(range(192)) + GOOD[-8:], "cannot be read"),
    "half a file": (lambda: GOOD[: len(GOOD) // 2], "not a Parquet file"),
    "3,000 columns": (lambda: parquet(pa.table({f"c{n}": ["x"] for n in range(3_000)})), "3,000 columns"),
    "a dictionary bomb: 1 GB in a few kB": (lambda: of_one_value(1_000, 1 << 20), "a table of more than"),
    "20 million rows of one word": (lambda: of_one_value(20_000_000, 10), "a table of more than"),
    "a label of numbers": (lambda: parquet(pa.table({"utterance_id": ["a"], "label": [1.5]})), "neither bonafide"),
    "a label of lists": (lambda: parquet(pa.table({"utterance_id": ["a"], "label": [["x"]]})), "no column `label`"),
    "no column of labels": (lambda: parquet(pa.table({"utterance_id": ["a"]})), "no column `label`"),
    "a column twice": (
        lambda: parquet(pa.Table.from_arrays([pa.array(["a"])] * 3, ["utterance_id", "label", "label"])),
        "occurs twice",
    ),
}


@pytest.mark.parametrize("what", PARQUETS)
@hostile("B26", expected="refused, 65, by name")
def test_a_malformed_parquet_list_or_a_bomb_is_refused(lab: Lab, what: str) -> None:
    lab.given = what
    make, match = PARQUETS[what]

    refused(lab, "labels.parquet", make(), match)


HEAD = b"utterance_id,label\n"
LABELS: dict[str, tuple[str, bytes, str]] = {
    "NaN for a label": ("l.csv", HEAD + b"a,NaN\n", "neither bonafide"),
    "2 for a label": ("l.csv", HEAD + b"a,2\n", "neither bonafide"),
    "yes for a label": ("l.csv", HEAD + b"a,yes\n", "neither bonafide"),
    "an id with opposite labels": ("l.csv", HEAD + b"a,spoof\na,bonafide\n", "more than once, first 'a'"),
    "a CSV line of 64 MB": ("l.csv", HEAD + b"a," + b"x" * (64 << 20), "cannot be read"),
    "a JSON line of 64 MB": ("l.jsonl", b'{"utterance_id": "' + b"x" * (64 << 20) + b'"}', "a line of more than"),
    "JSON a million brackets deep": ("l.jsonl", b"[" * 1_000_000, "cannot be read"),
    "a number of a million digits": ("l.jsonl", b'{"utterance_id": ' + b"1" * 1_000_000 + b"}", "no column `label`"),
    "half a surrogate pair": ("l.jsonl", b'{"utterance_id": "\\ud800", "label": "spoof"}', "cannot be read"),
    "a zero byte": ("l.jsonl", b'{"utterance_id": "a", "label": "sp\0oof"}', "cannot be read"),
    "a quote that never ends": ("l.csv", HEAD + b'"a,spoof\n' * 3, "cannot be read"),
}


@pytest.mark.parametrize("what", LABELS)
@hostile("B27", expected="refused, 65, by name")
def test_impossible_labels_are_refused(lab: Lab, what: str) -> None:
    lab.given = what
    name, content, match = LABELS[what]

    refused(lab, name, content, match)


@hostile("B27", given="byte order mark and CRLF", expected="read")
def test_labels_of_a_spreadsheet_are_read(lab: Lab) -> None:
    path = lab.folder / "l.csv"
    path.write_bytes(b"\xef\xbb\xbfutterance_id,label\r\na,spoof\r\n")

    assert read_labels(str(path)).select(["utterance_id", "label"]).to_pylist() == [ROW]
    lab.saw("read")


@hostile("B27", given="a list of more than 2 GiB", expected="refused, 65, before it is read")
def test_a_list_above_the_size_limit_is_not_read(lab: Lab) -> None:
    path = lab.folder / "l.csv"
    with path.open("wb") as file:
        file.truncate(table_files.MAX_TABLE_BYTES + 1)

    with pytest.raises(SchemaError, match="at most 2,147,483,648 are allowed"):
        read_labels(str(path))
    lab.saw("refused, 65")


@pytest.mark.parametrize(
    "uri",
    ["http://169.254.169.254/latest/meta-data/", "http://2852039166/", "https://[fe80::1]/x", "http://0xa9.254.43518"],
)
@hostile(
    "B36",
    given="a list with the address of a cloud's metadata service",
    expected="refused, 65; no request is sent to it",
)
def test_a_list_may_not_send_us_to_the_metadata_address(lab: Lab, uri: str) -> None:
    path = lab.folder / "l.csv"
    path.write_text(f"uri\n{uri}\n")

    with pytest.raises(ConfigError, match="asks for its own credentials"):
        read_entries(str(path))
    lab.saw("refused, 65")


@pytest.mark.parametrize("uri", ["s3://key:secret-of-mine@host/x.wav", "https://user:secret-of-mine@host/x.wav"])
@hostile("B36", given="a URI or endpoint with user and password", expected="refused, 65; the password is not repeated")
def test_credentials_in_a_uri_are_not_repeated(lab: Lab, uri: str) -> None:
    path = lab.folder / "l.csv"
    path.write_text(f"uri\n{uri}\n")

    with pytest.raises(ConfigError, match="credentials in a URI") as caught:
        read_entries(str(path))
    assert "secret-of-mine" not in str(caught.value)
    lab.saw("refused, 65")


ENDPOINTS = {
    "http://user:secret-of-mine@127.0.0.1:9": "credentials in it",
    "http://user:secret-of-mine@127.0.0.1:port": "AWS_ENDPOINT_URL",
    "file:///etc": "AWS_ENDPOINT_URL",
    "http://169.254.169.254": "asks for its own credentials",
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@hostile("B36", given="an endpoint with a password, with file://, or with the metadata address", expected="refused, 65")
def test_an_impossible_endpoint_is_refused(lab: Lab, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.storage import forget_clients

    for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    forget_clients()

    with pytest.raises(ConfigError, match=ENDPOINTS[endpoint]) as caught:
        storage.stat("s3://bucket/key")

    forget_clients()
    assert "secret-of-mine" not in str(caught.value)
    lab.saw("refused, 65")
