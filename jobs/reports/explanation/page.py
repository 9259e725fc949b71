"""The page of an explanation: one HTML file that needs no network, with pictures and players of what to listen to."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace

from markupsafe import Markup

from detector.overview import Overview
from detector.rejection import log_odds
from jobs import storage
from jobs.inputs.results import write_result
from jobs.reports.explanation.picture import (
    Picture,
    draw_contributions,
    draw_marks,
    draw_sound,
    draw_windows,
    picture,
)
from jobs.reports.explanation.png import data_url
from jobs.reports.explanation.stretches import WHOLE_SECONDS, Stretch, around, read_stretches
from jobs.reports.pages import number_text, render_page
from jobs.reports.review.players import fragment, link_of
from jobs.scoring.explanation import Explanation, verdict_rows
from jobs.scoring.marks import Window
from jobs.telemetry.names import clock, say

SCRIPT = """
document.addEventListener("click", event => {
  const mark = event.target.closest("[data-plays]");
  const player = mark && document.getElementById(mark.dataset.plays);
  if (!player) return;
  document.querySelectorAll("audio").forEach(each => each === player || each.pause());
  player.currentTime = Number(mark.dataset.from);
  player.play();
});
document.addEventListener("timeupdate", event => {
  const cursor = document.querySelector(`[data-follows="${event.target.id}"]`);
  if (!cursor) return;
  const at = Number(cursor.dataset.start) + event.target.currentTime;
  const share = (at - cursor.dataset.low) / (cursor.dataset.high - cursor.dataset.low);
  const x = Number(cursor.dataset.left) + share * (cursor.dataset.right - cursor.dataset.left);
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
}, true);
"""
"""All code of the page: a click on a mark plays it, and a line follows what is heard. The page's policy allows the text
with this digest and no other, so no name on the page can be run."""


@dataclass(frozen=True)
class Detail:
    """A marked window: its picture, and the sound around it if there is any."""

    number: int
    window: Window
    drawn: Picture
    bar_seconds: float | None
    stretch: Stretch | None
    link: str | None

    @property
    def audio(self) -> str | None:
        """The sound as an address that the page holds."""
        return data_url(self.stretch.flac(), "audio/flac") if self.stretch is not None else None

    @property
    def lead_seconds(self) -> float:
        """Seconds of the stretch before the marked window."""
        return 0.0 if self.stretch is None else max(self.window.start_seconds - self.stretch.start_seconds, 0.0)


def write_page(explanation: Explanation, to: str, uri: str | None, max_seconds: float) -> None:
    """Write the page, and print where it is.

    Parameters
    ----------
    explanation : Explanation
    to : str
        URI of the page.
    uri : str or None
        The recording; None if it is not to be read: then there is no sound on the page.
    max_seconds : float
        A longer recording is refused.
    """
    marked = explanation.marked
    seconds = explanation.verdict.seconds
    is_short = uri is not None and seconds <= WHOLE_SECONDS
    stretches: list[Stretch] = []
    if uri is not None:
        overview = Overview() if explanation.overview is None else None
        times = [*map(around, marked), *([(0.0, seconds)] if is_short else [])]
        stretches = read_stretches(uri, times, explanation.excerpt, max_seconds, overview)
        explanation = replace(explanation, overview=overview or explanation.overview)
    html = render(explanation, stretches[: len(marked)], stretches[-1] if is_short else None, uri)
    write_result(storage.normal(to), html.encode())
    say("", f"page: {to}")


def render(explanation: Explanation, stretches: list[Stretch], whole: Stretch | None, uri: str | None) -> str:
    """Return the page as HTML with everything in it escaped.

    Parameters
    ----------
    stretches : list of Stretch
        Of the marked windows, or none.
    whole : Stretch or None
        The recording, if it is short.
    uri : str or None
        The recording, for links.
    """
    head, verdict = explanation.head, explanation.verdict
    threshold, marked = log_odds(verdict.prior), explanation.marked
    drawn, bar_seconds = _picture(explanation, "the whole recording", 0.0, verdict.seconds, explanation.overview, 0.0)
    link = link_of(storage.normal(uri)) if uri is not None and "#" not in uri else None
    heard: list[Stretch | None] = [*stretches] or [None] * len(marked)
    details = [_detail(explanation, number, stretch, link) for number, stretch in enumerate(heard, start=1)]
    return render_page(
        "explanation.html.j2",
        {"clock": clock, "number": number_text},
        explanation=explanation,
        head=head,
        verdict=verdict,
        rows=verdict_rows(head, verdict) if verdict.score is not None else [],
        threshold=threshold,
        drawn=drawn,
        bar_seconds=bar_seconds,
        details=details,
        whole=None if whole is None else data_url(whole.flac(), "audio/flac"),
        has_audio=bool(stretches) or whole is not None,
        script=Markup(SCRIPT),  # noqa: S704 - a text of ours
        script_digest=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
    )


def _detail(explanation: Explanation, number: int, stretch: Stretch | None, link: str | None) -> Detail:
    window = explanation.marked[number - 1]
    start, end = window.start_seconds, window.end_seconds
    overview = None
    if stretch is not None:
        start, end = min(start, stretch.start_seconds), max(end, stretch.end_seconds)
        overview = Overview()
        overview.add(stretch.samples)
    drawn, bar_seconds = _picture(
        explanation, f"part {number}", start, end, overview, start if stretch is None else stretch.start_seconds
    )
    at = f"{link}{fragment(explanation.excerpt.start, window)}" if link else None
    return Detail(number, window, drawn, bar_seconds, stretch, at)


def _picture(
    explanation: Explanation, title: str, start: float, end: float, overview: Overview | None, sound_start: float
) -> tuple[Picture, float | None]:
    """Return the picture of a stretch, and the seconds that a bar of its contributions sums up."""
    drawn, bar_seconds = picture(title, start, end), None
    if overview is not None and overview.seconds:
        draw_sound(drawn, overview, sound_start)
    if explanation.frames is not None and explanation.frames.n_frames and explanation.windows:
        bar_seconds = draw_contributions(drawn, explanation.frames)
    if explanation.windows:
        draw_windows(drawn, explanation.windows, log_odds(explanation.verdict.prior))
    draw_marks(drawn, explanation.marked)
    return drawn, bar_seconds
