"""The nightly page, opened in a real browser: in light and dark, with hostile names; and written exactly once."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from jobs.errors import RunAgain
from jobs.reports.nightly import page
from jobs.reports.review.players import link_of
from jobs.reports.runs import read_record
from jobs.scoring.result import ScoringRun
from jobs.tables.checksummed_json import dump_checksummed
from tests.integration.browser.layout import texts_outside_pictures
from tests.integration.browser.test_evaluation_page import HOSTILE, WIDTHS, pixels
from tests.support import nightly_runs
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

LONG = "a-name-without-any-place-to-break-" * 6
RADIO = "s3://archive/2026/radio/0001.tar"


def pages_of(output: Path) -> list[Path]:
    return sorted((output / "runs").glob("*.html"))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fourth night of an archive whose members and folders are called by hostile and by long names, with links."""
    output = tmp_path_factory.mktemp("hostile")
    for number in range(4):
        rows = nightly_runs.recordings(nightly_runs.drawn(90, seed=number)[0], f"{RADIO}-{number}", seed=number)
        for place, row in enumerate(rows):
            row.member = f"{(HOSTILE, LONG, 'calls')[place % 3]}/{place}.flac"
        if number == 3:
            rows[0].embedding, rows[0].uri = np.zeros(nightly_runs.DIM), "javascript://%0adocument.title='owned'"
        failures = {f"{HOSTILE}.mp3": "not_audio", "b.flac": "decode_error"}
        judge = replace(nightly_runs.head(), model=HOSTILE)
        nightly_runs.night(
            str(output), {f"{RADIO}-{number}": rows}, failures, judge=judge, date=f"2026-11-2{number}", players="link"
        )
    return pages_of(output)[-1]


@pytest.fixture(params=[("desktop", "light"), ("phone", "dark")], ids="-".join)
def shown(request: pytest.FixtureRequest, browser: Browser, hostile_page: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page at a width, in light or dark, and what happened while it was opened."""
    width, scheme = request.param
    page, happened = opened(browser, hostile_page, WIDTHS[width], scheme)
    yield page, happened
    page.close()


def opened(browser: Browser, path: Path, size: tuple[int, int], scheme: str = "light") -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    happened: list[str] = []
    page.on("request", lambda asked: happened.append(f"request {asked.url[:100]}"))
    page.on("console", lambda said: happened.append(f"console {said.text}"))
    page.on("dialog", lambda dialog: happened.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: happened.append(f"error {error}"))
    page.goto(path.as_uri())
    return page, happened


def test_the_page_asks_for_nothing_and_runs_nothing(shown: tuple[Page, list[str]], hostile_page: Path) -> None:
    page, happened = shown
    page.wait_for_timeout(100)

    assert happened == [f"request {hostile_page.as_uri()}"[:108]]
    assert page.title().startswith("bonafide: 2026-11-23, run ")
    assert page.locator("script, img, iframe, object, embed, audio, link").count() == 0


def test_hostile_names_stand_on_the_page_as_they_are(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    assert page.locator("td.name", has_text=f"{HOSTILE}/").count() > 0
    assert page.locator("p.soft").first.inner_text().count(HOSTILE) == 1
    links = page.locator("a").evaluate_all("all => all.map(link => link.protocol)")
    assert len(links) > 0
    assert set(links) == {"s3:"}


def test_nothing_is_wider_than_the_screen_or_cut_off(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert texts_outside_pictures(page) == []


def test_texts_of_pictures_and_tables_do_not_overlap(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    overlaps = page.evaluate(
        """() => [...document.querySelectorAll("svg")].flatMap(svg => {
            const texts = [...svg.querySelectorAll(":scope > text")].map(text => text.getBoundingClientRect());
            return texts.flatMap((one, index) => texts.slice(index + 1).filter(other =>
                one.left < other.right - 1 && other.left < one.right - 1
                && one.top < other.bottom - 3 && other.top < one.bottom - 3).map(() => svg.ariaLabel));
        })"""
    )
    cut = page.evaluate(
        """() => [...document.querySelectorAll("td, th")].filter(cell => cell.offsetParent
            && cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent)"""
    )
    assert overlaps == []
    assert cut == []


def test_every_picture_has_axes_units_and_bars(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    labels = page.locator("svg").evaluate_all("all => all.map(svg => svg.ariaLabel)")

    assert [label.split(":")[0] for label in labels] == [
        "New recordings", "Flagged as spoof", "Rejected", "Failed", "Score", "Entropy", "ood", "Duration"
    ]  # fmt: skip
    for number in range(len(labels)):
        svg = page.locator("svg").nth(number)
        texts = svg.locator("text").all_text_contents()
        assert any("→" in text for text in texts), labels[number]
        assert len([text for text in texts if re.fullmatch(r"-?[\d.e+]+( %)?", text)]) >= 4, texts
        assert svg.locator("rect").count() >= 4
        picture = pixels(svg.screenshot())
        assert len({tuple(colour) for colour in picture.reshape(-1, 3)[::3].tolist()}) > 15, labels[number]


def test_a_long_path_is_cut_in_the_middle_and_is_whole_on_hover_and_when_copied(
    shown: tuple[Page, list[str]],
) -> None:
    page, _ = shown
    name = page.locator("bdi[title]:has(.cut)", has_text=LONG).first
    whole = name.get_attribute("title")
    assert whole is not None

    name.evaluate("each => getSelection().selectAllChildren(each)")
    page.keyboard.press("ControlOrMeta+c")
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.focus("textarea")
    page.keyboard.press("ControlOrMeta+v")
    copied = page.input_value("textarea")

    assert copied == whole
    assert LONG in whole
    box = name.locator(".cut").bounding_box()
    assert box is not None
    assert box["width"] < 30.0  # px: three dots
    assert name.evaluate("each => each.getClientRects().length") <= 4  # lines


def test_flagged_recordings_stand_before_the_runs_and_the_drift(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown

    titles = page.locator("h2").all_inner_texts()

    assert titles[:2] == ["Flagged as spoof", "Compared with earlier runs"]
    assert titles.index("Flagged as spoof") < titles.index("Drift")


def test_a_trend_begins_with_the_second_night(browser: Browser, tmp_path: Path) -> None:
    for number in range(2):
        rows = nightly_runs.recordings(nightly_runs.drawn(30, seed=number)[0], f"{RADIO}-{number}")
        nightly_runs.night(str(tmp_path), {f"{RADIO}-{number}": rows}, date=f"2026-11-2{number}")

    for number, path in enumerate(pages_of(tmp_path)):
        page, _ = opened(browser, path, WIDTHS["desktop"])
        text = page.inner_text("body")
        pictures = page.locator("svg").evaluate_all("all => all.map(svg => svg.ariaLabel)")
        page.close()

        has_trend = bool(number)
        assert any(label.startswith("New recordings") for label in pictures) == has_trend
        assert "Compared with earlier runs" in text
        assert ("before:" in text) == has_trend
        assert ("nothing to compare it with yet" in text) != has_trend
        assert not re.search(r"before: [^(\n]*\(", text)  # one night before has no range


def test_dark_is_dark_and_text_can_be_read(shown: tuple[Page, list[str]]) -> None:
    page, _ = shown
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")

    colours = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector(".soft")).color]"""
    )
    paper, ink, soft = (luminance(colour) for colour in colours)
    assert (paper < 0.05) == dark
    for text in (ink, soft):  # WCAG 2.1: 4.5 to 1 at least
        assert (max(paper, text) + 0.05) / (min(paper, text) + 0.05) > 4.5


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(…)`, WCAG 2.1."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def archive(folder: Path) -> list[nightly_runs.Recording]:
    """A tar of six short recordings and a long one, and a loose file, as rows at the threshold."""
    members = {f"{number}.flac": encoded(tone(0.5, seed=number)) for number in range(6)}
    members["long.wav"] = encoded(tone(90.0), kind="WAV")
    tar = write_tar(folder / "0001.tar", members)
    (folder / "loose.flac").write_bytes(encoded(tone(0.5, seed=9)))
    rng = np.random.default_rng(0)
    heard = {(str(tar), name): content for name, content in members.items()}
    heard |= {(str(folder / name), None): encoded(tone(0.5, seed=9)) for name in ("loose.flac", "gone.flac")}
    rows = []
    for (uri, member), content in heard.items():
        vector = rng.normal(size=nightly_runs.DIM)
        vector[0] = 0.0
        sha256 = hashlib.sha256(content).hexdigest()
        rows.append(nightly_runs.Recording(uri, member, vector, audio_sha256=sha256))
    return rows


@pytest.mark.parametrize(("players", "n_held", "n_links"), [("none", 0, 0), ("link", 0, 9), ("embed", 7, 9)])
def test_players_are_as_they_were_asked_for(
    players: str, n_held: int, n_links: int, tmp_path: Path, browser: Browser
) -> None:
    nightly_runs.night(str(tmp_path / "tables"), {"0001.tar": archive(tmp_path)}, players=players)
    (path,) = pages_of(tmp_path / "tables")

    page, happened = opened(browser, path, WIDTHS["desktop"])
    lengths = page.evaluate(
        """() => Promise.all([...document.querySelectorAll("audio")].map(audio => new Promise(found => {
            audio.onloadedmetadata = () => found(audio.duration);
            audio.onerror = () => found(audio.error.message);
            audio.load(); audio.preload = "metadata";
        })))"""
    )
    addresses = page.locator("td a").evaluate_all("all => all.map(link => link.href)")
    page.close()

    assert lengths == pytest.approx([0.5] * n_held)  # the long one is more than 2 MiB, one is gone: a link is left
    assert len(addresses) == n_links
    assert all(address.startswith("file:///") for address in addresses)
    assert [each for each in happened if "data:" not in each] == [f"request {path.as_uri()}"[:108]]
    assert ("media-src data:" in path.read_text()) == bool(n_held)


def test_a_page_holds_nothing_that_was_not_heard(tmp_path: Path) -> None:
    rows = archive(tmp_path)
    (tmp_path / "private.flac").write_bytes(encoded(tone(0.5, seed=10)))
    (tmp_path / "loose.flac").unlink()
    (tmp_path / "loose.flac").symlink_to(tmp_path / "private.flac")

    nightly_runs.night(str(tmp_path / "tables"), {"0001.tar": rows}, players="embed")

    (path,) = pages_of(tmp_path / "tables")
    assert path.read_text().count("<audio") == 6  # of 7 that are short and there


def test_a_page_holds_no_more_audio_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = archive(tmp_path)
    size = max(len(encoded(tone(0.5, seed=number))) for number in (*range(6), 9))
    monkeypatch.setattr("jobs.reports.review.players.MAX_PAGE_BYTES", 2 * size)

    nightly_runs.night(str(tmp_path / "tables"), {"0001.tar": rows}, players="embed")

    (path,) = pages_of(tmp_path / "tables")
    assert path.read_text().count("<audio") == 2


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "javascript://x", "data:text/html,x", "vbscript://x", "relative.flac", "about:blank"]
)
def test_what_could_run_has_no_link(uri: str) -> None:
    assert link_of(uri) is None


def test_a_quote_in_an_address_stays_inside_of_it() -> None:
    assert link_of('/data/" onclick="x.flac') == "file:///data/%22%20onclick%3D%22x.flac"


def night_of(output: Path, **how: Any) -> tuple[ScoringRun, nightly_runs.Ledger]:
    shards = {
        f"{RADIO}-{part}": nightly_runs.recordings(nightly_runs.drawn(30, seed=part)[0], f"{RADIO}-{part}")
        for part in range(3)
    }
    return nightly_runs.night(str(output), shards, {"x.mp3": "not_audio"}, **how)


def test_a_run_with_nothing_new_writes_no_page_and_touches_none(tmp_path: Path) -> None:
    night_of(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    night_of(tmp_path)

    assert len(pages_of(tmp_path)) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_page_that_was_lost_is_made_again_to_the_byte(tmp_path: Path) -> None:
    night_of(tmp_path)
    (path,) = pages_of(tmp_path)
    before = path.read_bytes()
    path.unlink()

    night_of(tmp_path)

    assert path.read_bytes() == before


def test_the_page_of_a_resumed_run_is_that_of_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "run-whole", tmp_path / "run-stops"
    night_of(whole)

    class DiesAfterOne(nightly_runs.InProcessRunner):
        def map_items(self, task: Callable[[str], Any], items: Sequence[str], **_: Any) -> Iterator[Any]:
            yield task(items[0])
            raise RunAgain("the machine is taken away")

    with monkeypatch.context() as patched:
        patched.setattr(nightly_runs, "InProcessRunner", DiesAfterOne)
        with pytest.raises(RunAgain):
            night_of(cut)
    assert pages_of(cut) == []
    night_of(cut)

    ((one,), (other,)) = pages_of(whole), pages_of(cut)
    assert one.name == other.name
    assert other.read_text().replace(cut.name, whole.name) == one.read_text()


def test_runs_of_versions_without_pages_get_none(tmp_path: Path) -> None:
    scored, source = night_of(tmp_path, pages=False)
    record = read_record(str(tmp_path), scored.history.plans[0].run_id)
    assert record is not None
    del record["settings"]["players"]
    (tmp_path / "runs" / f"{record['run_id']}.json").write_bytes(dump_checksummed(record, indent=1))

    page.write_pages(scored, source)

    assert pages_of(tmp_path) == []


def test_a_page_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scored, source = night_of(tmp_path, pages=False)
    in_the_way = tmp_path / "runs" / f"{scored.history.plans[0].run_id}.html"
    (in_the_way / "folder").mkdir(parents=True)

    with caplog.at_level(logging.WARNING):
        page.write_pages(scored, source)

    assert "no page" in caplog.text
    assert str(in_the_way) in caplog.text


def test_a_head_of_an_earlier_version_has_a_page_that_says_so(tmp_path: Path) -> None:
    training = {name: each for name, each in nightly_runs.head().training.items() if name != "calibration_rows"}

    night_of(tmp_path, judge=replace(nightly_runs.head(), training=training))

    (path,) = pages_of(tmp_path)
    assert "This head holds no counts of its calibration rows" in path.read_text()


def test_a_head_whose_labels_named_no_source_says_so(tmp_path: Path) -> None:
    night_of(tmp_path, judge=nightly_runs.head(with_sources=False))

    (path,) = pages_of(tmp_path)
    assert "the labels that the head was fitted on have no sources" in path.read_text()


def test_the_page_needs_no_network(hostile_page: Path) -> None:
    text = hostile_page.read_text()

    assert "<script" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "media-src" not in text
    assert len(text) < 1_000_000
