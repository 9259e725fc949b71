"""The page, looked at in a real browser: at desktop and phone width, offline, with hostile names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Error, Page

from jobs.reports.evaluation import findings, page, shortcuts
from jobs.reports.evaluation.evaluation import nan_to_none
from jobs.reports.evaluation.trials import HeadTrials
from tests.integration.browser.layout import texts_outside_pictures
from tests.support.labelled_scores import judged_rows

HOSTILE = '"><script>document.title="owned"</script><img src=x onerror=alert(1)>'
LONG = "a-name-without-any-place-to-break-" * 6
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
NO_BREAK = "\N{NO-BREAK SPACE}"


def content_of(*heads: pa.Table, n_draws: int = 20) -> dict[str, Any]:
    """What `evaluate` writes, of rows that are joined already."""
    first = HeadTrials(heads[0]["head_id"][0].as_py(), "", heads[0], heads[0], 0, (), ())
    ids = {"uri": HOSTILE, "ids": {"joined": len(heads[0]), "failed": 1, "missing": 0, "unlabelled": 2}}
    certificate = {
        "certified": True,
        "method": "Learn-then-Test",
        "confidence": 0.95,
        "prior": 0.5,
        "assumptions": ["rows like these", HOSTILE],
        "bonafide": {"limit": 0.01},
        "spoof": {"limit": None},
    }
    found = [
        findings.head_findings(rows, n_draws) | ids | {"certificate": certificate, "systems": None} for rows in heads
    ]
    baselines = shortcuts.baselines(first, n_draws)
    content: dict[str, Any] = nan_to_none(
        {
            "settings": {"split": "eval", "draws": n_draws, "labels": HOSTILE},
            "versions": {"bonafide": "0"},
            "heads": found,
            "comparisons": [
                {
                    "head_id": each["head_id"],
                    "reference": found[0]["head_id"],
                    "metrics": findings.compare_heads(heads[0], rows, n_draws),
                }
                for each, rows in zip(found[1:], heads[1:], strict=True)
            ],
            "shortcuts": baselines,
            "warnings": [f"head {HOSTILE}", *shortcuts.warnings_of(baselines)],
        }
    )
    return content


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two heads whose systems are called by hostile and by long names."""
    heads = (judged_rows(system=HOSTILE), judged_rows(noise=3.0, system=HOSTILE, head_id=LONG))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.render(content_of(*heads)))
    return path


@pytest.fixture(params=WIDTHS)
def shown(request: pytest.FixtureRequest, browser: Browser, hostile_page: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page at a width, and what happened while it was opened: requests, messages, dialogs, errors."""
    width, height = WIDTHS[request.param]
    page = browser.new_page(viewport={"width": width, "height": height})
    happened: list[str] = []
    page.on("request", lambda asked: happened.append(f"request {asked.url}"))
    page.on("console", lambda said: happened.append(f"console {said.text}"))
    page.on("dialog", lambda dialog: happened.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: happened.append(f"error {error}"))
    try:
        page.goto(hostile_page.as_uri())
    except Error as error:  # pragma: no cover
        pytest.fail(str(error))
    yield page, happened
    page.close()


def test_the_page_asks_for_nothing_and_runs_nothing(shown: tuple[Page, list[str]], hostile_page: Path) -> None:
    page, happened = shown
    page.wait_for_timeout(100)

    assert happened == [f"request {hostile_page.as_uri()}"]
    assert page.title() == "bonafide: report of head a-head"
    assert page.locator("script, img, iframe, link, object, embed").count() == 0


def test_hostile_names_stand_on_the_page_as_they_are(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    assert page.get_by_text(f"{HOSTILE}-1", exact=True).count() == 1
    assert page.locator("ul.warnings").inner_text().startswith(f"head {HOSTILE}")


def test_nothing_is_wider_than_the_screen_or_cut_off(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # tables that are wider scroll by themselves; every text of a picture lies inside of it
    assert texts_outside_pictures(page) == []


def test_texts_of_pictures_can_be_read_and_do_not_overlap_along_an_axis(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    heights = page.evaluate("[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)")
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap(svg => {
            const ticks = [...svg.querySelectorAll(":scope > text[text-anchor=middle]")]
                .map(text => text.getBoundingClientRect());
            const row = ticks.filter(tick => Math.abs(tick.top - ticks[0].top) < 1);
            return row.slice(1).filter((tick, index) => tick.left < row[index].right).map(() => svg.ariaLabel);
        })"""
    )

    assert min(heights) >= 11.0  # px: a 13 px font at the phone's scale
    assert overlaps == []


def test_the_screenshot_shows_every_picture(shown: tuple[Page, list[str]], tmp_path: Path) -> None:
    page, _ = shown
    titles = [text.split(":")[0] for text in page.locator("svg").evaluate_all("all => all.map(svg => svg.ariaLabel)")]

    both = ["Reliability", "Scores", "Error by entropy"]
    assert titles == ["DET", "ROC", "Risk and coverage", "Accuracy over kept", *both, *both]
    for number, title in enumerate(titles):
        picture = pixels(page.locator("svg").nth(number).screenshot())
        colours = {tuple(colour) for colour in picture.reshape(-1, 3)[::3].tolist()}
        assert len(colours) > 20, title  # lines, bars or dots, and text
        assert (picture < 200).any(axis=2).mean() > 0.005, title
        if number < 4:  # a line of each head across the picture
            for colour in ((0x16, 0x60, 0x8F), (0xB3, 0x45, 0x1C)):
                _, columns = np.nonzero((np.abs(picture.astype(int) - colour) < 24).all(axis=2))
                assert len(set(columns.tolist())) > 0.2 * picture.shape[1], (title, colour)
    whole = pixels(page.screenshot(full_page=True, path=tmp_path / "report.png"))
    assert whole.shape[1] == page.viewport_size["width"]  # type: ignore[index]


def pixels(png: bytes) -> np.ndarray:
    """A screenshot as (height, width, 3) of 0 to 255."""
    with av.open(io.BytesIO(png)) as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


def test_the_page_needs_no_network_and_escapes_all_names(hostile_page: Path) -> None:
    text = hostile_page.read_text()

    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert len(text) < 1_000_000


def test_a_comparison_says_which_head_is_better() -> None:
    text = page.render(content_of(judged_rows(), judged_rows(noise=4.0, head_id="b-head"), n_draws=100))

    assert "Head B against head A" in text
    assert "A better" in text
    assert "B better" not in text


def test_the_page_shows_what_was_promised_beside_what_was_kept() -> None:
    text = page.render(content_of(judged_rows()))

    assert "at most 1.0\N{NO-BREAK SPACE}%, 95.0\N{NO-BREAK SPACE}% sure" in text
    assert "<bdi>Learn-then-Test</bdi>; it assumes: <bdi>rows like these" in text


def test_a_head_that_rejects_everything_has_a_page() -> None:
    rows = judged_rows(60)
    at = rows.column_names.index("reject")

    text = page.render(content_of(rows.set_column(at, "reject", pa.array([True] * 60))))

    assert "0.0\N{NO-BREAK SPACE}%" in text


def test_more_groups_than_are_read_are_left_to_the_json() -> None:
    text = page.render(content_of(judged_rows()))

    assert "The 40 largest of 51; all are in report.json." in text  # speakers and "unknown"


def opened_text(browser: Browser, path: Path) -> tuple[str, list[str], bool]:
    """Return what a page of 400 px shows, the tables that scroll sideways, and whether the page does."""
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(path.as_uri())
    wide = page.evaluate(
        """() => [...document.querySelectorAll(".scroll, td, th")].filter(each => each.offsetParent
            && each.scrollWidth > each.clientWidth + 1).map(each => each.textContent.slice(0, 80))"""
    )
    text, is_wide = page.inner_text("body"), page.evaluate("document.documentElement.scrollWidth > 400")
    page.close()
    return text, wide, is_wide


@pytest.mark.parametrize("n_heads", [1, 2])
def test_at_400_px_nothing_scrolls_sideways(n_heads: int, browser: Browser, tmp_path: Path) -> None:
    heads = (judged_rows(system=HOSTILE), judged_rows(noise=3.0, system=HOSTILE, head_id=LONG))[:n_heads]
    (tmp_path / "report.html").write_text(page.render(content_of(*heads)))

    text, wide, is_wide = opened_text(browser, tmp_path / "report.html")

    assert wide == []
    assert not is_wide
    assert "Missed spoof, accepted as bona fide" in text


def test_the_first_sentence_says_how_many_are_decided_and_how_many_of_these_rightly(
    browser: Browser, tmp_path: Path
) -> None:
    content = content_of(judged_rows())
    (head,) = content["heads"]
    # 100 of 160 labelled recordings are decided, 88 of them rightly: 10 spoof and 2 bona fide recordings are not
    head["counts"] |= {"bonafide": 90, "spoof": 60, "unscored": 10, "kept": 100, "kept_wrong": 12}
    head["counts"]["of_class"] = {"spoof": {"kept": 40, "kept_wrong": 10}, "bonafide": {"kept": 60, "kept_wrong": 2}}
    head["headline"]["risk"]["value"], head["headline"]["coverage"]["value"] = 0.12, 0.625
    (tmp_path / "report.html").write_text(page.render(content))

    text = opened_text(browser, tmp_path / "report.html")[0].replace(NO_BREAK, " ")

    lines = [line for line in text.splitlines() if line]
    assert lines[1] == ("On 160 labelled recordings this head is right in 88 % of those it decides, and decides 62 %.")
    assert lines[2].startswith(
        "Missed spoof, accepted as bona fide: 10 of 40 (25 %). "
        "False alarms, bona fide speech called spoof: 2 of 60 (3 %)."
    )


def test_heads_have_letters_only_where_there_are_several(browser: Browser, tmp_path: Path) -> None:
    for number, heads in enumerate([(judged_rows(),), (judged_rows(), judged_rows(head_id="b-head"))]):
        path = tmp_path / f"{number}.html"
        path.write_text(page.render(content_of(*heads)))
        shown = browser.new_page()
        shown.goto(path.as_uri())

        letters = shown.locator(".key").all_inner_texts()
        pictures = shown.locator("svg").evaluate_all("all => all.map(svg => svg.ariaLabel)")
        shown.close()

        assert ("A" in letters) == bool(number)
        assert any("Head A" in label for label in pictures) == bool(number)
        assert ("Each head has a letter" in path.read_text()) == bool(number)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.004, "less than 1 %"), (0.616, "62 %"), (0.996, "more than 99 %"), (1.0, "100 %")],
)
def test_a_share_in_words_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert page._about(share) == text.replace(" %", f"{NO_BREAK}%")
