"""A file that is not held in memory is read once, where an error of the store is raised."""

from __future__ import annotations

import hashlib
import io
from typing import Any, cast

import av
import numpy as np
import pytest

from jobs.decoding.queue import DecodeQueue
from jobs.errors import StorageError
from tests.support.audio import encoded, tone
from tests.support.decoders import (
    FLAC,
    SEGMENT_SECONDS,
    in_decoder,
    in_process,
)


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (StorageError("s3://archive/a.wav: the store gave up"), "gave up"),
        (None, r"a\.wav: 0 B came from byte [\d,]+ on"),
    ],
)
def test_an_error_of_the_store_is_raised_in_the_worker_not_in_the_decoder(error: Exception | None, match: str) -> None:
    class File(io.BufferedReader):
        """A file whose second half is lost at some time."""

        is_lost = False

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() < 9 << 20:
                return super().read(size)
            if error is not None and self.is_lost:
                raise error
            return b"" if self.is_lost else super().read(size)

    file = File(cast(Any, io.BytesIO(encoded(tone(600.0), kind="WAV", subtype="PCM_16"))))
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        segments = queue.put(file, "a.wav").segments()
        next(segments)
        file.is_lost = True
        with pytest.raises(StorageError, match=match):
            list(segments)

    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))


def test_a_long_file_is_read_once_for_its_digest_and_its_samples() -> None:
    class File(io.BufferedReader):
        n_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            self.n_bytes += len(content)
            return content

    content = encoded(tone(600.0), kind="WAV", subtype="PCM_16")
    file = File(cast(Any, io.BytesIO(content)))
    with DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(file, "a.wav")
        n_segments = sum(1 for _ in recording.segments())

    assert (n_segments, recording.facts.audio_sha256) == (600, hashlib.sha256(content).hexdigest())
    # the first piece of 1 MiB is sniffed before libsndfile opens the file, with the next one on its way; and looking
    # for what stands behind the samples, it seeks to the end, so one block is read for nothing
    assert len(content) <= file.n_bytes <= len(content) + (4 << 20)


def test_a_decoder_that_seeks_in_a_long_file_gets_the_bytes_it_asked_for() -> None:
    # its index stands at the end: FFmpeg reads the head, the end, and then the middle
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, 44_100 * 60)).astype(np.float32)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono", bit_rate=320_000)
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        frame.sample_rate, frame.pts = 44_100, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert file.getvalue().rindex(b"moov") > 1 << 20

    with DecodeQueue(SEGMENT_SECONDS) as queue:
        recording = queue.put(io.BufferedReader(file), "a.mp4")
        found = [samples.tobytes() for samples in recording.segments()], recording.facts

    assert found == in_process(file)
