"""Telemetry: logs, progress, metrics and the webhook."""
