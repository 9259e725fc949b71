"""Every kind of storage has the methods that the rest of the code calls."""

from __future__ import annotations

import inspect

import pytest

from jobs.storage import STORES, Store
from jobs.storage.local import Local
from jobs.storage.other import Other
from jobs.storage.s3 import S3

METHODS = [name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("store", [Local, S3, Other])
def test_a_store_has_every_method_of_the_protocol_with_its_parameters(store: type[Store]) -> None:
    assert len(METHODS) == 14
    assert set(STORES) == {"file", "s3", "s3a"}

    for name in METHODS:
        expected = list(inspect.signature(getattr(Store, name)).parameters)
        assert list(inspect.signature(getattr(store, name)).parameters) == expected
