"""`erase` takes out what a row says of another member of its container."""

from __future__ import annotations

import pyarrow as pa
import pytest

from jobs.erasure.redaction import redact_texts
from jobs.erasure.request import ErasureRequest

PLACES = {("s3://archive/2026/t.tar", "Zoë.flac"): "call 7"}


def rows(utterance_id: str, message: str | None) -> pa.Table:
    uri = f"s3://archive/2026/{utterance_id.partition('#')[0]}"
    return pa.table({"utterance_id": [utterance_id], "uri": [uri], "message": pa.array([message], pa.string())})


@pytest.mark.parametrize("request_", [ErasureRequest(["t.tar#Zoë.flac"]), ErasureRequest(["call 7"], places=PLACES)])
@pytest.mark.parametrize(
    ("utterance_id", "message"),
    [
        ("t.tar#link.flac", "a hard link, to 'Zo\\xeb.flac'; links are not followed: store the recording itself"),
        ("t.tar#link.flac", "a symbolic link, to 'two\nlines'; links are not followed: store the recording itself"),
        (
            "t.tar#b.flac",
            "its header is broken: File name in directory 'b' and header b'Zo\\xc3\\xab' differ.",
        ),
        ("t.tar", "ends in the middle of 'Zoë.flac': 512 of 9,000 bytes"),
    ],
)
def test_a_message_that_may_name_an_erased_member_of_the_same_container_is_taken_out(
    request_: ErasureRequest, utterance_id: str, message: str
) -> None:
    left = redact_texts(rows(utterance_id, message), request_)

    assert left["message"].to_pylist() == [request_.stand_in]
    assert redact_texts(left, request_) is left


@pytest.mark.parametrize(
    ("utterance_id", "message"),
    [
        ("u.tar#link.flac", "a hard link, to 'a.flac'; links are not followed: store the recording itself"),
        ("t.tar#link.flac", "a hard link; links are not followed: store the recording itself"),
        ("t.tar#b.flac", "its header is broken: it is not the one that the archive's directory describes"),
        ("t.tar#b.flac", None),
    ],
)
def test_other_messages_stay(utterance_id: str, message: str | None) -> None:
    before = rows(utterance_id, message)

    assert redact_texts(before, ErasureRequest(["t.tar#Zoë.flac"])) is before
