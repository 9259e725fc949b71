"""Segment labels: the `.npy` files of PartialSpoof, each a pickled dict of arrays, read without running what they name.

`numpy.load` would have to unpickle them, and a pickle can name any function to call. Here the names of NumPy that such
a file needs stand for two small classes of this module, every other name is refused, and so is every opcode that such a
file does not need; some of those allocate what a length in the file says.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.errors import SchemaError
from jobs.inputs.corpora.lines import REMEDY

OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.STACK_GLOBAL),
    *(pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.REDUCE, pickle.BUILD),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINFLOAT),
    *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINBYTES, pickle.SHORT_BINBYTES),
)


class _Type:
    """Stands for `numpy.dtype`."""

    def __init__(self, name: str, *_: object) -> None:
        if re.fullmatch(r"[USiufb]\d{1,2}|O8?", name) is None:
            raise pickle.UnpicklingError(f"an array of {name!r}")
        self.name = name

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.name = f"{'>' if state[1] == '>' else '<'}{self.name}"


class _Array:
    """Stands for `numpy.ndarray`, of one dimension or none."""

    def __init__(self, *_: object) -> None:
        self.values: Any = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, of, _, content = state
        self.values = np.frombuffer(content, of.name) if isinstance(content, bytes) else content


STANDS_FOR = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle._Unpickler):  # that of Python, because the one of C allocates what the index of a memo says
    dispatch = {key: load for key, load in pickle._Unpickler.dispatch.items() if bytes([key]) in OPCODES}  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STANDS_FOR:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return STANDS_FOR[module, name]


def segment_labels(content: bytes, where: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the labels of a file of PartialSpoof, by utterance: for each cell of time, True if it is spoof.

    Raises
    ------
    SchemaError
        If it is no `.npy` file with a dict of arrays of 0 (spoof) and 1 (bona fide).
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        read_header(file)
        (labels,) = _Unpickler(file).load().values
        return {name: _is_spoof(name, values) for name, values in labels.items()}
    except Exception as error:  # whatever a broken or a made-up pickle leads to
        raise SchemaError(
            f"{where}: {type(error).__name__}: {error}; expected a .npy file of one dict, with an array of 0 (spoof) "
            f"and 1 (bonafide) for each utterance. {REMEDY}"
        ) from error


def _is_spoof(name: str, values: Any) -> npt.NDArray[np.bool_]:
    cells = np.asarray(values.values if isinstance(values, _Array) else values)
    if cells.dtype.kind in "US":
        cells = cells.astype("U1" if cells.dtype.itemsize in (1, 4) else "U9")
        spoof, bonafide = cells == "0", cells == "1"
    elif cells.dtype.kind in "iufb":
        spoof, bonafide = cells == 0, cells == 1
    else:
        raise TypeError(f"{name!r} has labels of type {cells.dtype}")
    of_known = np.asarray(spoof | bonafide)
    if cells.ndim != 1 or not of_known.all():
        raise ValueError(f"{name!r} has labels that are neither 0 nor 1")
    return np.asarray(spoof, dtype=np.bool_)
