"""The actors of a simulation, the requests they wait for, and the faults that strike them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from jobs.tables.requests import Exist, Fetch, Get, List, Put

CRASH_BEFORE = "killed before"
CRASH_AFTER = "killed after"
LOST = "reply lost"
LATE = "arrives late"
ORPHAN = "loses its driver"
SLEEP = "sleeps"
NAP = "naps"
FAULTS = (CRASH_BEFORE, CRASH_AFTER, LOST, LATE, ORPHAN, SLEEP)


@dataclass(frozen=True, slots=True)
class Read:
    """Read a source (`If-Match`). Answer: True if it is still in that state."""

    slot: str
    state: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an object."""

    name: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up the object that refused a PUT, as :func:`jobs.storage.put` does."""

    put: Put


@dataclass(frozen=True, slots=True)
class Nothing:
    """Let time pass."""


@dataclass(eq=False, slots=True)
class Workers:
    """Give each task to a process of its own. Answer: their results; None where it was lost repeatedly.

    With assemblers, each task goes to one of so many processes, which do all of theirs at once.
    """

    tasks: list[Callable[[], Steps]]
    twice: bool
    assemblers: int = 0
    driver: Actor | None = None  # None once it was killed
    answers: dict[int, Any] = field(default_factory=dict)
    lives: int = 2


Steps = Generator[Any, Any, Any]


@dataclass(eq=False, slots=True)
class Actor:
    """A process that waits for an answer; a worker has one task of a set of workers.

    An assembler is as many actors as it has tasks under way. They sleep and are lost together.
    """

    name: str
    steps: Steps
    workers: Workers | None = None
    task: int = 0
    assembler: int | None = None
    asked: Any = None


def faults_of(actor: Actor) -> tuple[str, ...]:
    """Return the faults that differ in what they do to an actor at its request.

    One that only reads is killed before and after with the same effect, and repeats its request whatever happened to
    the reply; and only a worker can lose its driver without being killed.
    """
    of_request = {Put: (CRASH_AFTER, LOST, LATE), Delete: (CRASH_AFTER, LOST)}.get(type(actor.asked), (LOST,))
    return CRASH_BEFORE, *of_request, *([ORPHAN] if actor.workers else []), SLEEP, NAP


def described(asked: Any) -> str:
    """Describe a request in one line."""
    match asked:
        case Put(name, content, expected):
            return f"PUT {name} {f'If-Match {expected[:6]}' if expected else 'If-None-Match *'} {content[:60]!r}"
        case LookUp(put):
            return f"GET {put.name} after 412"
        case Get(name):
            return f"GET {name}"
        case Fetch(names):
            return f"GET {', '.join(names)}"
        case Exist(names):
            return f"HEAD {', '.join(names)}"
        case List(folder):
            return f"LIST {folder}"
        case Delete(name):
            return f"DELETE {name}"
        case Read(slot, state):
            return f"READ source {slot} If-Match {state}"
    return "…"
