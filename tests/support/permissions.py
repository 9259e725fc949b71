"""Permissions: root reads everything, so tests that need a file to be denied give up that right for a while."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

VERSION_3 = 0x20080522
READ_ANYTHING = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def binding_permissions() -> Iterator[None]:
    """Let permissions bind this thread, and those that it starts, also where it is root's; skip where they cannot."""
    libc, header, data = ctypes.CDLL(None, use_errno=True), _Header(VERSION_3, 0), (_Data * 2)()
    if os.geteuid() == 0 and libc.capget(ctypes.byref(header), data) != 0:
        pytest.skip("permissions do not bind root here")
    before = data[0].effective
    data[0].effective = before & ~READ_ANYTHING
    if os.geteuid() == 0 and libc.capset(ctypes.byref(header), data) != 0:
        pytest.skip("permissions do not bind root here")
    try:
        yield
    finally:
        data[0].effective = before
        if os.geteuid() == 0:
            libc.capset(ctypes.byref(header), data)


@contextlib.contextmanager
def denied(*paths: Path) -> Iterator[None]:
    """Take every permission on some files and folders away, and let permissions bind; give them back at the end."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0)
    try:
        with binding_permissions():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
