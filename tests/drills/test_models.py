"""Drills of the encoder and of heads: it does not load, dies, runs out of memory or says NaN; a fit is killed."""

from __future__ import annotations

import csv
import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.backbones.huggingface import HuggingFace
from detector.config import EmbedConfig
from tests.drills.archive import tar, wav
from tests.drills.golden import with_failure
from tests.drills.lab import Lab
from tests.drills.marks import drill
from tests.drills.runs import Fault
from tests.drills.store import key_of
from tests.drills.work import EMBED, MARKER, NOTED, amplification
from tests.support.checkpoints import write_checkpoint

LOAD = "detector.backbones:load_backbone"


@pytest.mark.parametrize("norm", ["group", "layer"])
@drill(
    "D34",
    injects="torch's OutOfMemoryError for every forward pass of more than 2 segments",
    holds="batches are halved until they fit; the embeddings are those of one at a time, to 1e-5",
    limit=60,
)
def test_a_batch_that_does_not_fit_is_halved(lab: Lab, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_checkpoint(lab.folder / "checkpoint", "wav2vec2", norm=norm))
    config = EmbedConfig(backbone="huggingface")
    rng = np.random.default_rng(34)
    segments = [rng.normal(0.0, 0.1, length).astype(np.float32) for length in [8_000] * 7 + [16_000, 12_000] * 3]
    alone, n_frames = HuggingFace(config, folder, "cpu", batch_seconds=0.0).embed(segments)
    backbone = HuggingFace(config, folder, "cpu", batch_seconds=4.0)
    passes: list[int] = []
    model = backbone._encoder._model
    forward = model.forward

    def with_little_memory(input_values: torch.Tensor, **named: Any) -> Any:
        passes.append(len(input_values))
        if len(input_values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory: says the drill")
        return forward(input_values, **named)

    monkeypatch.setattr(model, "forward", with_little_memory)

    halved, n_frames_too = backbone.embed(segments)

    np.testing.assert_allclose(halved, alone, atol=1e-5)
    np.testing.assert_array_equal(n_frames_too, n_frames)
    assert max(passes) > 2
    assert sum(each for each in passes if each <= 2) == len(segments)
    lab.held(f"{norm} norm: {len(passes)} passes for {len(segments)} segments")


@drill(
    "D38",
    injects="the device fails once, and from then on at every call of that process",
    holds="the encoder's process is replaced; its work is done again",
    limit=60,
)
def test_a_device_that_failed_is_given_up_with_its_process(lab: Lab) -> None:
    fails = Fault(EMBED, "raise", "detector.errors:DeviceError the GPU failed, says the drill", (4, 6), calls=[1])

    lab.embed("--encoders", 1, inject=[NOTED, fails])

    lab.assert_same_as_undisturbed()
    assert amplification(lab) <= 1.2  # a table has two shards of twelve at most
    lab.held(f"{amplification(lab) - 1:.1%} of the work twice")


@drill(
    "D39",
    injects="NaN from the encoder for one recording",
    holds="one row `nonfinite`; all others bit-equal",
    limit=30,
)
def test_nan_from_the_encoder_is_one_row(lab: Lab) -> None:
    message = "NaN or infinity from the encoder"
    broken = with_failure(lab.archive, 3, 4, stage="embed", error="nonfinite", message=message)
    lab.allow(broken)

    lab.embed(inject=[Fault(EMBED, "nan", utterance=(3, 4))])

    lab.assert_same_as_undisturbed(broken)


@drill(
    "D41",
    injects="the encoder fails to load: twice, and every time; its process dies while it loads: once, and every time",
    holds="retried, and then exit 70, or 75 if its process dies; never hangs",
    limit=120,
)
@pytest.mark.parametrize(
    ("do", "calls", "code"),
    [("raise", [1, 2], 0), ("raise", None, 70), ("kill", [1], 0), ("kill", None, 75)],
    ids=["twice", "always", "dies once", "dies always"],
)
def test_an_encoder_that_does_not_load(lab: Lab, do: str, calls: list[int] | None, code: int) -> None:
    fails = Fault(LOAD, do, "builtins:OSError the disk is gone, says the drill", calls=calls)

    run = lab.embed("--encoders", 1, "--stall-seconds", 40, code=code, inject=[fails])

    if code == 0:
        lab.assert_same_as_undisturbed()
    elif code == 70:
        run.assert_ended(70, "OSError", "the disk is gone")
    else:
        run.assert_ended(75, "encoder|shard")
    if code:
        assert not lab.markers()
        lab.held(f"{do} every time: exit {code} after {run.seconds:.0f} s")


@drill(
    "D42",
    injects="the same recordings in batches of 1, 2 and 8 s, reversed, with other neighbours; group and layer norm",
    holds="the same bits, on a CPU in float32",
    limit=180,
)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_an_embedding_does_not_depend_on_its_company(lab: Lab, norm: str) -> None:
    lab.reader.end()  # it knows the rows of melstats only
    folder = write_checkpoint(lab.folder / "checkpoint", "wav2vec2", norm=norm)
    recordings = [(f"{shard}-{n}.wav", wav(shard, n)) for shard in range(3) for n in range(4)]
    orders = {
        1: {f"{n}.tar": tar(recordings[4 * n : 4 * n + 4]) for n in range(3)},
        2: {"all.tar": tar(recordings[::-1])},
        8: {f"{n}.tar": tar(recordings[n::2]) for n in range(2)},
    }
    found = []
    for batch_seconds, tars in orders.items():
        lab.new_archive(tars)
        lab.new_output()
        flags = ("--backbone", "huggingface", "--model", folder, "--batch-seconds", batch_seconds, "--encoders", 1)
        lab.embed(*flags, on=lab.ray())
        rows = lab.read("embeddings").to_pylist()
        found.append({row["audio_sha256"]: np.float32(row["embedding"]).tobytes() for row in rows})
    assert len(found[0]) == len(recordings)
    assert found[0] == found[1] == found[2]


@drill(
    "D43",
    injects="1, 2 and 4 encoders, shards that complete in a different order each time",
    holds="one digest",
    limit=120,
)
def test_the_digest_does_not_depend_on_workers_or_order(lab: Lab) -> None:
    digests, orders = set(), []
    rng = random.Random(43)
    for encoders in (1, 2, 4):
        lab.new_output()
        lab.proxy.log.clear()
        late = [Fault(EMBED, "sleep", 0.5, (shard, 0)) for shard in rng.sample(range(12), 5)]
        lab.embed("--encoders", encoders, "--encoder-cpus", 0.3, inject=late)
        lab.assert_same_as_undisturbed()
        digests |= {
            json.loads(lab.store.cat_file(f"{key_of(lab.output)}/{name}"))["digest"] for name in lab.names("runs")
        }
        orders.append([each.path for each in lab.proxy.requests("PUT", MARKER)])
    assert len(digests) == 1
    names = [[path.rpartition("/")[2] for path in order] for order in orders]
    assert names[0] != names[1] != names[2], "the drill wants other orders"


@drill(
    "D56",
    injects="a recording that kills the encoder's process every time",
    holds="isolated in a bounded number of attempts; one row `encoder_crash`, its neighbours bit-equal",
    limit=120,
)
def test_a_recording_that_kills_the_encoder_is_found(lab: Lab) -> None:
    message = "the encoder's process dies on this recording, alone and every time"
    broken = with_failure(lab.archive, 3, 4, stage="embed", error="encoder_crash", message=message, attempts=3)
    lab.allow(broken)

    run = lab.embed("--stall-seconds", 60, inject=[NOTED, Fault(EMBED, "kill", utterance=(3, 4))])

    lab.assert_same_as_undisturbed(broken)
    (struck,) = (place.read_text() for place in lab.folder.glob("*.1.struck"))
    assert len(struck.splitlines()) <= 9, "3 passes of Ray's 3 attempts"
    lab.held(f"{len(struck.splitlines())} attempts, {run.seconds:.0f} s, {amplification(lab) - 1:.1%} work twice")


def labels(lab: Lab) -> Path:
    """Labels that a head can learn: of each shard's recordings those with more in the first band are bona fide."""
    place, golden = lab.folder / "labels.csv", lab.archive.golden.embeddings
    band = np.array([embedding[0] for embedding in golden["embedding"].to_pylist()])
    with place.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["utterance_id", "label", "system", "speaker"])
        for name, is_bonafide in zip(golden["utterance_id"].to_pylist(), band > np.median(band), strict=True):
            shard = name.partition(".tar")[0]
            rows.writerow([name, *(["bonafide", "-", shard] if is_bonafide else ["spoof", shard, "-"])])
    return place


@drill(
    "D51",
    injects="SIGKILL to `fit`: while it reads, while it fits, before and after each of its PUTs",
    holds="head.json is the complete old one or the complete new one; fitted again, it has the same bytes",
    limit=180,
)
def test_a_fit_that_is_killed_leaves_a_whole_head(lab: Lab) -> None:
    lab.embed(on=lab.ray())
    where = ["fit", "--embeddings", lab.output, "--labels", labels(lab), "--output"]
    lab.run(*where, f"{lab.output}-heads/right.json")
    right = lab.store.cat_file(key_of(f"{lab.output}-heads/right.json"))
    lab.run(*where, f"{lab.output}-heads/other.json", "--c", 0.5)
    other = lab.store.cat_file(key_of(f"{lab.output}-heads/other.json"))
    head = f"{lab.output}-heads/head.json"

    def kill(_: object) -> int:
        return lab.runs[-1].kill()

    inside = [
        Fault(target, "kill")
        for target in ("jobs.inputs.labels:label_tables", "detector.training.fitting:fit_head", SCALER)
    ]
    places: list[tuple[str, Any]] = [(fault.target, [fault]) for fault in inside]
    places += [(f"{when} PUT {number}", (when, number)) for number in (1, 2) for when in ("before", "after")]
    for old in (None, other):
        for name, place in places:
            if old is not None:
                lab.store.pipe_file(key_of(head), old)
            elif lab.store.exists(key_of(head)):
                lab.store.rm_file(key_of(head))
            lab.proxy.clear()
            if isinstance(place, list):
                run = lab.start(*where, head, inject=place).wait()
            else:
                rule = lab.proxy.when("PUT", "-heads/head").nth(place[1])
                (rule.before if place[0] == "before" else rule.then)(kill)
                run = lab.start(*where, head).wait()
            assert run.code == -signal.SIGKILL, f"{name}\n{run}"
            lab.proxy.clear()
            found = lab.store.cat_file(key_of(head)) if lab.store.exists(key_of(head)) else None
            late = (right,) if place in (("after", 1), ("before", 2), ("after", 2)) else (old,)
            assert found in ((old, right) if place == ("before", 1) else late), name  # that one was on its way
    lab.run(*where, head)
    assert lab.store.cat_file(key_of(head)) == right
    lab.held(f"{2 * len(places)} places")


SCALER = "detector.training.crossfit:moments"
