"""Facts of a recording that does not exist, for tests that pass them on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from detector.level import Levels
from detector.recording import Facts


def made_up_facts(**changes: Any) -> Facts:
    """Facts of a FLAC of one second, with some of them replaced; every level statistic is 0.5."""
    stated: dict[str, Any] = {field.name: 0.5 for field in fields(Levels)}
    stated |= {"audio_sha256": "ab12", "seconds": 1.0, "native_rate": 16_000, "channels": 1, "codec": "flac/pcm_16"}
    stated |= {"decoder": "soundfile", "rms_dbfs": -20.0, "n_segments": 1}
    stated |= {"seconds_claimed": None, "truncated": False, "trailing_bytes": 0, "channels_cancel": False}
    stated |= {"has_c2pa": None, "claim_generator": None}
    return Facts(**stated | changes)
