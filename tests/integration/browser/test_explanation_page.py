"""The page of an explanation in a real browser: it plays what it marks, offline, whatever the recording's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from jobs.scoring.config import ExplainConfig
from jobs.verbs.explain import run
from tests.integration.browser.layout import texts_outside_pictures
from tests.integration.browser.test_evaluation_page import WIDTHS, pixels
from tests.integration.browser.test_nightly_page import opened
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

HOSTILE = "\"><script>document.title='owned'<\\script><img src=x onerror=alert(1)>.flac"


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The explanation of a recording of a hostile name: 30 s of a low tone, with a high one from 12 s to 16 s."""
    folder = tmp_path_factory.mktemp("page")
    samples = np.concatenate([tone(12.0), tone(4.0, hertz=3_000.0, seed=1), tone(14.0, seed=2)])
    (folder / HOSTILE).write_bytes(encoded(samples))
    (folder / "head.json").write_text(some_head().to_json())
    run(ExplainConfig(head=str(folder / "head.json"), uri=str(folder / HOSTILE), page=str(folder / "page.html")))
    return folder / "page.html"


@pytest.fixture(scope="module", params=[("desktop", "light"), ("phone", "dark")], ids="-".join)
def shown(request: pytest.FixtureRequest, browser: Browser, hostile_page: Path) -> Iterator[tuple[Page, list[str]]]:
    width, scheme = request.param
    page, happened = opened(browser, hostile_page, WIDTHS[width], scheme)
    yield page, happened
    page.close()


def test_the_page_asks_for_nothing_and_runs_no_code_but_its_own(
    shown: tuple[Page, list[str]], hostile_page: Path
) -> None:
    page, happened = shown
    page.wait_for_timeout(100)
    ran = page.evaluate(
        """() => { const own = document.createElement("script"); own.textContent = "document.title = 'owned'";
                   document.body.append(own); return document.title; }"""
    )

    assert happened[:1] == [f"request {hostile_page.as_uri()}"[:108]]
    assert [each for each in happened[1:] if "Content Security Policy" not in each] == []
    assert ran.startswith("bonafide: a verdict of head ")  # the policy keeps all other scripts from running
    assert page.locator("img, iframe, link, object, embed").count() == 0
    assert page.get_by_text(HOSTILE).count() == 1


def test_nothing_is_wider_than_the_screen_or_cut_off(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert texts_outside_pictures(page) == []


def wait_until(page: Page, condition: str) -> None:
    """Ask again and again, from outside: the page's policy lets nothing wait inside of it."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")  # pragma: no cover


def test_a_click_on_a_mark_plays_from_its_start_and_a_line_follows(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    mark = page.locator("svg a.mark").first
    start = float(mark.get_attribute("data-from") or "nan")

    mark.locator("rect").dispatch_event("click")
    wait_until(page, "document.querySelector('[data-follows=whole]').getAttribute('x1') > 0")
    time, is_paused, duration = page.evaluate("[whole.currentTime, whole.paused, whole.duration]")
    page.locator("#part-1 ~ figure button").first.click()
    wait_until(page, "whole.paused")

    assert start <= time < start + 20.0
    assert not is_paused
    assert duration == 30.0


def test_pictures_show_the_sound_the_contributions_and_the_windows(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    pictures = page.locator("svg")

    assert pictures.count() == 1 + page.locator("audio[id^=player]").count()
    for number in range(pictures.count()):
        texts = pictures.nth(number).locator("text.title").all_text_contents()
        assert [text.split(",")[0].split(" to ")[0] for text in texts] == [
            "waveform", "spectrogram", "added", "score of each window"
        ]  # fmt: skip
        picture = pixels(pictures.nth(number).screenshot())
        assert len({tuple(colour) for colour in picture.reshape(-1, 3)[::3].tolist()}) > 100
    assert all(page.evaluate("[...document.querySelectorAll('image')].map(each => each.getBBox().height > 50)"))
