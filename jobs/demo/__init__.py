"""The demo's archive of artificial voices."""
