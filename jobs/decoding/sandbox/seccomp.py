"""Seccomp: has the kernel answer every system call of this process by a filter, from now on."""

from __future__ import annotations

import ctypes
import struct

from jobs.decoding.sandbox import kernel
from jobs.decoding.sandbox.bpf import INSTRUCTION

SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_FILTER, ALL_THREADS = 1, 1
PROGRAM = struct.Struct("@HP")  # `struct sock_fprog`: the number of instructions, and where they lie


def install(program: bytes, machine: str) -> bool:
    """Install a filter for all threads; return False where the kernel, or the container around us, does not take it.

    Parameters
    ----------
    program : bytes
        From :func:`jobs.decoding.sandbox.bpf.assemble`.
    machine : str
        As `uname -m` names it.
    """
    held = ctypes.create_string_buffer(program, len(program))
    described = PROGRAM.pack(len(program) // INSTRUCTION.size, ctypes.addressof(held))
    return kernel.give_up_privileges() and kernel.system_call(SECCOMP[machine], SET_FILTER, ALL_THREADS, described) == 0
