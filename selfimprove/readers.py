"""The files that problems come in, as numbered raw rows: JSON lines, Parquet, CSV.

Contract: reads row by row, in memory for one batch. A row that cannot be read is handed on as the error that it gave,
so that the caller names it; a file that cannot be read is a ConfigError (damaged) or PreconditionError (not there).

See it work: ``pytest tests/test_data.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.rows import BadRow


def lines(path: Path, source: str) -> Iterator[tuple[int, bytes]]:
    import gzip
    import zlib

    opener: Callable[..., Any] = gzip.open if path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{source}: damaged gzip file after line {number:,}: {error}; copy it again") from error
    except OSError as error:
        raise PreconditionError(f"{source}: cannot be read: {error}") from error


def csv_rows(path: Path, source: str) -> Iterator[tuple[int, Any]]:
    """Rows as dicts of texts; an empty cell is no value."""
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream, strict=True), 1):
                if None in row or None in row.values():
                    yield number, BadRow("a row with more or fewer cells than the header has names")
                    continue
                yield number, {name: value or None for name, value in row.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not a CSV file in UTF-8: {error}") from error
    except OSError as error:
        raise PreconditionError(f"{source}: cannot be read: {error}") from error


def parquet_rows(path: Path, source: str, answer: str) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in _batch_rows(batch, answer):
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise ConfigError(f"{source}: not a whole Parquet file (after row {number:,}): {error}") from error
    except OSError as error:
        raise PreconditionError(f"{source}: cannot be read: {error}") from error


def _batch_rows(batch: Any, answer: str) -> list[Any]:
    """Rows as dicts (or the error that reading one gave); a numeric answer column as its shortest text."""
    import pyarrow as pa

    place = batch.schema.get_field_index(answer)
    kind = batch.schema.field(place).type if place >= 0 else pa.null()
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        batch = batch.set_column(place, answer, _number_texts(batch.column(place)))
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        return [_row_or_error(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _number_texts(column: Any) -> Any:
    """Arrow's own text for numbers knows 32-bit floats (0.1, not 0.10000000149); NaN and infinity stay to be seen."""
    import pyarrow as pa

    texts = column.cast(pa.string()).to_pylist()
    if any(text in ("nan", "inf", "-inf") for text in texts):
        return column
    return pa.array(texts, pa.string())


def _row_or_error(batch: Any) -> Any:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error
