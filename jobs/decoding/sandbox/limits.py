"""Hard limits of a decoder process: what the kernel lets it take, and no call of its own can raise again."""

from __future__ import annotations

import resource

from jobs.decoding.sandbox import kernel

OPEN_FILES = 32
LIFE_CPU_SECONDS = 4 * 3600  # of the whole process; the parent limits the time from one segment to the next


def set_hard_limits(address_space: int) -> None:
    """Set all limits for good.

    Parameters
    ----------
    address_space : int
        Bytes.
    """
    _set(resource.RLIMIT_AS, address_space)
    _set(resource.RLIMIT_CPU, LIFE_CPU_SECONDS)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_FSIZE, 0)
    kernel.drop_capabilities()  # with them root could raise the limits again


def _set(which: int, most: int) -> None:
    """Set a limit, at most to the hard limit that this process was started with."""
    _, hard = resource.getrlimit(which)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (least, least))
