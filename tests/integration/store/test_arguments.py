"""What an input names in a store of objects does not change with what strangers put there."""

from __future__ import annotations

from jobs import storage
from jobs.inputs import archive
from jobs.inputs.config import InputConfig
from tests.support.audio import encoded, tone


def found(*inputs: str) -> list[str]:
    listed = archive.find(InputConfig(input=inputs), relative=True)
    return sorted(each.utterance_id for file in listed.files for each in listed.selections_of(file.uri))


def test_a_prefix_is_listed_also_where_an_object_is_called_like_it(s3_root: str) -> None:
    for name in ("calls", "calls/a.wav", "calls/b.wav"):
        storage.write_bytes(f"{s3_root}/{name}", encoded(tone(0.5)))

    assert found(f"{s3_root}/calls") == ["a.wav", "b.wav", "calls"]
    assert found(f"{s3_root}/calls/") == ["a.wav", "b.wav"]


def test_an_object_called_like_the_pattern_is_one_of_many(s3_root: str) -> None:
    for name in ("*.wav", "a.wav", "b.wav"):
        storage.write_bytes(f"{s3_root}/{name}", encoded(tone(0.5)))

    assert found(f"{s3_root}/*.wav") == ["*.wav", "a.wav", "b.wav"]
