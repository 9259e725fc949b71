"""Acts against other processes, and acts that start one."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import time
from typing import Any

from tests.attack.acts.act import act, call, libc, since


@act("fork")
def fork(_to: dict[str, Any]) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _clone(flags: int) -> None:
    child = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


@act("clone without a thread")
def clone(_to: dict[str, Any]) -> None:
    _clone(0)


@act("clone into new namespaces")
def clone_namespaces(_to: dict[str, Any]) -> None:
    _clone(0x10000000)


@act("clone3, whose flags a filter cannot see")
def clone3(_to: dict[str, Any]) -> None:
    arguments = bytes(32) + (int(signal.SIGCHLD)).to_bytes(8, "little") + bytes(48)
    child = call("clone3", arguments, len(arguments))
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


@act("start a thread, and with many of them use up all process ids")
def thread(_to: dict[str, Any]) -> None:
    held = ctypes.c_void_p()
    code = libc.pthread_create(ctypes.byref(held), None, libc.sched_yield, None)
    if code:
        raise OSError(code, "pthread_create")
    libc.pthread_join(held, None)


@act("start a thread by a call of its own")
def raw_thread(_to: dict[str, Any]) -> None:
    # without memory and files of its process a thread of it is invalid, which is told before one is made
    try:
        call("clone", 0x00010000, 0, 0, 0, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


@act("run a program", *since(1))
def execute(_to: dict[str, Any]) -> None:
    os.execv("/bin/true", ["true"])


@act("run a program by its descriptor", *since(1))
def execute_at(_to: dict[str, Any]) -> None:
    call("execveat", -100, b"/bin/true\0", (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 1)(None), 0)


@act("leave the session, so as to outlive the worker")
def session(_to: dict[str, Any]) -> None:
    os.setpgid(0, 0)
    if os.getsid(0) == os.getpid():
        return  # it leads one already
    os.setsid()


@act("signal itself by thread, as if an operator had stopped it")
def stop_itself(_to: dict[str, Any]) -> None:
    signal.raise_signal(signal.SIGCONT)


@act("send a signal to its own process, as if another had killed it")
def kill_itself(_to: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGURG)


@act("kill another process", *since(6))
def kill(to: dict[str, Any]) -> None:
    os.kill(to["pid"], signal.SIGURG)


@act("kill a process by thread", *since(6))
def kill_thread(to: dict[str, Any]) -> None:
    call("tgkill", to["pid"], to["pid"], signal.SIGURG)


@act("kill a process by descriptor", *since(6))
def kill_by_descriptor(to: dict[str, Any]) -> None:
    call("pidfd_send_signal", call("pidfd_open", to["pid"], 0), signal.SIGURG, None, 0)


@act("queue a signal to another process", *since(6))
def queue_signal(to: dict[str, Any]) -> None:
    information = signal.SIGURG.to_bytes(4, "little") + bytes(4) + (-1).to_bytes(4, "little", signed=True)
    call("rt_sigqueueinfo", to["pid"], signal.SIGURG, information.ljust(128, b"\0"))


@act("attach a debugger to another process", *since(1))
def ptrace(to: dict[str, Any]) -> None:
    call("ptrace", 16, to["pid"], 0, 0)
    os.waitpid(to["pid"], 0x40000000)
    call("ptrace", 17, to["pid"], 0, 0)


def _vectors() -> tuple[Any, Any]:
    held = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(held), 8)
    return held, vector


@act("read another process's memory", *since(1))
def read_memory(to: dict[str, Any]) -> None:
    _, vector = _vectors()
    call("process_vm_readv", to["pid"], vector, 1, (ctypes.c_size_t * 2)(to["address"], 8), 1, 0)


@act("write another process's memory", *since(1))
def write_memory(to: dict[str, Any]) -> None:
    _, vector = _vectors()
    call("process_vm_writev", to["pid"], vector, 1, (ctypes.c_size_t * 2)(to["address"], 8), 1, 0)


@act("change another process's limits")
def limit_another(to: dict[str, Any]) -> None:
    resource.prlimit(to["pid"], resource.RLIMIT_NOFILE, (64, 64))


@act("slow another process down")
def slow_another(to: dict[str, Any]) -> None:
    os.setpriority(os.PRIO_PROCESS, to["pid"], 19)


@act("bind another process to one processor")
def bind_another(to: dict[str, Any]) -> None:
    os.sched_setaffinity(to["pid"], os.sched_getaffinity(0))


@act("watch how another process works by its CPU time")
def clock_of_another(to: dict[str, Any]) -> None:
    time.clock_gettime(~to["pid"] << 3 | 2)  # as clock_getcpuclockid computes it
