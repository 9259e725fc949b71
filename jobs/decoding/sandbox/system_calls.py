"""System calls that a decoder may make, by architecture, and what becomes of all others.

A call that is not in this table fails with EPERM, so that a library that only tries something goes on. A few kill the
process instead: decoding never makes them, whoever makes them has taken the process over, and his recording becomes a
row `decoder_crash` that names SIGSYS rather than one that looks as if it were merely broken.

No call opens a file: what decoding needs is loaded before. So none has to be checked for writing, and neither a path
nor what an older Landlock leaves out (`truncate`, TCP, signals, metadata of files) is within reach.

No call starts a thread: no limit of a process counts its threads, and each takes a process id and memory of the kernel.
FFmpeg goes on with the one thread that there is. And no call sends a signal but the one of `abort`: a process that
kills or stops itself would look as if somebody else had done it, which is no verdict about a recording.
"""

from __future__ import annotations

import errno
import signal
from typing import NamedTuple

from jobs.decoding.sandbox.bpf import ALLOW, ERRNO, KILL, Check, Rule, assemble

PROT_EXEC = 0x4
PLAIN_ADVICE = {"DONTNEED": 4, "FREE": 8, "HUGEPAGE": 14, "NOHUGEPAGE": 15}
"""`MADV_*` that memory allocators give. Others have pages written out: whoever touches them again waits for a disk."""
OF_OTHERS = 0x80000000  # set in the id of a clock that another process's id is part of
REFUSE = ERRNO | errno.EPERM
MISSING = ERRNO | errno.ENOSYS


class Architecture(NamedTuple):
    """A machine: its place in :data:`CALLS` and its value of `AUDIT_ARCH_*`, and where the numbers of x32 begin."""

    column: int
    audit: int
    foreign_from: int | None


ARCHITECTURES = {
    "x86_64": Architecture(0, 0xC000003E, 0x40000000),
    "aarch64": Architecture(1, 0xC00000B7, None),
}
"""By the name of `uname -m`."""

# Numbers on x86-64 and on arm64. The most frequent come first.
CALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "writev": (20, 66),
    "write": (1, 64),
    "readv": (19, 65),
    "pread64": (17, 67),
    "futex": (202, 98),
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getcpu": (309, 168),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Allowed with any argument. `close` and `fcntl` are not: the lifeline to the parent must stay as it is."""

# allowed with some arguments
CHECKED: dict[str, tuple[int, int]] = {
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "clone3": (435, 435),
    "tgkill": (234, 131),
}

KILLED: dict[str, tuple[int, int]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
}
"""Nothing but code that has taken the process over makes them."""


def filter_for(machine: str, pid: int) -> bytes:
    """Assemble the filter for the process ``pid`` on a machine of :data:`ARCHITECTURES`.

    Examples
    --------
    >>> len(filter_for("aarch64", 1)) % 8
    0
    """
    column, audit, foreign_from = ARCHITECTURES[machine]
    numbers = CALLS | CHECKED | KILLED
    not_executable = (Check(2, PROT_EXEC, 0),)
    common_clock = (Check(0, OF_OTHERS, 0),)
    aborts_itself = (Check(0, 0xFFFFFFFF, pid), Check(2, 0xFFFFFFFF, signal.SIGABRT))
    answers: list[tuple[str, int, tuple[Check, ...]]] = [
        *((name, ALLOW, ()) for name in CALLS),
        ("mmap", ALLOW, not_executable),
        ("mprotect", ALLOW, not_executable),
        *(("madvise", ALLOW, (Check(2, 0xFFFFFFFF, advice),)) for advice in PLAIN_ADVICE.values()),
        *((name, ALLOW, common_clock) for name in ("clock_gettime", "clock_getres", "clock_nanosleep")),
        ("clone3", MISSING, ()),  # libraries fall back to `clone`, and take its EPERM for a limit
        ("tgkill", ALLOW, aborts_itself),
        *((name, KILL, ()) for name in KILLED),
    ]
    rules = [Rule(numbers[name][column], answer, checks) for name, answer, checks in answers]
    return assemble(audit, rules, REFUSE, foreign_from)
