"""SQL: ready views over an output, for DuckDB at hand and for engines elsewhere."""
