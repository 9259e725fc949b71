"""In every container, whole or damaged as the world does it, nothing is left unheard without a word."""

from __future__ import annotations

import pytest

from bench.heard import CONTAINERS, SECONDS, TOLERANCE, Container, cells


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda each: each.name)
def test_we_hear_as_much_as_any_other_decoder_or_say_why_not(container: Container) -> None:
    found = cells(container)

    assert not [f"{damage}: {cell}" for damage, cell in found.items() if cell.is_silent_loss]
    assert found["whole"].ours == pytest.approx(SECONDS, abs=TOLERANCE)
    assert not found["whole"].is_told
    assert found["joined"].ours == pytest.approx(found["joined"].seconds, abs=TOLERANCE)
