"""All checks, by what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.support.manifests import access, commands, confinement, image, kinds, machines, order, sizes, times
from tests.support.manifests.documents import Document

KUBERNETES: dict[str, Callable[[list[Document]], Iterator[str]]] = {
    each.__name__: each
    for each in (
        *(kinds.schema, kinds.namespace, kinds.same),
        *(confinement.confined, confinement.no_token, confinement.accounts, confinement.no_secret, confinement.images),
        *(access.dashboard, access.network),
        *(commands.parsed, commands.decoders, commands.places, commands.address),
        *(order.signed, order.told, order.heard, order.ordered),
        *(sizes.sizes, sizes.spot, sizes.autoscaling, times.times),
    )
}
LAUNCHER: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    each.__name__: each for each in (machines.schema, machines.seats, machines.closed, machines.images)
}
IMAGE: dict[str, Callable[[str], Iterator[str]]] = {each.__name__: each for each in (image.linted, image.image)}
