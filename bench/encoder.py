"""Compare our encoder path with the published recipe, with the bare forward pass, and one layer with all layers.

python -m bench.encoder --model wav2vec2-base                       ours, the recipe, the bare forward; on the CPU
python -m bench.encoder --model xls-r-300m --layer 12 --against full
python -m bench.encoder --model xls-r-300m --device cuda --dtype bfloat16 --minutes 240

One process measures all, in the order A B C C B A, in --rounds rounds, on noise of log-normal lengths (median 5 s):

- ours: `detector.backbones`, as a job's encoders run it. On a CPU there is one for each core, each on one thread.
- recipe: the published extractor and padded batches of --batch in the order of arrival, transformers' defaults, with
  all cores; the mean over the frames that come out.
- bare: the same model on the batches of ours, prepared in advance, on as many threads: no features, no pooling.
- full: ours, all layers; for --layer.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from bench.models import MODELS, checkpoint
from detector.audio import SAMPLE_RATE
from detector.backbones.batching import batches, waste
from detector.backbones.huggingface import HuggingFace
from detector.config import DTYPES, LAST_LAYER, EmbedConfig
from detector.decoders import Samples

MEDIAN_SECONDS, SIGMA, BOUNDS = 5.0, 0.7, (0.5, 30.0)

Variant = Callable[[], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a row a variant."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.encoder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="wav2vec2-base", help=f"a checkpoint folder, or of {', '.join(MODELS)}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=DTYPES[0], choices=DTYPES, help="of ours and the bare forward")
    parser.add_argument("--recipe-dtype", default=DTYPES[0], choices=DTYPES, help="of the recipe")
    parser.add_argument("--layer", type=int, default=LAST_LAYER)
    parser.add_argument("--against", default="recipe,bare", help="of recipe, bare, full; comma between")
    parser.add_argument("--minutes", type=float, default=1.0, help="audio in one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="of the recipe")
    parser.add_argument("--batch-seconds", type=float, default=160.0, help="of ours, on a GPU")
    parser.add_argument("--window-mib", type=int, default=32, help="audio that ours sorts by length, on a GPU")
    parser.add_argument("--encoders", type=int, default=os.cpu_count(), help="of ours, on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = checkpoint(options.model, Path(scratch))
        bench = Bench(options, folder)
        times = bench.measure()
    bench.report(times)
    return 0


class Bench:
    """All variants, loaded before the clock runs."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.segments = noise(options.minutes * 60, options.seed)
        self.seconds = sum(map(len, self.segments)) / SAMPLE_RATE
        self._n = options.encoders if options.device == "cpu" else 1
        self._ours = self._encoders(options.layer)
        names = options.against.split(",")
        self.variants: dict[str, Variant] = {"ours": lambda: self._embed(self._ours)}
        self.padding = {"ours": waste([len(each) for each in self.segments], self._batches())}
        if "recipe" in names:
            self.variants["recipe"] = self._recipe()
            arrival = [
                range(len(self.segments))[at : at + options.batch] for at in range(0, len(self.segments), options.batch)
            ]
            self.padding["recipe"] = waste([len(each) for each in self.segments], arrival)
        if "bare" in names:
            self.variants["bare"] = self._bare()
            self.padding["bare"] = self.padding["ours"]
        if "full" in names:
            whole = self._encoders(LAST_LAYER)
            self.variants["full"] = lambda: self._embed(whole)
            self.padding["full"] = self.padding["ours"]

    def measure(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return seconds and CPU seconds, means of the two runs of a round, by variant: arrays of shape (rounds, 2)."""
        for variant in self.variants.values():
            variant()  # warm
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in self.variants}
        for _ in range(self._options.rounds):
            for name in (*self.variants, *reversed(self.variants)):
                self._wait()
                start, used = time.perf_counter(), time.process_time()
                self.variants[name]()
                self._wait()
                times[name].append((time.perf_counter() - start, time.process_time() - used))
        # the first and the last of a round, the second and the last but one
        return {name: np.array(found).reshape(-1, 2, 2).mean(axis=1) for name, found in times.items()}

    def report(self, times: dict[str, npt.NDArray[np.float64]]) -> None:
        """Print the figures: medians over rounds, and the lowest and highest round."""
        options = self._options
        flops, peak = self.flops(), self.peak()
        print(
            f"{options.model}, layer {options.layer}, {options.device} {options.dtype}, {len(self.segments)} segments, "
            f"{self.seconds:.0f} s of audio, {options.rounds} rounds of A B … B A; {machine(options.device)}; "
            f"torch {torch.__version__}, transformers {transformers.__version__}; "
            f"measured matrix-product peak {peak / 1e12:.2f} TFLOP/s\n"
        )
        print("| | audio-seconds a second | time, × ours | CPU time, × ours | padded / real | of the measured peak |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, found in times.items():
            speed = self.seconds / found[:, 0]
            ratio, cpu = (interval(values) for values in (found / times["ours"]).T)
            share = f"{flops * np.median(speed) / self.seconds / peak:.0%}" if name in ("ours", "bare") else "–"
            print(f"| {name} | {interval(speed)} | {ratio} | {cpu} | {self.padding[name]:.2f} | {share} |")

    def flops(self) -> float:
        """Multiplications and additions of one pass of ours, without those of attention that the counter misses."""
        encoder, counted = self._ours[0]._encoder, 0
        for batch in self._batches():
            with FlopCounterMode(display=False) as counter:
                encoder([self.segments[index] for index in batch])
            counted += counter.get_total_flops()
        return float(counted)

    def peak(self) -> float:
        """FLOP a second of a large matrix product in the dtype of ours, best of several, on all cores or the GPU."""
        options = self._options
        torch.set_num_threads(os.cpu_count() or 1)
        size = 2048 if options.device == "cpu" else 8192
        one = torch.randn(size, size, device=options.device).to(getattr(torch, options.dtype))
        best = float("inf")
        for _ in range(10):
            self._wait()
            start = time.perf_counter()
            one @ one
            self._wait()
            best = min(best, time.perf_counter() - start)
        return 2 * size**3 / best

    def _encoders(self, layer: int) -> list[HuggingFace]:
        options = self._options
        config = EmbedConfig(backbone="huggingface", layer=layer, dtype=options.dtype)
        budget = 0.0 if options.device == "cpu" else options.batch_seconds
        return [HuggingFace(config, str(self._folder), options.device, budget) for _ in range(self._n)]

    def _embed(self, encoders: list[HuggingFace]) -> None:
        """Embed the windows in their order of arrival; of several encoders, the next free one takes a window."""
        windows = iter(self._windows())

        def work(encoder: HuggingFace) -> None:
            for window in windows:
                encoder.embed([self.segments[index] for index in window])

        self._share(work, encoders)

    def _recipe(self) -> Variant:
        options = self._options
        extractor = transformers.AutoFeatureExtractor.from_pretrained(self._folder)
        model = transformers.AutoModel.from_pretrained(self._folder, dtype=getattr(torch, options.recipe_dtype))
        model.to(options.device).eval()

        def run() -> None:
            torch.set_num_threads(os.cpu_count() or 1)
            for start in range(0, len(self.segments), options.batch):
                inputs = extractor(
                    self.segments[start : start + options.batch],
                    sampling_rate=SAMPLE_RATE,
                    padding=True,
                    return_tensors="pt",
                ).to(options.device)
                inputs["input_values"] = inputs["input_values"].to(model.dtype)
                with torch.no_grad():
                    model(**inputs).last_hidden_state.mean(dim=1).float().cpu().numpy()

        return run

    def _bare(self) -> Variant:
        encoders = [each._encoder for each in self._ours]
        ready = [self._inputs(encoders[0], batch) for batch in self._batches()]

        def run() -> None:
            left = iter(ready)

            def work(encoder: Any) -> None:
                with (
                    torch.inference_mode(),
                    torch.autocast(
                        self._options.device.partition(":")[0], encoder.dtype, enabled=encoder.dtype != torch.float32
                    ),
                ):
                    for inputs in left:
                        encoder._model(**inputs)

            self._share(work, encoders)

        return run

    def _inputs(self, encoder: Any, batch: list[int]) -> dict[str, torch.Tensor]:
        lengths = torch.tensor([len(self.segments[index]) for index in batch])
        samples = encoder._upload([self.segments[index] for index in batch], lengths)
        is_padded = bool((lengths < lengths.max()).any())
        inputs: dict[str, torch.Tensor] = encoder.features.inputs(samples, lengths.to(samples.device), is_padded)
        return inputs

    def _batches(self) -> list[list[int]]:
        """Return the indices of segments that ours computes in one pass."""
        if self._options.device == "cpu":
            return self._windows()
        budget = self._options.batch_seconds * SAMPLE_RATE
        return [
            [window[index] for index in batch]
            for window in self._windows()
            for batch in batches([len(self.segments[index]) for index in window], budget)
        ]

    def _windows(self) -> list[list[int]]:
        """Return the indices of segments that ours gets at once: one on a CPU, so that no core is idle at the end."""
        if self._options.device == "cpu":
            return [[index] for index in range(len(self.segments))]
        size = self._options.window_mib << 18  # of samples: four bytes each
        ends = np.cumsum([len(segment) for segment in self.segments]) // size
        return [np.flatnonzero(ends == window).tolist() for window in np.unique(ends)]

    def _share(self, work: Callable[[Any], None], encoders: Sequence[Any]) -> None:
        """Run all encoders until the work is done: on a CPU each on one thread, as in a process of its own."""

        def alone(encoder: Any) -> None:
            if self._options.device == "cpu":
                torch.set_num_threads(1)
            work(encoder)

        with ThreadPoolExecutor(len(encoders)) as pool:
            list(pool.map(alone, encoders))

    def _wait(self) -> None:
        if self._options.device != "cpu":
            torch.cuda.synchronize()


def noise(seconds: float, seed: int) -> list[Samples]:
    """Return segments of noise of log-normal lengths, ``seconds`` long in total.

    Examples
    --------
    >>> round(sum(map(len, noise(60.0, 0))) / 16_000)
    60
    """
    rng = np.random.default_rng(seed)
    segments: list[Samples] = []
    left = round(seconds * SAMPLE_RATE)
    shortest = round(BOUNDS[0] * SAMPLE_RATE)
    while left > 0:
        length = round(SAMPLE_RATE * float(np.clip(MEDIAN_SECONDS * np.exp(SIGMA * rng.normal()), *BOUNDS)))
        length = length if left - length >= shortest else left
        segments.append((0.1 * rng.standard_normal(length)).astype(np.float32))
        left -= length
    return segments


def interval(values: npt.NDArray[np.float64], digits: int = 2) -> str:
    """Return the median, the lowest and the highest: of five rounds, a 94 % interval of the median."""
    return f"{np.median(values):,.{digits}f} [{values.min():,.{digits}f}, {values.max():,.{digits}f}]"


def machine(device: str) -> str:
    """Return the name of the GPU, or the number and name of the CPUs."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} × {names[0].partition(': ')[2] if names else platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
