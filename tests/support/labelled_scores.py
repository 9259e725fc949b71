"""Scores drawn from a known model, joined with labels, as the tests of findings and report share them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from detector.rejection import entropy_bits, p_spoof
from detector.schema import BONAFIDE, SPOOF


def judged_rows(
    n: int = 400,
    *,
    distance: float = 2.0,
    seed: int = 0,
    noise: float = 0.0,
    head_id: str = "a-head",
    system: str = "tts",
) -> pa.Table:
    """Rows of a head whose scores are the log-likelihood ratios of two unit normals, and noise on top."""
    rng = np.random.default_rng(seed)
    spoof = np.arange(n) % 2 == 1
    score = distance * (rng.normal(np.where(spoof, -distance / 2, distance / 2)))
    score = score + np.random.default_rng(seed + 1).normal(0.0, noise or 1e-12, n)
    said, entropy = p_spoof(score, 0.5), entropy_bits(score, 0.5)
    return pa.table(
        {
            "utterance_id": [f"u{number:05d}" for number in range(n)],
            "uri": ["archive.tar"] * n,
            "member": [f"{number}.flac" for number in range(n)],
            "seconds": rng.uniform(0.5, 12.0, n),
            "score": score,
            "prior": np.full(n, 0.5),
            "p_spoof": said,
            "label": np.where(said > 0.5, SPOOF, BONAFIDE),
            "entropy_bits": entropy,
            "ood": np.full(n, 0.5),
            "reject": entropy > 0.9,
            "reject_reason": pa.array(np.where(entropy > 0.9, "uncertain", None).tolist(), pa.string()),
            "head_id": [head_id] * n,
            "fingerprint": ["f"] * n,
            "run_id": ["r"] * n,
            "truth": np.where(spoof, SPOOF, BONAFIDE),
            "split": ["eval"] * n,
            "system": [f"{system}-{number // 2 % 20}" if is_spoof else "-" for number, is_spoof in enumerate(spoof)],
            "speaker": ["-" if is_spoof else f"ann-{number // 2 % 50}" for number, is_spoof in enumerate(spoof)],
            "source": ["a corpus"] * n,
            "language": [("en", "de", None)[number % 3] for number in range(n)],
        }
    )
