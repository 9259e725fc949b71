"""Each channel of a recording may be a row of its own, or the first one alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from detector.audio import Excerpt
from detector.recording import Recording
from jobs.inputs.shard_reader import MAX_BUFFERED_BYTES, read_shard
from jobs.inputs.shards import Portion, Selection, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded
from tests.unit.jobs.inputs.test_shard_reader import FLAC, SEGMENT_SECONDS, STEREO, shard_of


@pytest.mark.parametrize("long", [False, True], ids=["held", "by a window"])
def test_each_channel_is_a_row_to_the_bit_the_channel_alone(tmp_path: Path, long: bool) -> None:
    samples = np.tile(STEREO, (50, 1)) if long else STEREO
    stereo = encoded(samples, kind="WAV", subtype="PCM_16")
    assert (len(stereo) > MAX_BUFFERED_BYTES) == long
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "call.wav": stereo, "cut.flac": FLAC[:9_000], "z.flac": FLAC})

    rows = list(read_shard(Portion(shard_of(path)), SEGMENT_SECONDS, "each"))

    found = {row["ordinal"]: row["outcome"] for row in rows if "outcome" in row}
    key = str(path)
    assert [(each["utterance_id"], each.get("channel"), each.get("error")) for each in found.values()] == [
        (f"{key}#a.flac/ch0", 0, None),
        (f"{key}#call.wav/ch0", 0, None),
        (f"{key}#call.wav/ch1", 1, None),
        (f"{key}#cut.flac", None, "decode_error"),
        (f"{key}#z.flac/ch0", 0, None),
    ]
    assert rows[-1]["n_utterances"] == len(found) == 5
    for channel, ordinal in enumerate(list(found)[1:3]):
        alone = Recording(io.BytesIO(encoded(samples[:, channel], kind="WAV", subtype="PCM_16")), SEGMENT_SECONDS)
        expected = [segment.tobytes() for segment in alone.segments()]
        assert [row["samples"] for row in rows if row.get("ordinal") == ordinal and "samples" in row] == expected
        again = list(read_shard(Portion(shard_of(path), (ordinal,)), SEGMENT_SECONDS, "each"))
        assert [row["samples"] for row in again if "samples" in row] == expected


def test_the_first_channel_is_read_unless_a_list_names_another(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"call.flac": encoded(STEREO)})
    selections = [("call.flac", Selection("one")), ("call.flac", Selection("two", Excerpt(channel=1)))]

    shard = Shard.selecting("tar", shard_of(path).sources, selections)
    rows = list(read_shard(Portion(shard), SEGMENT_SECONDS, "first"))

    for ordinal in (0, 1):
        alone = next(Recording(io.BytesIO(encoded(STEREO[:, ordinal])), SEGMENT_SECONDS).segments()).tobytes()
        assert [row["samples"] for row in rows if row.get("ordinal") == ordinal and "samples" in row] == [alone]
