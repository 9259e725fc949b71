"""register: register the objects of a compacted copy as Apache Iceberg tables, for engines that use a catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from detector.errors import ConfigError
from jobs import storage


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Register a compacted copy as Iceberg tables `embeddings`, `scores` and `failures`; rerun to add what is new."""

    copy: Annotated[str, "folder or prefix that `compact` keeps"] = field(metadata={"positional": True})
    catalog: Annotated[
        str,
        "SQL database of the catalog, sqlite:////path/catalog.db or postgresql://user@host/name; or a REST catalog, "
        "https://host/path",
    ]
    namespace: Annotated[str, "namespace of the tables"] = "bonafide"

    def __post_init__(self) -> None:
        place = urlsplit(self.catalog)
        is_rest = place.scheme in ("http", "https")
        if place.password is not None or (is_rest and place.query):  # errors show the URI
            secret = "a password" if place.password is not None else "a query, which may be a token,"
            raise ConfigError(
                f"catalog: {secret} in its URI; give a password by PGPASSWORD or ~/.pgpass, the secret of a REST "
                f"catalog by PYICEBERG_CATALOG__BONAFIDE__CREDENTIAL or …__TOKEN."
            )
        if not self.namespace.isidentifier():
            raise ConfigError(f"namespace {self.namespace!r}; expected a word of letters, digits and _.")


def run(settings: Settings) -> int:
    """Bring the tables in line with the copy; return the exit code."""
    from jobs.tables.iceberg import register_copy  # only now: --help needs none of it

    register_copy(storage.normal(settings.copy).rstrip("/"), settings.catalog, settings.namespace)
    return 0
