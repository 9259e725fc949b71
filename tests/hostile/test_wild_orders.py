"""B07: recordings whose parts lie so far from their order that reading them would cost a worker hours."""

from __future__ import annotations

import gzip

import pytest

from jobs.decoding import reads
from jobs.inputs.containers import decompressed
from jobs.inputs.containers import zipped as zips
from jobs.inputs.containers.decompressed import zstd
from tests.hostile.harness import AFTER, BEFORE, Lab, alone, hostile, packed
from tests.support.containers import zipped
from tests.support.wild_films import wild_film

WILD = {
    "0.tar": (packed, "decoder_timeout"),
    "0.zip": (lambda members: zipped(dict(members)), "bad_archive"),
    "0.tar.gz": (lambda members: gzip.compress(packed(members), 1), "bad_archive"),
    "0.tar.zst": (lambda members: zstd.compress(packed(members)), "bad_archive"),
}


@pytest.mark.parametrize("name", WILD)
@hostile(
    "B07",
    given="a film of 17 MiB whose samples lie in its middle and at its end by turns (limits of 4 passes; normally 64)",
    expected="a row of its own: `bad_archive` where it is compressed, else `decoder_timeout`",
)
def test_a_recording_that_is_read_in_a_wild_order_costs_a_few_passes(
    lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limited in (reads, zips, decompressed):
        monkeypatch.setattr(limited, "MAX_PASSES", 4)
    pack, error = WILD[name]

    read = lab.read(pack([BEFORE, ("m.mov", wild_film(20_000, 17 << 20)), AFTER]), name)

    assert read.errors() == [("a.flac", None), ("m.mov", error), ("z.flac", None)]
    assert "wild order" in read.outcomes[1]["message"]
    assert read.samples[2] == alone(AFTER[1])[0]
    lab.saw(f"{read.outcomes[1]['stage']}: `{error}`")
