"""The filter of system calls allows what decoding needs, on both machines, and nothing else."""

from __future__ import annotations

import re
import struct

import pytest

from jobs.decoding.sandbox.bpf import ALLOW, KILL
from jobs.decoding.sandbox.system_calls import ARCHITECTURES, CALLS, CHECKED, KILLED, MISSING, REFUSE, filter_for
from tests.support.tools import HEADERS

MACHINES = list(ARCHITECTURES)
PID = 4_711
CLOCKS = ("clock_gettime", "clock_getres", "clock_nanosleep")
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # EM_X86_64 and EM_AARCH64, 64 bits, little-endian
I386, ARM = 0x40000003, 0x40000028

# by hand, from the manual pages: the numbers on x86-64 and on arm64
REFUSED_CALLS = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "stat": (4, None),
    "newfstatat": (262, 79),
    "close": (3, 57),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fcntl": (72, 25),
    "socket": (41, 198),
    "connect": (42, 203),
    "sendto": (44, 206),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "clone": (56, 220),
    "kill": (62, 129),
    "fork": (57, None),
    "vfork": (58, None),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "prctl": (157, 167),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat2": (316, 276),
    "mkdirat": (258, 34),
    "linkat": (265, 37),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "memfd_create": (319, 279),
    "setuid": (105, 146),
    "setsid": (112, 157),
    "rt_sigaction": (13, 134),
    "pkey_mprotect": (329, 288),
    "personality": (135, 92),
    "seccomp": (317, 277),
}


def answer(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Run a program of classic BPF, instruction by instruction, as `net/core/filter.c` describes them."""
    data = struct.pack("<iIQ6Q", number - (1 << 32) * (number >> 31), architecture, 0, *(*arguments, *[0] * 6)[:6])
    code = [struct.unpack_from("<HBBI", program, start) for start in range(0, len(program), 8)]
    accumulator, place = 0, 0
    for _ in range(len(code)):
        operation, if_true, if_false, operand = code[place]
        place += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= operand
        elif operation == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            place += if_true if accumulator == operand else if_false
        elif operation == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            place += if_true if accumulator >= operand else if_false
        else:
            assert operation == 0x06, hex(operation)  # BPF_RET | BPF_K
            return int(operand)
    raise AssertionError("the program does not end")


def number_of(name: str, machine: str) -> int | None:
    return (CALLS | CHECKED | KILLED)[name][MACHINES.index(machine)]


def answered(machine: str, name: str, *arguments: int) -> int:
    number = number_of(name, machine)
    assert number is not None
    return answer(filter_for(machine, PID), AUDIT[machine], number, arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_that_is_not_in_the_table_is_refused(machine: str) -> None:
    program = filter_for(machine, PID)
    allowed = {number_of(name, machine) for name in (*CALLS, "mmap", "mprotect", *CLOCKS)}
    killed = {number_of(name, machine) for name in KILLED}

    for number in range(1_024):
        expected = ALLOW if number in allowed else KILL if number in killed else REFUSE
        if number == number_of("clone3", machine):
            expected = MISSING
        assert answer(program, AUDIT[machine], number) == expected, number


@pytest.mark.parametrize("machine", MACHINES)
def test_what_an_attacker_would_call_is_not_allowed(machine: str) -> None:
    program = filter_for(machine, PID)
    numbers = {name: each[MACHINES.index(machine)] for name, each in REFUSED_CALLS.items()}

    allowed = [
        name
        for name, number in numbers.items()
        if number is not None and answer(program, AUDIT[machine], number) != REFUSE
    ]

    assert allowed == []


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_by_another_architecture_kills(machine: str) -> None:
    program = filter_for(machine, PID)
    others = {I386, ARM, *AUDIT.values()} - {AUDIT[machine]}

    assert {answer(program, other, number) for other in others for number in range(500)} == {KILL}


def test_a_call_by_the_numbers_of_x32_kills() -> None:
    program = filter_for("x86_64", PID)

    assert {answer(program, AUDIT["x86_64"], 0x40000000 + number) for number in range(600)} == {KILL}
    assert answer(program, AUDIT["x86_64"], 0xFFFFFFFF) == KILL


READ, WRITE, EXECUTE = 1, 2, 4


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mmap", (0, 4096, READ | WRITE, 0x22), ALLOW),
        ("mmap", (0, 4096, READ | EXECUTE, 0x2), REFUSE),
        ("mmap", (0, 4096, 0xFFFFFFFF_00000000 | EXECUTE, 0x2), REFUSE),
        ("mprotect", (4096, 4096, READ | WRITE), ALLOW),
        ("mprotect", (4096, 4096, READ | WRITE | EXECUTE), REFUSE),
        ("madvise", (4096, 4096, 4), ALLOW),  # MADV_DONTNEED
        ("madvise", (4096, 4096, 14), ALLOW),  # MADV_HUGEPAGE
        ("madvise", (4096, 4096, 20), REFUSE),  # MADV_COLD
        ("madvise", (4096, 4096, 21), REFUSE),  # MADV_PAGEOUT
        ("clock_gettime", (3,), ALLOW),  # CLOCK_THREAD_CPUTIME_ID
        ("clock_gettime", (2**64 - 4711 * 8 + 2,), REFUSE),  # of another process
        ("clone3", (1 << 40, 88), MISSING),
        ("tgkill", (PID, 1, 6), ALLOW),  # SIGABRT
        ("tgkill", (PID, 1, 9), REFUSE),  # SIGKILL
        ("tgkill", (PID, 1, 19), REFUSE),  # SIGSTOP
        ("tgkill", (PID + 1, 1, 6), REFUSE),
        ("tgkill", (2**64 - 1, 1, 6), REFUSE),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
    assert answered(machine, name, *arguments) == expected


@pytest.mark.needs("the kernel's headers")
@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = HEADERS[MACHINES.index(machine)].read_text()
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)$"
    numbers = {name: int(number) for name, number in re.findall(pattern, header, re.MULTILINE)}
    numbers.setdefault("newfstatat", numbers.get("fstatat", 0))  # its name in the common header
    ours = {name: each[MACHINES.index(machine)] for name, each in (CALLS | CHECKED | KILLED | REFUSED_CALLS).items()}

    assert {name: numbers.get(name) for name in ours} == ours
