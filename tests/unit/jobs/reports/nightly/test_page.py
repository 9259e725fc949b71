"""A page shows what is stored when it is done, also where an erasure came in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.reports.nightly import page
from tests.support.nightly_runs import drawn, night, recordings

TAR = "s3://archive/2026/radio/0001.tar"
VICTIM = "2026/radio/0001.tar#0003.flac"


def test_a_recording_that_is_erased_while_the_page_is_drawn_is_not_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path)
    scored, source = night(output, {TAR: recordings(drawn(8, seed=5)[0])}, pages=False)
    drawn_of: list[bool] = []
    render = page.render

    def erase_and_render(content: dict[str, Any]) -> str:
        drawn_of.append(VICTIM in str(content))
        if len(drawn_of) == 1:
            erase(output, ErasureRequest([VICTIM]), lambda *_: 0)
        return render(content)

    monkeypatch.setattr(page, "render", erase_and_render)

    page.write_pages(scored, source)

    assert drawn_of == [True, False]
    (written,) = (tmp_path / "runs").glob("*.html")
    assert VICTIM not in written.read_text()
