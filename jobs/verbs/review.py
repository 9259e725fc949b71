"""review: export recordings for people to label, and import their labels for the next `fit`."""

from __future__ import annotations

from jobs.reports.review.exporting import ExportConfig, export_queue
from jobs.reports.review.importing import ImportConfig, import_labels

ACTIONS = {"export": ExportConfig, "import": ImportConfig}
"""The verb's actions, with the settings of each."""


def run(settings: ExportConfig | ImportConfig) -> int:
    """Do one of :data:`ACTIONS`, and return the exit code."""
    if isinstance(settings, ExportConfig):
        export_queue(settings)
    else:
        import_labels(settings)
    return 0
