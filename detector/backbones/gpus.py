"""GPUs that encoders can run on, as torch finds them on this machine."""

from __future__ import annotations

import torch


def gpus() -> list[str]:
    """Return a line for each GPU: its device, name and memory."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [f"cuda:{number} {each.name}, {each.total_memory >> 30} GiB" for number, each in enumerate(found)]
