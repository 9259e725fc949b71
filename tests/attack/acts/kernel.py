"""Acts at doors of the kernel that decoding never uses."""

from __future__ import annotations

import os
from typing import Any

from tests.attack.acts.act import LIMITS, NUMBERS, X86, act, call, since


@act("share memory with other processes")
def shared_memory(_to: dict[str, Any]) -> None:
    call("shmget", 0, 4096, 0o600)


@act("open a queue of messages")
def message_queue(_to: dict[str, Any]) -> None:
    call("mq_open", b"queue\0", os.O_RDWR, 0, None)


@act("add a key to the kernel's ring")
def add_key(_to: dict[str, Any]) -> None:
    call("add_key", b"user\0", b"a\0", b"b\0", 1, -2)


@act("ask for a key in the kernel's ring")
def keyctl(_to: dict[str, Any]) -> None:
    call("keyctl", 0, -2, 0, 0, 0)


@act("set up a ring for requests, which no filter sees")
def io_uring(_to: dict[str, Any]) -> None:
    os.close(call("io_uring_setup", 1, bytes(120)))


@act("load a program into the kernel")
def bpf(_to: dict[str, Any]) -> None:
    call("bpf", 0, (1).to_bytes(4, "little") + (4).to_bytes(4, "little") * 3 + bytes(112), 128)


@act("measure other processes")
def perf_event(_to: dict[str, Any]) -> None:
    call("perf_event_open", bytes([0] * 4 + [128]).ljust(128, b"\0"), 1, -1, -1, 0)


@act("handle faults of memory")
def userfaultfd(_to: dict[str, Any]) -> None:
    os.close(call("userfaultfd", 0))


@act("open a file by its handle", LIMITS)
def open_by_handle(_to: dict[str, Any]) -> None:
    call("open_by_handle_at", -100, (8).to_bytes(4, "little") + bytes(12), 0)


@act("join another namespace", LIMITS)
def setns(_to: dict[str, Any]) -> None:
    call("setns", call("pidfd_open", os.getppid(), 0), 0x20000000)


@act("mount a file system", LIMITS, *since(1))
def mount(to: dict[str, Any]) -> None:
    call("mount", b"none\0", to["folder"].encode() + b"\0", b"tmpfs\0", 0, None)


@act("change the root folder", LIMITS)
def chroot(to: dict[str, Any]) -> None:
    call("chroot", to["folder"].encode() + b"\0")


@act("become another user", LIMITS)
def setuid(_to: dict[str, Any]) -> None:
    os.setresuid(12_345, 12_345, 12_345)


@act("make a system call by another of its numbers")
def other_abi(_to: dict[str, Any]) -> None:
    call(0x40000000 + NUMBERS["getpid"][0] if X86 else 0xFFFF)


@act("become root of a namespace of its own")
def unshare(_to: dict[str, Any]) -> None:
    call("unshare", 0x10000000)
