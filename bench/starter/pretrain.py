"""Pretrain the starter encoder without labels, by two objectives, on two CPU cores in half an hour.

    python -m bench.starter.pretrain --output build/starter

The input is a masked crop of a degraded recording. The encoder predicts two things. First, the clusters of its clean
frames (HuBERT's objective, on three codebooks), for all frames, with masked ones counting double. Second, from mean and
deviation over the frames of some layers, in which way the recording was resynthesised, if at all (docs/starter.md).
During training, a probe logs the EER on folds of `train`, and each probe writes a checkpoint folder for `--backbone
huggingface`, in float16. The starter is the checkpoint with the lowest EER of the probe.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

from bench.codecs import Recording
from bench.dev_corpus import CORPUS
from bench.starter.degrade import degrade
from bench.starter.probe import probe
from bench.starter.resynthesis import KINDS, resynthesised
from bench.starter.speech import Utterance, crops, degraded, training_split
from bench.starter.targets import CODEBOOKS, FRAME, HOP, clustered
from detector.backbones.features import Fbank

log = logging.getLogger("starter")

BANDS, STRIDE = 80, 2  # log-mel energies every 10 ms, two frames as one
SHAPE = Wav2Vec2BertConfig(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=768,
    feature_projection_input_dim=BANDS * STRIDE,
    feat_proj_dropout=0.0,
    hidden_dropout=0.05,
    attention_dropout=0.05,
    activation_dropout=0.0,
    conformer_conv_dropout=0.05,
    layerdrop=0.0,
    apply_spec_augment=True,
    mask_time_prob=0.05,  # the model brings the vector of a masked frame; the masks are drawn here
    mask_feature_prob=0.0,
    add_adapter=False,
)
CROP = 32_000  # samples: 2 s
LEVEL = 0.1  # standard deviation of a crop, relative to full scale
MASK_FRAMES, MASK_SHARE = 8, 0.4
COPIES = 2  # copies of each recording through a codec
MADE = 4  # resynthesised copies of each recording
HEARD_AT = (2, 4)  # layers from which the resynthesis is predicted
MAKING_WEIGHT = 2.0  # weight of that loss, relative to that of the clusters


class Student(nn.Module):
    """The encoder, with classifiers for the cluster of each frame in each codebook and for how a recording was made."""

    def __init__(self, n_clusters: int) -> None:
        super().__init__()
        self.encoder = Wav2Vec2BertModel(SHAPE)
        self.names = nn.ModuleList(nn.Linear(SHAPE.hidden_size, n_clusters) for _ in CODEBOOKS)
        both = 2 * SHAPE.hidden_size
        self.makings = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(both), nn.Linear(both, 1 + len(KINDS))) for _ in HEARD_AT
        )
        self._features = Fbank({"num_mel_bins": BANDS, "stride": STRIDE}, SHAPE)

    def forward(self, heard: Tensor, masked: Tensor, clusters: Tensor, making: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss and the shares of correct predictions: masked frames by codebook, resynthesis by layer."""
        lengths = torch.full((len(heard),), heard.shape[1], device=heard.device)
        inputs = self._features.inputs(heard, lengths, is_padded=False)
        found = self.encoder(**inputs, mask_time_indices=masked, output_hidden_states=True)
        weights = (1.0 + masked.float()).flatten() / (1.0 + masked.float()).sum()
        naming, telling, right = [], [], []
        for number, names in enumerate(self.names):
            logits, truth = names(found.last_hidden_state).flatten(0, 1), clusters[..., number].flatten()
            naming.append((functional.cross_entropy(logits, truth, reduction="none") * weights).sum())
            right.append((logits.argmax(1) == truth)[masked.flatten()].float().mean())
        for layer, makings in zip(HEARD_AT, self.makings, strict=True):
            hidden = found.hidden_states[layer]
            logits = makings(torch.cat([hidden.mean(dim=1), hidden.std(dim=1)], dim=1))
            telling.append(functional.cross_entropy(logits, making))
            right.append((logits.argmax(1) == making).float().mean())
        loss: Tensor = torch.stack(naming).mean() + MAKING_WEIGHT * torch.stack(telling).mean()
        return loss, torch.stack(right)


class Batches:
    """Batches of audio, masks, clusters and resynthesis kinds; the same seed gives the same batches.

    Half of a batch is as recorded; the other half is the same crops, resynthesised.
    """

    def __init__(self, utterances: list[Utterance], batch: int, n_clusters: int, seed: int) -> None:
        self._clean = [_filled(each.samples) for each in utterances]
        self._clusters = clustered([_sound(samples) for samples in self._clean], n_clusters, seed)
        rng = np.random.default_rng(seed)
        self._as_it_was = [
            [samples, *(_filled(degraded(each.samples, rng)) for _ in range(COPIES))]
            for samples, each in zip(self._clean, utterances, strict=True)
        ]
        self._made = [[_remade(samples, int(kind), rng) for kind in _some(rng)] for samples in self._clean]
        self._rng = np.random.default_rng(seed)
        self._draw = torch.Generator().manual_seed(seed)
        lengths = np.array([len(samples) for samples in self._clean])
        self._crops = crops(lengths // HOP, CROP // HOP + 1, batch // 2, self._rng)

    def __next__(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        heard, clusters, making = [], [], []
        n_frames = (CROP - FRAME) // HOP + 1
        for row, frame in next(self._crops):
            made, copy = self._made[row][int(self._rng.integers(MADE))]
            as_it_was = self._as_it_was[row][int(self._rng.integers(COPIES + 1))]
            heard += [each[frame * HOP : frame * HOP + CROP] for each in (as_it_was, copy)]
            clusters += 2 * [self._clusters[row][frame : frame + n_frames]]
            making += [0, made]
        sound = LEVEL * degrade(torch.from_numpy(_sound(np.stack(heard))), self._draw)
        masked = self._masks(len(heard), n_frames)
        return sound, masked, torch.from_numpy(np.stack(clusters)), torch.tensor(making)

    def _masks(self, n_segments: int, n_frames: int) -> Tensor:
        start = torch.rand(n_segments, n_frames, generator=self._draw) < MASK_SHARE / MASK_FRAMES
        return functional.max_pool1d(functional.pad(start.float(), (MASK_FRAMES - 1, 0)), MASK_FRAMES, 1) > 0


def _some(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rng.permutation(len(KINDS))[:MADE]


def _remade(samples: Recording, kind: int, rng: np.random.Generator) -> tuple[int, Recording]:
    """Resynthesise a recording, half of the time followed by a codec; return the number of the kind, and the result."""
    made = resynthesised(_sound(samples), list(KINDS)[kind], rng)
    whole = np.asarray(np.clip(made * 32_768, -32_768, 32_767), np.int16)
    return kind + 1, degraded(whole, rng) if rng.random() < 0.5 else whole


def _sound(samples: Recording) -> npt.NDArray[np.float32]:
    return np.asarray(samples / np.float32(32_768), np.float32)


def _filled(samples: Recording) -> Recording:
    """Repeat a recording that is shorter than a crop."""
    return samples if len(samples) > CROP + HOP else np.tile(samples, math.ceil((CROP + HOP + 1) / len(samples)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Pretrain, log, write the checkpoint; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--steps", type=int, default=1_400)
    parser.add_argument("--batch", type=int, default=32, help="crops of 2 s in a step")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--clusters", type=int, default=100, help="in each codebook")
    parser.add_argument("--every", type=int, default=250, help="steps from one probe, and checkpoint, to the next")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(known.threads)
    known.output.mkdir(parents=True, exist_ok=True)
    utterances = training_split(known.corpus)
    batches = Batches(utterances, known.batch, known.clusters, known.seed)
    torch.manual_seed(known.seed)
    student = Student(known.clusters).to(known.device)
    log.info("%d recordings, %.2f M parameters", len(utterances), student.encoder.num_parameters() / 1e6)
    learn(student, batches, utterances, known)
    return 0


def learn(student: Student, batches: Batches, utterances: list[Utterance], known: argparse.Namespace) -> None:
    """Train with AdamW, with a short warm-up and a cosine decay of the learning rate."""
    optimiser = torch.optim.AdamW(student.parameters(), known.rate, betas=(0.9, 0.98), weight_decay=0.01)
    rise = max(1, known.steps // 12)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / rise, 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / known.steps))),
    )
    started, recent = time.perf_counter(), []
    for step in range(1, known.steps + 1):
        student.train()
        loss, right = student(*(part.to(known.device) for part in next(batches)))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append([loss.item(), *right.tolist()])
        if step % 50 == 0 or step == known.steps:
            means = np.mean(recent, axis=0).round(4).tolist()
            named, told = means[1 : 1 + len(CODEBOOKS)], means[1 + len(CODEBOOKS) :]
            seconds = round(time.perf_counter() - started)
            note(known.output, step=step, seconds=seconds, loss=means[0], named=named, told=told)
            recent = []
        if step % known.every == 0 or step == known.steps:
            folder = known.output / f"checkpoint-{step}"
            save(student.encoder, folder)
            for pooling in ("mean", "mean+std"):
                found = probe(folder, utterances, SHAPE.num_hidden_layers, pooling)
                note(known.output, step=step, pooling=pooling, eer=found)


def save(encoder: Wav2Vec2BertModel, folder: Path) -> None:
    """Write a checkpoint for `--backbone huggingface`: weights in float16, configuration, preprocessor settings."""
    state = {name: value.to(torch.float16) for name, value in encoder.state_dict().items()}
    half: Any = Wav2Vec2BertModel(SHAPE)
    half = half.to(torch.float16)
    half.save_pretrained(folder, state_dict=state)
    extractor: Any = SeamlessM4TFeatureExtractor
    extractor(
        feature_size=BANDS, num_mel_bins=BANDS, sampling_rate=16_000, stride=STRIDE, padding_value=0.0
    ).save_pretrained(folder)


def note(folder: Path, **facts: Any) -> None:
    """Write a line to the log and to log.jsonl."""
    log.info("%s", json.dumps(facts))
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
