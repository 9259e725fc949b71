"""Embeddings do not depend on neighbours, padding or the cut, and invalid checkpoints are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from detector.backbones import huggingface, load_backbone
from detector.backbones.families import fuse_attention
from detector.backbones.huggingface import HuggingFace, canaries
from detector.config import LAST_LAYER, EmbedConfig
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from tests.unit.detector.conftest import CHECKPOINTS, ONE_DESIGN

LAYERS = [0, 1, 2, 3, LAST_LAYER]  # of the three that the checkpoints have
EVERY = [*CHECKPOINTS, *ONE_DESIGN]


def load(
    folder: Path,
    *,
    layer: int = LAST_LAYER,
    batch_seconds: float = 0.0,
    device: str = "cpu",
    layers: tuple[int, ...] | None = None,
    **config: Any,
) -> HuggingFace:
    settings = EmbedConfig(**{"backbone": "huggingface", "layer": layer, "segment_seconds": 29.0} | config)
    return HuggingFace(settings, str(folder), device, batch_seconds, layers)


def in_one_pass(backbone: HuggingFace, utterances: list[np.ndarray]) -> np.ndarray:
    """Embed all segments in one batch, padded to the longest."""
    return backbone._encoder(utterances)[0].numpy()


@pytest.fixture(scope="module")
def utterances() -> list[np.ndarray]:
    """Noise of 0.2 to 0.4 s, some of equal length and one ten times as long, each at its own level and offset."""
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(3_200, 6_400, size=25), *[4_800] * 8, 48_000]
    return [
        (rng.uniform(0.01, 0.3) * rng.normal(size=length) + rng.uniform(-0.1, 0.1)).astype(np.float32)
        for length in lengths
    ]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Restrict torch to one thread, as the backbone does: two threads sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def published(folder: Path, utterances: list[np.ndarray], **how: Any) -> Any:
    """Outputs of the whole model with transformers' own preprocessing, as the authors of a checkpoint publish it."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if model.config.model_type == "whisper":
        inputs = extractor(utterances, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            return model.get_encoder()(**inputs, **how)
    inputs = extractor(utterances, sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt")
    if not how.pop("masked", "input_features" in inputs):  # those always come with a mask
        del inputs["attention_mask"]
    with torch.inference_mode():
        return model(**inputs, **how)


def copy_of(checkpoint: Path, folder: Path, **preprocessing: Any) -> Path:
    """A writable copy of a checkpoint, with other preprocessing."""
    shutil.copytree(checkpoint, folder)
    rewrite_json(folder / "preprocessor_config.json", **preprocessing)
    return folder


def rewrite_json(path: Path, *, without: str = "", **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    content.pop(without, None)
    path.write_text(json.dumps(content))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    weights = change(load_file(path))
    path.unlink()  # the tensors just read are mapped from it
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def unnormalised(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints, with preprocessing that does not normalise waveforms."""
    folder = tmp_path_factory.mktemp("unnormalised")
    return {name: copy_of(checkpoints[name], folder / name, do_normalize=False) for name in CHECKPOINTS}


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest |found - expected| / |expected| over the rows."""
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.fixture(scope="module")
def alone(checkpoints: dict[str, Path], utterances: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Embeddings of single utterances, by checkpoint."""
    loaded = {name: load(folder) for name, folder in checkpoints.items()}
    return {
        name: np.concatenate([backbone.embed([utterance])[0] for utterance in utterances])
        for name, backbone in loaded.items()
    }


@pytest.mark.parametrize("name", EVERY)
def test_padding_and_neighbours_do_not_change_an_embedding(
    name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray]
) -> None:
    order = np.random.default_rng(1).permutation(len(utterances))

    embeddings = in_one_pass(load(checkpoints[name]), [utterances[index] for index in order])

    assert relative_error(embeddings, alone[name][order]) < 1e-5


@pytest.mark.parametrize("batch_seconds", [0.0, 2.0, 30.0])
@pytest.mark.parametrize("name", ["wav2vec2-group", "wavlm-layer", "whisper"])
def test_rows_come_back_in_the_order_of_the_call(
    name: str,
    batch_seconds: float,
    checkpoints: dict[str, Path],
    utterances: list[np.ndarray],
    alone: dict[str, np.ndarray],
) -> None:
    embeddings, n_frames = load(checkpoints[name], batch_seconds=batch_seconds).embed(utterances)

    assert relative_error(embeddings, alone[name]) < 1e-5
    assert n_frames.argmax() == len(utterances) - 1


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_padding_without_protection_would_change_an_embedding(
    name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray]
) -> None:
    # the control of the test above: without protection, these checkpoints do depend on their neighbours
    frames = published(checkpoints[name], utterances).last_hidden_state.numpy()
    n_frames = load(checkpoints[name]).embed(utterances)[1]

    pooled = np.stack([each[:valid].mean(axis=0) for each, valid in zip(frames, n_frames, strict=True)])

    assert relative_error(pooled, alone[name]) > 1e-3


def test_a_mask_alone_would_not_protect_a_group_norm(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray]
) -> None:
    # why its norm is replaced in a padded pass: it runs over the padding
    frames = published(checkpoints["wav2vec2-group"], utterances, masked=True).last_hidden_state.numpy()
    n_frames = load(checkpoints["wav2vec2-group"]).embed(utterances)[1]

    pooled = np.stack([each[:valid].mean(axis=0) for each, valid in zip(frames, n_frames, strict=True)])

    assert relative_error(pooled, alone["wav2vec2-group"]) > 1e-3


def hidden_state(whole: Any, layer: int) -> torch.Tensor:
    return whole.last_hidden_state if layer == LAST_LAYER else whole.hidden_states[layer]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", EVERY)
def test_the_cut_model_gives_the_whole_model_s_layer_to_the_bit(
    name: str,
    layer: int,
    checkpoints: dict[str, Path],
    unnormalised: dict[str, Path],
    utterances: list[np.ndarray],
) -> None:
    folder = unnormalised.get(name, checkpoints[name])
    backbone = load(folder, layer=layer)
    inputs = backbone._features.inputs(
        torch.from_numpy(utterances[:1][0])[None], torch.tensor([len(utterances[0])]), False
    )
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        whole = (model.get_encoder() if name == "whisper" else model)(**inputs, output_hidden_states=True)

    embedding, n_frames = backbone.embed(utterances[:1])

    frames = hidden_state(whole, layer)[:, : n_frames[0]]
    assert n_frames.tolist() == [frames.shape[1]]
    np.testing.assert_array_equal(embedding, POOLINGS["mean"](frames, torch.ones(frames.shape[:2])).numpy())


@pytest.mark.parametrize("seconds", [0.035, 0.5, 1.234])
@pytest.mark.parametrize("name", ["wav2vec2-layer", *ONE_DESIGN])
def test_the_encoder_receives_the_input_of_the_published_extractor(
    name: str, seconds: float, checkpoints: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    samples = utterances[-1][: round(16_000 * seconds)]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(checkpoints[name])
    features = load(checkpoints[name], layer=0)._features

    (found,) = features.inputs(torch.from_numpy(samples)[None], torch.tensor([len(samples)]), False).values()

    expected = next(iter(extractor(samples, sampling_rate=16_000, return_tensors="pt").values()))
    # an odd last frame of energies has half a partner there, and is masked
    expected = expected[:, : found.shape[1]]
    assert float((found - expected).abs().max()) < (2e-3 if name == "wav2vec2-bert" else 1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_features_are_those_of_the_published_extractor(
    name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    few = utterances[-3:]
    expected = []
    for utterance in few:
        whole = published(checkpoints[name], [utterance], output_hidden_states=True)
        n_frames = load(checkpoints[name]).embed([utterance])[1][0]
        expected.append(torch.cat([hidden_state(whole, layer)[0, :n_frames].mean(dim=0) for layer in LAYERS]).numpy())

    embeddings, _ = load(checkpoints[name], layers=tuple(LAYERS)).embed(few)

    # Kaldi's energies are computed frame by frame there; an odd last frame is kept and masked
    assert relative_error(embeddings, np.stack(expected)) < (1e-4 if name == "wav2vec2-bert" else 1e-5)


@pytest.mark.parametrize(("layers", "pooling"), [((2, 0), "max"), ((1, LAST_LAYER), "mean"), ((3, 1), "mean+std")])
@pytest.mark.parametrize("name", EVERY)
def test_several_layers_in_one_pass_have_the_bits_of_each_alone(
    name: str, layers: tuple[int, ...], pooling: str, checkpoints: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    backbone = load(checkpoints[name], layers=layers, pooling=pooling)

    together, n_frames = backbone.embed(utterances[:1])

    for place, layer in enumerate(layers):
        alone, counted = load(checkpoints[name], layer=layer, pooling=pooling).embed(utterances[:1])
        assert together[:, place * backbone.dim : (place + 1) * backbone.dim].tobytes() == alone.tobytes()
        assert n_frames.tolist() == counted.tolist()


def test_no_layer_is_computed_beyond_the_deepest_requested_one(checkpoints: dict[str, Path]) -> None:
    backbone = load(checkpoints["wav2vec2-layer"], layers=(2, 0))

    assert len(backbone._encoder._model.encoder.layers) == 2


def test_the_last_norm_of_a_cut_model_is_not_that_of_the_whole(
    checkpoints: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    # the control of the tests above: transformers' own cut model gives other values
    config = transformers.AutoConfig.from_pretrained(checkpoints["wav2vec2-layer"], num_hidden_layers=2)
    cut = transformers.AutoModel.from_pretrained(checkpoints["wav2vec2-layer"], config=config).eval()
    inputs = load(checkpoints["wav2vec2-layer"])._features.inputs(
        torch.from_numpy(utterances[0])[None], torch.tensor([len(utterances[0])]), False
    )
    with torch.inference_mode():
        naive = cut(**inputs).last_hidden_state.mean(dim=1).numpy()

    assert relative_error(load(checkpoints["wav2vec2-layer"], layer=2).embed(utterances[:1])[0], naive) > 1e-2


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_half_precision_stays_near_float32_and_reports_the_distance(
    norm: str, checkpoints: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    exact, _ = load(checkpoints[f"wav2vec2-{norm}"]).embed(utterances)
    backbone = load(checkpoints[f"wav2vec2-{norm}"], dtype="bfloat16")

    embeddings, _ = backbone.embed(utterances)

    assert 0.0 < relative_error(embeddings, exact) == pytest.approx(backbone.drift(utterances))
    assert backbone.drift(canaries()) < huggingface.MAX_DRIFT


def test_a_dtype_that_drifts_too_far_is_refused(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "MAX_DRIFT", 1e-4)  # bfloat16 rounds by up to 2**-8

    with pytest.raises(ConfigError, match=r"bfloat16: embeddings of test signals differ from those in float32 by .*%"):
        load(checkpoints["wav2vec2-layer"], dtype="bfloat16")


def test_a_segment_that_overflows_in_half_precision_is_computed_again_in_float32(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, _ = load(checkpoints["wav2vec2-layer"]).embed(utterances)
    backbone = load(checkpoints["wav2vec2-layer"], dtype="bfloat16")
    # one weight that float32 can hold and a product with it not: all frames of the half-precision copy overflow
    backbone._encoder._model.encoder.layers[0].feed_forward.output_dense.weight.data.fill_(1e38)

    embeddings, _ = backbone.embed(utterances)

    np.testing.assert_array_equal(embeddings, exact)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_fused_attention_equals_the_published_one_up_to_rounding(
    norm: str, checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray]
) -> None:
    backbone = load(checkpoints[f"wavlm-{norm}"])
    fuse_attention(backbone._encoder._model)

    embeddings = in_one_pass(backbone, utterances)

    assert relative_error(embeddings, alone[f"wavlm-{norm}"]) < 1e-5
    assert (embeddings != in_one_pass(load(checkpoints[f"wavlm-{norm}"]), utterances)).any()  # it was replaced


def test_a_segment_too_long_for_the_encoder_is_refused_at_once(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="--segment-seconds 29 or less"):
        load(checkpoints["whisper"], segment_seconds=30.0)

    _, n_frames = load(checkpoints["whisper"]).embed([np.zeros(30 * 16_000, np.float32)])
    assert n_frames.tolist() == [1_500]  # 30 s of 50 frames


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_layers_differ(name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray]) -> None:
    # a pre-norm encoder's last_hidden_state is one norm further than its last layer; a post-norm one's is the same
    embeddings = [load(checkpoints[name], layer=layer).embed(utterances[:1])[0].tobytes() for layer in LAYERS]

    assert len(set(embeddings)) == (5 if name.endswith("layer") else 4)


@pytest.mark.parametrize("threads", [1, 2])
def test_bits_do_not_depend_on_the_number_of_threads(
    threads: int, checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray]
) -> None:
    torch.set_num_threads(threads)
    backbone = load_backbone(EmbedConfig(backbone="huggingface"), str(checkpoints["wav2vec2-layer"]), batch_seconds=8.0)

    embeddings, _ = backbone.embed(utterances[::-1])

    assert torch.get_num_threads() == threads  # the setting of other code is restored
    assert embeddings.tobytes() == alone["wav2vec2-layer"][::-1].tobytes()


@pytest.mark.parametrize("do_normalize", [True, False])
def test_waveforms_are_standardised_one_by_one_if_the_checkpoint_requires_it(
    do_normalize: bool, checkpoints: dict[str, Path], unnormalised: dict[str, Path], utterances: list[np.ndarray]
) -> None:
    wanted, other = (checkpoints, unnormalised) if do_normalize else (unnormalised, checkpoints)
    folder = wanted["wav2vec2-layer"]
    few = utterances[-4:]  # the long one among them
    frames = [published(folder, [utterance]).last_hidden_state[0] for utterance in few]
    expected = np.stack([each.mean(dim=0).numpy() for each in frames])

    embeddings, _ = load(folder, batch_seconds=30.0).embed(few)

    assert relative_error(embeddings, expected) < 1e-5
    assert relative_error(load(other["wav2vec2-layer"]).embed(few)[0], expected) > 1e-2


@pytest.mark.parametrize(("n_samples", "n_frames"), [(400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_a_frame_sees_four_hundred_samples_and_starts_every_three_hundred_and_twenty(
    n_samples: int, n_frames: int, checkpoints: dict[str, Path]
) -> None:
    backbone = load(checkpoints["wav2vec2-group"], layer=0)

    assert (backbone.min_samples, backbone.dim) == (400, 32)
    assert backbone.embed([np.zeros(n_samples, np.float32)])[1].tolist() == [n_frames]


OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def as_pretrained_on_the_hub(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of XLS-R's weights on the hub: the encoder within its training model, with old PyTorch's weight norm."""
    renamed = {}
    for name, tensor in weights.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        renamed[f"wav2vec2.{name}"] = tensor
    return renamed | {"quantizer.codevectors": torch.zeros(1, 4, 2)}


def test_a_checkpoint_of_the_training_model_gives_the_encoder_s_bits(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    rewrite_weights(folder, as_pretrained_on_the_hub)

    assert load(folder).embed(utterances)[0].tobytes() == alone["wav2vec2-layer"].tobytes()


def test_a_checkpoint_in_several_files_gives_the_same_bits(
    checkpoints: dict[str, Path], utterances: list[np.ndarray], alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["hubert-layer"], tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    transformers.AutoModel.from_pretrained(checkpoints["hubert-layer"]).save_pretrained(folder, max_shard_size="100KB")

    assert len(list(folder.glob("*.safetensors"))) > 1
    assert load(folder).embed(utterances)[0].tobytes() == alone["hubert-layer"].tobytes()


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite_weights(
        folder, lambda weights: {each: tensor for each, tensor in weights.items() if each != name}
    )


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "another family": (lambda folder: rewrite_json(folder / "config.json", model_type="bert"), "model_type 'bert'"),
    "remote code": (lambda folder: rewrite_json(folder / "config.json", auto_map={"AutoModel": "a.B"}), "remote code"),
    "an adapter": (lambda folder: rewrite_json(folder / "config.json", add_adapter=True), "adapter"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "a config that is not JSON": (lambda folder: (folder / "config.json").write_text("<html>"), "is not JSON"),
    "heads that do not divide the width": (
        lambda folder: rewrite_json(folder / "config.json", num_attention_heads=5),
        "cannot be loaded",
    ),
    "pickled weights only": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "no \\*.safetensors",
    ),
    "no preprocessing": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "preprocessor_config.json is missing",
    ),
    "preprocessing that does not say whether to standardise": (
        lambda folder: rewrite_json(folder / "preprocessor_config.json", without="do_normalize"),
        "do_normalize",
    ),
    "a telephone's rate": (
        lambda folder: rewrite_json(folder / "preprocessor_config.json", sampling_rate=8_000),
        "8000 Hz",
    ),
    "a missing layer": (without("encoder.layers.1.attention.k_proj.weight"), "weights are missing"),
    "a missing front end": (without("feature_extractor.conv_layers.0.conv.weight"), "weights are missing"),
    "another front end's preprocessing": (
        lambda folder: rewrite_json(
            folder / "config.json", model_type="wav2vec2-bert", feature_projection_input_dim=99
        ),
        "it may belong to another checkpoint",
    ),
    "weights of another shape": (
        lambda folder: rewrite_json(folder / "config.json", hidden_size=64),
        "cannot be loaded",
    ),
    "half a file of weights": (lambda folder: halved(folder / "model.safetensors"), "cannot be loaded"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_an_unfit_checkpoint_is_refused(what: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    damage, cause = UNFIT[what]
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    damage(folder)

    with pytest.raises(ConfigError, match=cause) as refused:
        load(folder)

    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("name", ["encoder.layers.2.attention.k_proj.weight", "masked_spec_embed"])
def test_weights_beyond_the_cut_and_weights_for_training_may_be_missing(
    name: str, checkpoints: dict[str, Path], utterances: list[np.ndarray], tmp_path: Path
) -> None:
    folder = copy_of(checkpoints["wav2vec2-layer"], tmp_path / "copy")
    expected, _ = load(folder, layer=2).embed(utterances[:1])
    without(name)(folder)

    assert load(folder, layer=2).embed(utterances[:1])[0].tobytes() == expected.tobytes()


def test_a_layer_that_the_model_does_not_have_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="layer 4 was requested, but the model has 3"):
        load(checkpoints["wavlm-group"], layer=4)
    with pytest.raises(ConfigError, match="layer 4 was requested, but the model has 3"):
        load(checkpoints["whisper"], layers=(1, 4))


def test_no_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        load_backbone(EmbedConfig(backbone="huggingface"))


def test_a_missing_gpu_is_refused(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # wherever the tests run

    with pytest.raises(ConfigError, match="torch finds no GPU on this machine"):
        load(checkpoints["wav2vec2-group"], device="cuda")


def test_an_unknown_device_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="gpu"):
        load(checkpoints["wav2vec2-group"], device="gpu")
