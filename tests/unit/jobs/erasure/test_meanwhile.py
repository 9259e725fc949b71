"""An erasure is not kept from its end by runs that have nothing to do with it, and is by those that have."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from jobs import storage
from jobs.erasure import erasing, proof
from jobs.errors import RunAgain
from jobs.tables.erasures import NOTE
from tests.support.nightly_runs import drawn, head, night, recordings, slot_of
from tests.unit.jobs.erasure.outputs import TAR, VICTIM, everything, rows

Run = Callable[..., tuple[int, str, str]]
OTHER = "s3://archive/2026/radio/0002.tar"


def act_meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Act once, after the rows are erased."""
    pending, remove_pages = [act], erasing.remove_pages

    def removed(*given: Any) -> Any:
        if pending:
            pending.pop()()
        return remove_pages(*given)

    monkeypatch.setattr(erasing, "remove_pages", removed)


def test_a_night_over_other_recordings_is_no_obstacle(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = recordings(drawn(5, seed=9)[0], OTHER)
    act_meanwhile(monkeypatch, lambda: night(tables, {OTHER: others}, date="2026-11-24"))

    code, out, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 0, err
    assert "read again: none of the" in out
    assert VICTIM not in rows(tables, "scores")
    assert len(rows(tables, "scores")) == 39 + 5
    assert bonafide("verify", tables)[0] == 0


def test_a_night_over_its_own_container_is_one(tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    act_meanwhile(
        monkeypatch,
        lambda: night(tables, {TAR: recordings(drawn(40, seed=6)[0])}, date="2026-11-24", state="replaced"),
    )

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 75
    assert VICTIM in rows(tables, "scores")  # the container still has it
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    assert VICTIM not in rows(tables, "scores")


def test_another_head_that_judges_its_shard_is_one(tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = dataclasses.replace(head(), bias=0.25)
    act_meanwhile(
        monkeypatch,
        lambda: night(tables, {TAR: recordings(drawn(40, seed=5)[0])}, date="2026-11-24", judge=judge, pages=False),
    )

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 75
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0


def test_the_same_command_ends_an_erasure_that_only_lacked_its_proof(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> int:
        raise RunAgain("a run wrote it meanwhile")

    with monkeypatch.context() as patched:
        patched.setattr(erasing, "prove_erased", interrupted)
        assert bonafide("erase", VICTIM, "--output", tables)[0] == 75
    note = storage.read_bytes(storage.join(tables, NOTE))
    assert b"0003" not in re.sub(rb"[0-9a-f]{32,}", b"", note)
    assert len(json.loads(note)["unfinished"]) == 1

    code, _, err = bonafide("erase", "2026/radio/0001.tar#0003", "--output", tables)
    assert (code, "misspelt" in err) == (65, True)
    code, out, err = bonafide("erase", VICTIM, "--output", tables)
    assert code == 0, err
    assert "erased 0 rows" in out
    assert "read again: none of the" in out

    assert "unfinished" not in json.loads(storage.read_bytes(storage.join(tables, NOTE)))
    code, _, err = bonafide("erase", VICTIM, "--output", tables)
    assert (code, "objects mentions it" in err) == (65, True)


def test_embeddings_of_other_shards_are_read_for_the_inventory_and_for_the_proof_alone(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {*everything(tables)}
    night(tables, {OTHER: recordings(drawn(5, seed=9)[0], OTHER)}, date="2026-11-24", pages=False)
    (other,) = (uri for uri in everything(tables) if "/embeddings/" in uri and uri not in before)
    read_bytes, n_reads = storage.read_bytes, Counter[str]()

    def counted(uri: str) -> bytes:
        n_reads[uri] += 1
        return read_bytes(uri)

    monkeypatch.setattr(storage, "read_bytes", counted)
    monkeypatch.setattr(erasing, "slots_of", lambda *_: {slot_of(TAR)})  # as plans of an archive say
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0

    assert n_reads[other] == 2


def test_a_draft_of_a_writer_at_work_is_waited_for(tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = f"{tables}/.half.parquet.1-0a0b0c0d.part"
    storage.write_bytes(draft, b"PAR1 and half of a table")
    monkeypatch.setattr("jobs.erasure.mentions.time.sleep", lambda _: storage.remove(draft))

    request = erasing.ErasureRequest(["nobody.wav"])

    assert proof.prove_erased(tables, request) == len(everything(tables)) + 1
