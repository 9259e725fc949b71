"""Settings that name what other modules define agree with them."""

from __future__ import annotations

from jobs.inputs import config, corpora


def test_the_settings_name_every_corpus() -> None:
    assert tuple(corpora.CORPORA) == config.CORPORA
