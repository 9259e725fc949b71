"""Checks of a page's layout that the tests of both reports share."""

from __future__ import annotations

from playwright.sync_api import Page


def texts_outside_pictures(page: Page) -> list[str]:
    """Return every text of an SVG that is cut off, because it reaches beyond its picture."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll("svg text")].filter(text => {
            const inner = text.getBoundingClientRect(), outer = text.closest("svg").getBoundingClientRect();
            return inner.left < outer.left - 1 || inner.right > outer.right + 1
                || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
        }).map(text => text.textContent)"""
        )
    )
