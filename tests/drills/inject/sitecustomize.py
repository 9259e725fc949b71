"""Faults inside workers, without any hook in the product: Python imports this module at start, from PYTHONPATH.

`DRILL_INJECT` names a JSON file, a list of rules; :class:`tests.drills.runs.Fault` writes them:

    {"target": "detector.backbones.melstats:MelStats.embed",    what is wrapped, right after its module is imported
     "utterance": [3, 7],                                       only where this utterance's samples or bytes pass
     "calls": [5],                                              only these calls of those, from 1, in all processes
     "do": "kill",                                              see EFFECTS; "value" is what some of them want
     "value": null}

A rule notes its calls, and which of them it struck, in files next to the rules: counts hold across processes.
Where a target is a constant, "set" gives it another value.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import threading
import time

MAGIC = 12_345
"""An utterance of tests/drills/archive.py begins with four samples: this, its shard, its number there, this."""


def _kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(*_):
    os.kill(os.getpid(), signal.SIGSTOP)


def _abort(*_):
    os.abort()


def _exit(*_):
    sys.exit(0)


def _hang(*_):
    while True:
        time.sleep(3600)


def _stay(*_):
    threading.Thread(target=_hang).start()


def _spin(*_):
    while True:
        pass


def _sleep(rule, *_):
    time.sleep(rule["value"])


def _allocate(rule, *_):
    bytearray(rule["value"])


def _swell(rule, *_):
    _held.append(b"\1" * rule["value"])


_held = []


def _raise(rule, *_):
    kind, _, message = rule["value"].partition(" ")
    raise _named(kind)(message)


EFFECTS = {
    "kill": _kill,  # SIGKILL
    "stop": _stop,  # SIGSTOP: silent until a SIGCONT
    "abort": _abort,  # SIGABRT, as after a crash in C
    "exit": _exit,  # sys.exit(0)
    "hang": _hang,  # never returns, and takes no CPU time
    "stay": _stay,  # goes on, but the process hangs when it exits, waiting for a thread
    "spin": _spin,  # never returns, and takes all CPU time
    "sleep": _sleep,  # waits for "value" seconds, and goes on
    "allocate": _allocate,  # allocates "value" bytes at once, and goes on
    "swell": _swell,  # uses "value" bytes of memory, and goes on if it gets them
    "raise": _raise,  # "value": "module:Class message"
    "nan": None,  # the utterance's first number in the result is NaN
    "return": None,  # "value" is returned instead
    "note": None,  # goes on, and writes a line for each array among its arguments: see _note
    "set": None,  # the target is replaced by "value"
}


def _named(name):
    module, _, path = name.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


def _wrapped(function, rule, state):
    @functools.wraps(function)
    def wrapper(*arguments, **named):
        place = _place_of(rule.get("utterance"), (*arguments, *named.values()))
        if place is None or not _strikes(rule, state):
            return function(*arguments, **named)
        if rule["do"] == "return":
            return rule["value"]
        if rule["do"] == "note":
            _note(state, (*arguments, *named.values()))
            return function(*arguments, **named)
        if rule["do"] == "nan":
            found = function(*arguments, **named)
            found[0][place] = float("nan")
            return found
        EFFECTS[rule["do"]](rule)
        return function(*arguments, **named)

    return wrapper


def _note(state, arguments):
    """Append time, process, samples and a digest of each array, to count what was computed."""
    arrays = [each for argument in arguments if isinstance(argument, list | tuple) for each in argument]
    lines = [f"{time.time()} {os.getpid()} {len(each)} {hashlib.sha256(each.tobytes()).hexdigest()}" for each in arrays]
    with open(f"{state}.noted", "a") as file:  # a single short write in append mode is atomic
        file.write("".join(f"{line}\n" for line in lines))


def _strikes(rule, state):
    """Count this call over all processes; return True if it is to be struck."""
    if "jobs.decoding.process" in sys.orig_argv:  # the decoder may not write files, so its rules strike every time
        return True
    with open(f"{state}.calls", "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b".")
        file.flush()
        number = os.fstat(file.fileno()).st_size
    if rule.get("calls") is not None and number not in rule["calls"]:
        return False
    with open(f"{state}.struck", "a") as file:
        file.write(f"{number} {os.getpid()}\n")
    return True


def _place_of(utterance, arguments):
    """Return the utterance's index in a list of arrays among the arguments, 0 elsewhere, None if it is not there."""
    if utterance is None:
        return 0
    magic = [MAGIC, *utterance, MAGIC]
    for argument in arguments:
        for index, each in enumerate(argument if isinstance(argument, list | tuple) else [argument]):
            if _begins_with(each, magic):
                return index
    return None


def _begins_with(each, magic):
    if hasattr(each, "read") and hasattr(each, "seek"):
        place = each.tell()
        each.seek(0)
        each, _ = each.read(4096), each.seek(place)
    if isinstance(each, bytes | bytearray | memoryview):  # a WAV file; FLAC would have to be decoded
        return b"".join(value.to_bytes(2, "little", signed=True) for value in magic) in bytes(each[:4096])
    if hasattr(each, "dtype") and each.ndim == 1 and len(each) > len(magic):
        return [round(float(sample) * 32_768) for sample in each[: len(magic)]] == magic
    return False


class _Finder(importlib.abc.MetaPathFinder):
    """A finder that finds no modules itself, but wraps the functions of a module after its import."""

    def __init__(self, rules):
        self._rules = rules  # by module: rules with their state

    def find_spec(self, name, path=None, target=None):
        if name not in self._rules:
            return None
        rules = self._rules.pop(name)
        spec = importlib.util.find_spec(name)  # this finder has removed itself for the name
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for rule, state in rules:
                *owners, last = rule["target"].partition(":")[2].split(".")
                owner = functools.reduce(getattr, owners, module)
                found = rule["value"] if rule["do"] == "set" else _wrapped(getattr(owner, last), rule, state)
                setattr(owner, last, found)

        spec.loader.exec_module = exec_module
        return spec


def _install(place):
    with open(place) as file:
        rules = json.load(file)
    by_module = {}
    for number, rule in enumerate(rules):
        by_module.setdefault(rule["target"].partition(":")[0], []).append((rule, f"{place}.{number}"))
    sys.meta_path.insert(0, _Finder(by_module))


def _place():
    """Return the path of the rules; a decoder's process has an empty environment, so its parent's is read."""
    if "jobs.decoding.process" not in sys.orig_argv:
        return os.environ.get("DRILL_INJECT")
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        pairs = dict(each.partition(b"=")[::2] for each in file.read().split(b"\0"))
    return pairs.get(b"DRILL_INJECT", b"").decode()


if place := _place():
    _install(place)
