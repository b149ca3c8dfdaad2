"""Tables of libraries that are not dataframes in memory: read, or refused with the way out."""

__all__ = ["in_memory"]

WAYS = {
    ("polars", "LazyFrame"): "collect()",
    ("duckdb", "DuckDBPyRelation"): "df()",
    ("dask", "DataFrame"): "compute()",
    ("dask", "Series"): "compute()",
    ("pyspark", "DataFrame"): "toPandas()",
}


def in_memory(values, name):
    """Columns and rows as they are in memory; tables of pyarrow become dataframes of pandas.

    A query that has not been run is a TypeError, as is a table for which pandas is missing;
    messages call it ``name``.
    """
    library = type(values).__module__.partition(".")[0].strip("_")
    kind = type(values).__name__
    if (library, kind) in WAYS:
        raise TypeError(
            f"{name} is a {library} {kind}, whose rows have not been read: pass "
            f"{name}.{WAYS[library, kind]}."
        )
    if library == "pyarrow" and kind in ("Table", "RecordBatch"):
        try:
            return values.to_pandas()
        except ImportError as error:
            raise TypeError(
                f"{name} is a pyarrow {kind}, and pandas, which reads it, is not installed: "
                f"install it, or pass polars.from_arrow({name})."
            ) from error
    return values
