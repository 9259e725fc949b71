"""Embeddings do not depend on neighbours, padding or the cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from detector.backbones import huggingface, load_backbone
from detector.backbones.families import fuse_attention
from detector.backbones.huggingface import HuggingFace, canaries
from detector.config import LAST_LAYER, PADDED, EmbedConfig
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from tests.support.encoders import copy_of, load
from tests.unit.detector.conftest import CHECKPOINTS, ONE_DESIGN

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = [0, 1, 2, 3, LAST_LAYER]  # of the three that the checkpoints have


EVERY = [*CHECKPOINTS, *ONE_DESIGN]


def as_published(name: str) -> dict[str, str]:
    """Setting with which an encoder hears what its authors let it hear; only Whisper has a choice."""
    return {"context": PADDED} if name == "whisper" else {}


def in_one_pass(backbone: HuggingFace, utterances: list[np.ndarray]) -> np.ndarray:
    """Embed all segments in one batch, padded to the longest."""
    return backbone._encoder(utterances)[0].numpy()


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


@pytest.fixture(scope="module")
def unnormalised(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints, with preprocessing that does not normalise waveforms."""
    folder = tmp_path_factory.mktemp("unnormalised")
    return {name: copy_of(checkpoints[name], folder / name, do_normalize=False) for name in CHECKPOINTS}


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest |found - expected| / |expected| over the rows."""
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


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
    backbone = load(folder, layer=layer, **as_published(name))
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
    features = load(checkpoints[name], layer=0, **as_published(name))._features

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

    embeddings, _ = load(checkpoints[name], layers=tuple(LAYERS), **as_published(name)).embed(few)

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
