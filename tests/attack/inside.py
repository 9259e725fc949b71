"""The inside of an attacked decoder: a process that was taken over, as if by the recording that it decodes."""

from __future__ import annotations

import errno
import re
from typing import Any, BinaryIO

import detector.recording
from detector.audio import Excerpt
from detector.errors import UtteranceError
from jobs.decoding.sandbox import landlock, seccomp
from jobs.decoding.sandbox.bpf import ALLOW, ERRNO, Rule, assemble
from jobs.decoding.sandbox.system_calls import ARCHITECTURES
from tests.attack import acts

DONE, REFUSED = "done", "refused"
REFUSALS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EXDEV}


def take_over(victims: dict[str, Any], machine: str, known: int | None, has_filter: bool) -> None:
    """Have this process do the act that a recording names, on a kernel that is older than ours.

    Parameters
    ----------
    victims : dict
        What the acts aim at.
    machine : str
        As `uname -m` names it.
    known : int or None
        The version of Landlock that the process finds; 0 for none, None for that of the kernel.
    has_filter : bool
        False if the kernel takes no filter of system calls.
    """
    missing = [landlock.CREATE_RULESET, landlock.ADD_RULE, landlock.RESTRICT_SELF] if known == 0 else []
    missing += [] if has_filter else [seccomp.SECCOMP[machine]]
    if known:
        landlock.version = lambda: known
    if missing:
        # as profiles of old container runtimes answer
        rules = [Rule(number, ERRNO | errno.ENOSYS) for number in missing]
        assert seccomp.install(assemble(ARCHITECTURES[machine].audit, rules, ALLOW), machine)

    decode = detector.recording.decode_native

    def attack(file: BinaryIO, excerpt: Excerpt, max_seconds: float) -> Any:
        file.seek(0)
        found = re.match(b"attack:([a-z_0-9]+)", file.read(64))
        if found is None:
            return decode(file, excerpt, max_seconds)  # the tone at its start
        name = found[1].decode()
        do = acts.ACTS[name].do if name in acts.ACTS else acts.may_still
        try:
            do(victims)
        except OSError as error:
            is_refusal = error.errno in REFUSALS
            raise UtteranceError("not_audio", REFUSED if is_refusal else f"failed: {error!r}") from error
        raise UtteranceError("not_audio", DONE)

    detector.recording.decode_native = attack
