"""The parts of the docs that follow from `detector/schema.py`: tables of columns, and the DDL of Trino and Athena.

`python -m detector.contract` writes them into `docs/data-contract.md` (between markers) and into `docs/sql.md` (the
columns of its `CREATE TABLE` statements). A test holds both pages to what this module generates.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pyarrow as pa

from detector.column import Column, Columns
from detector.failures import FAILURE_ERRORS
from detector.schema import TABLES
from detector.sql_types import sql_type

COMMAND = "python -m detector.contract"
DOCS = Path(__file__).parents[1] / "docs"
CONTRACT_PAGE, SQL_PAGE = DOCS / "data-contract.md", DOCS / "sql.md"
LINE = 118  # characters of a DDL line

QUOTES = {"trino": '"', "athena": "`"}
"""By engine whose DDL the page has: the quote of a name."""


def contract_page(page: str) -> str:
    """Return the text of `docs/data-contract.md` with its tables as the schema has them.

    Examples
    --------
    >>> page = contract_page("<!-- columns of failures: begin -->\\n<!-- columns of failures: end -->")
    >>> page.splitlines()[1]
    '| column | type | unit | null | filled by | meaning |'
    """
    blocks = {f"columns of {name}": _columns_table(columns) for name, columns in TABLES.items()}
    blocks["errors"] = "\n".join(["| error | means |", "| --- | --- |", *_rows(FAILURE_ERRORS.items())])
    for name, text in blocks.items():
        marked = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        page = marked.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)  # type: ignore[misc]
    return page


def sql_page(page: str) -> str:
    """Return the text of `docs/sql.md` with the columns of its `CREATE TABLE` statements as the schema has them."""
    for dialect in QUOTES:
        for name in ("scores", "failures", "embeddings", "segments"):
            statement = re.compile(rf"(```{dialect}\n(?:(?!```).)*?TABLE (?:\w+\.)*{name} \(\n)(.*?)(\n\))", re.DOTALL)
            page = statement.sub(lambda found, name=name, dialect=dialect: _ddl(found, dialect, name), page)  # type: ignore[misc]
    return page


def _columns_table(columns: Columns) -> str:
    header = ["| column | type | unit | null | filled by | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    rows = [
        (each.name, _spelt(each), each.unit, "yes" if each.nullable else "no", each.filled_by, each.text)
        for each in columns
    ]
    return "\n".join([*header, *_rows(rows)])


def _rows(rows: object) -> list[str]:
    return [f"| `{first}` | {' | '.join(rest)} |" for first, *rest in rows]  # type: ignore[attr-defined]


def _spelt(column: Column) -> str:
    if pa.types.is_date(column.type):
        return "date"
    if pa.types.is_list(column.type):
        return f"list of {column.type.value_type}"
    is_vector = pa.types.is_fixed_size_list(column.type)
    return "fixed-size list of float" if is_vector else str(column.type)


def _ddl(found: re.Match[str], dialect: str, table: str) -> str:
    """Replace the columns of a statement; Trino lists the partition column last, Athena in a clause of its own."""
    quote = QUOTES[dialect]
    own = {column.name for column in TABLES[table]}
    others = [name for name in re.findall(rf"{quote}(\w+){quote} ", found[2]) if name in ("run_date", "backbone")]
    columns = [f"{quote}{each.name}{quote} {sql_type(each.type, dialect)}" for each in TABLES[table]]
    columns += [f"{quote}{name}{quote} {sql_type(pa.string(), dialect)}" for name in others if name not in own]
    # a space within a column must not break the line
    glued = ", ".join(column.replace(" ", "\0") for column in columns)
    lines = textwrap.wrap(glued, LINE, break_long_words=False, break_on_hyphens=False)
    return found[1] + "\n".join(f"  {line}" for line in lines).replace("\0", " ") + found[3]


if __name__ == "__main__":
    for path, written in ((CONTRACT_PAGE, contract_page), (SQL_PAGE, sql_page)):
        path.write_text(written(path.read_text()))
