"""explain: show how a head comes to its verdict on one recording."""

from jobs.scoring.config import ExplainConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Explain the verdict, and return the exit code."""
    from jobs.reports.explanation.page import write_page  # only now: --help needs none of it
    from jobs.reports.explanation.spans import write_spans
    from jobs.scoring.explanation import explain
    from jobs.scoring.stored_explanation import stored_explanation

    explanation = explain(settings) if settings.utterance is None else stored_explanation(settings)
    if settings.page is not None:
        write_page(explanation, settings.page, settings.uri, settings.max_seconds)
    if settings.spans is not None:
        write_spans(explanation, settings.spans, settings.uri)
    return 0
