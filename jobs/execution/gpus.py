"""GPUs of this machine, counted without the libraries that would use them."""

from __future__ import annotations

import os
from pathlib import Path


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """Return the number of NVIDIA GPUs that a process on this machine may use.

    `CUDA_VISIBLE_DEVICES` limits them; no GPU is named by an empty value, or behind one that begins with a minus.

    Examples
    --------
    >>> visible_gpus(Path("/nowhere"))
    0
    """
    n_devices = len(list(devices.glob("nvidia[0-9]*")))
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return n_devices
    names = [name.strip() for name in named.split(",")]
    n_named = next((at for at, name in enumerate(names) if not name or name.startswith(("-", "No"))), len(names))
    return min(n_devices, n_named)
