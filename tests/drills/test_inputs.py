"""Drills of recordings and archives that harm whatever reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.drills.archive import members, tar
from tests.drills.golden import Archive, golden, with_failure
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.runs import Fault
from tests.drills.store import key_of
from tests.support.audio import encoded

DECODE = "detector.recording:decode_native"


@drill(
    "D33",
    injects="a recording whose decoder needs 4 GiB, with a limit of 1",
    holds="one row `too_large`; its neighbours bit-equal; no worker is lost",
    limit=60,
)
def test_a_recording_that_swells_is_one_row(lab: Lab) -> None:
    message = "more memory than a decoder may take"
    broken = with_failure(lab.archive, 4, 2, stage="decode", error="too_large", message=message)
    lab.allow(broken)

    run = lab.embed(inject=[Fault(DECODE, "swell", 4 << 30, (4, 2))])

    lab.assert_same_as_undisturbed(broken)
    assert lab.proxy.count("GET", r"0004\.tar$") == 1
    assert "pass 1 of" not in run.stderr


@drill(
    "D44",
    injects="a recording on which the decoder calls abort()",
    holds="one row `decoder_crash`; its neighbours bit-equal; no worker is lost",
    limit=30,
)
def test_a_recording_that_crashes_the_decoder_is_one_row(lab: Lab) -> None:
    message = "the decoder's process died of SIGABRT"
    broken = with_failure(lab.archive, 4, 2, stage="decode", error="decoder_crash", message=message)
    lab.allow(broken)

    run = lab.embed(inject=[Fault(DECODE, "abort", utterance=(4, 2))])

    lab.assert_same_as_undisturbed(broken)
    assert lab.proxy.count("GET", r"0004\.tar$") == 1
    assert "pass 1 of" not in run.stderr


@drill(
    "D45",
    injects="a recording that the decoder never finishes: twice 15 s of CPU, with no progress for longer than 20 s",
    holds="killed at its limit, for which the watchdog waits; one row `decoder_timeout`, its neighbours bit-equal",
    limit=90,
)
def test_a_recording_that_the_decoder_never_finishes_is_one_row(lab: Lab) -> None:
    right = replace(lab.archive, golden=golden(lab.archive.uri, lab.archive.tars, segment_seconds=15.0))
    message = "no segment in 15 s of CPU time, nor in as many as it lasts"
    broken = with_failure(right, 4, 2, stage="decode", error="decoder_timeout", message=message)
    lab.allow(broken)
    faults = [Fault("jobs.decoding.process_handle:CPU_SECONDS", "set", 15.0), Fault(DECODE, "spin", utterance=(4, 2))]

    lab.embed("--segment-seconds", 15, "--stall-seconds", 20, inject=faults)

    lab.assert_same_as_undisturbed(broken)


@drill(
    "D45",
    injects="a tar whose third header leads back to the second",
    holds="one row `bad_archive` beside the rows of the members before it",
    limit=60,
)
def test_a_tar_that_goes_in_circles_is_left(lab: Lab) -> None:
    content = members(0, 2)
    archive = lab.new_archive({"0000.tar": tar(content)})
    lab.store.pipe_file(key_of(archive.at("circle.tar")), in_circles(content))
    lab.allow(Archive(archive.uri, {}, golden(archive.uri, {"circle.tar": tar(content)})))

    lab.embed(on=lab.ray())

    (lost,) = lab.read("failures").to_pylist()
    assert (lost["uri"], lost["error"]) == (archive.at("circle.tar"), "bad_archive")
    assert "backwards" in lost["message"]
    names = [row["utterance_id"] for row in lab.read("embeddings").to_pylist()]
    assert names == [f"{name}.tar#{member}" for name in ("0000", "circle") for member in content]


def in_circles(content: dict[str, bytes]) -> bytes:
    """A tar with one more header, whose size is such that the next header would be the last member's."""
    end = sum(512 + len(data) + -len(data) % 512 for data in content.values())
    last = 512 + len(list(content.values())[-1])
    header = bytearray(tar({"circle.wav": b""})[:512])
    header[124:136] = (-(512 + last + -last % 512)).to_bytes(12, "big", signed=True)  # in base 256: 0xff is a minus
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return tar(content)[:end] + bytes(header) + bytes(1024)


@drill(
    "D33",
    injects="13 h of silence in a FLAC of a few hundred kB",
    holds="one row `too_long`; its neighbours bit-equal",
    limit=120,
    every_change=False,
)
def test_a_recording_without_end_is_one_row(lab: Lab) -> None:
    silence = encoded(np.zeros(13 * 3600 * 8_000, np.int16), rate=8_000, kind="FLAC", subtype="PCM_16")
    lab.new_archive({"0000.tar": tar(members(0, 4))})
    message = "more than 12 h; split the recording"
    broken = with_failure(lab.archive, 0, 2, len(silence), stage="decode", error="too_long", message=message)
    lab.allow(broken)
    lab.store.pipe_file(key_of(lab.archive.at("0000.tar")), tar(members(0, 4) | {"02.wav": silence}))

    lab.embed(on=lab.ray())

    lab.assert_same_as_undisturbed(broken)
    lab.held(f"{len(silence) / 1e6:.1f} MB")
