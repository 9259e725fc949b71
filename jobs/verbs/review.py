"""review: export recordings to label, import labels of recordings and parts, and list flagged ones that are alike."""

from __future__ import annotations

from jobs.reports.review.config import ExportConfig, ImportConfig, PartsConfig, VoicesConfig

ACTIONS = {"export": ExportConfig, "import": ImportConfig, "parts": PartsConfig, "voices": VoicesConfig}
"""The verb's actions, with the settings of each."""


def run(settings: ExportConfig | ImportConfig | PartsConfig | VoicesConfig) -> int:
    """Do one of :data:`ACTIONS`, and return the exit code."""
    from jobs.reports.review.exporting import export_queue  # only now: --help needs none of it
    from jobs.reports.review.importing import import_labels
    from jobs.reports.review.parts import import_parts
    from jobs.reports.review.voices_table import export_voices

    if isinstance(settings, ExportConfig):
        export_queue(settings)
    elif isinstance(settings, PartsConfig):
        import_parts(settings)
    elif isinstance(settings, VoicesConfig):
        export_voices(settings)
    else:
        import_labels(settings)
    return 0
