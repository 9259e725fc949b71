"""The list of hostile acts, and how a decoder that was taken over does one.

An act returns if the kernel let it through, and raises OSError if not. A decoder loads no module once it is confined,
so all that acts need is imported at the top.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FILTER = "filter"
LIMITS = "limits"
LANDLOCK = [f"landlock-{version}" for version in range(1, 8)]

X86 = os.uname().machine == "x86_64"
NUMBERS = {
    "clone": (56, 220),
    "execveat": (322, 281),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "memfd_create": (319, 279),
    "personality": (135, 92),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "clone3": (435, 435),
    "getpid": (39, 172),
}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class Act:
    """An act: what is done, what refuses it, and whether it depends on the user and the kernel if it succeeds else."""

    do: Callable[[dict[str, Any]], object]
    about: str
    refused_by: frozenset[str]

    @property
    def depends(self) -> bool:
        """True if users, kernels or containers differ in whether they let it through anyhow."""
        return self.do.__name__ in DEPENDING


DEPENDING = set(
    "session ptrace read_memory write_memory read_environment read_memory_file slow_another bind_another limit_another "
    "message_queue bpf perf_event userfaultfd other_abi io_uring unshare clone_namespaces personality tcp_over_ipv6 "
    "name_server netlink vsock add_key keyctl shared_memory memfd setxattr".split()
)
SPOILS = {"unshare", "chroot", "setuid", "personality"}
"""Acts after which, where they succeed, the process is no longer what it was."""

ACTS: dict[str, Act] = {}


def act(about: str, *refused_by: str) -> Callable[[Callable[[dict[str, Any]], object]], object]:
    """Add an act to :data:`ACTS`; the filter refuses every one."""

    def add(do: Callable[[dict[str, Any]], object]) -> object:
        ACTS[do.__name__] = Act(do, about, frozenset({FILTER, *refused_by}))
        return do

    return add


def call(name: str | int, *arguments: Any) -> int:
    """Make a system call; raise OSError where it fails."""
    number = NUMBERS[name][0 if X86 else 1] if isinstance(name, str) else name
    words = (ctypes.c_ssize_t(each) if isinstance(each, int) else each for each in arguments)
    found = int(libc.syscall(ctypes.c_long(number), *words))
    if found == -1:
        raise OSError(ctypes.get_errno(), f"system call {name}")
    return found


def since(version: int) -> list[str]:
    """Versions of Landlock from one on."""
    return LANDLOCK[version - 1 :]


def may_still(_to: dict[str, Any]) -> None:
    """Take memory, tell the time, give way: what decoding needs."""
    bytearray(32 << 20)
    time.time()
    os.getpid()
    os.sched_yield()
