"""review: export recordings for people to label, and import their labels, of recordings and of parts."""

from __future__ import annotations

from jobs.reports.review.config import ExportConfig, ImportConfig, PartsConfig

ACTIONS = {"export": ExportConfig, "import": ImportConfig, "parts": PartsConfig}
"""The verb's actions, with the settings of each."""


def run(settings: ExportConfig | ImportConfig | PartsConfig) -> int:
    """Do one of :data:`ACTIONS`, and return the exit code."""
    from jobs.reports.review.exporting import export_queue  # only now: --help needs none of it
    from jobs.reports.review.importing import import_labels
    from jobs.reports.review.parts import import_parts

    if isinstance(settings, ExportConfig):
        export_queue(settings)
    elif isinstance(settings, PartsConfig):
        import_parts(settings)
    else:
        import_labels(settings)
    return 0
