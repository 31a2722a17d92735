"""Tables as files: JSONL, CSV and Parquet, read by row with line numbers, written in chunks, never whole in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import BadInput
from labeling_adapters.csv_tables import formula_proof
from workers.jobs import chunked

Format = Literal["jsonl", "csv", "parquet"]
MAX_LINE = 1 << 20
"""Bytes of one line or field; a longer one is malformed, and never read whole."""
BATCH = 1024
ROW_GROUP, ROW_GROUP_BYTES = 64 * BATCH, 64 << 20
"""A row group of Parquet is written when it has so many rows, or takes so much memory."""


class Line(NamedTuple):
    """One row of a file: its line (or row) number from 1, its values, or what is wrong with it."""

    number: int
    values: dict[str, Any]
    problem: str = ""


class Column(NamedTuple):
    """A column to write: its name and its type in Parquet."""

    name: str
    type: pa.DataType


def read_lines(path: Path, file_format: Format) -> Iterator[Line]:
    """The file's rows in order; a malformed one says what is wrong with it. Raises BadInput for the file as a whole."""
    try:
        yield from READERS[file_format](path)
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=path.name) from error
    except pa.ArrowException as error:
        raise BadInput(f"not a Parquet file: {error}", where=path.name) from error


def count_lines(path: Path, file_format: Format) -> int:
    """About how many rows `read_lines` gives: for progress, not for results. Raises as it does."""
    try:
        if file_format == "parquet":
            return int(pq.read_metadata(path).num_rows)
        with path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=path.name) from error
    except pa.ArrowException as error:
        raise BadInput(f"not a Parquet file: {error}", where=path.name) from error


def write_lines(
    path: Path,
    file_format: Format,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any]],
    *,
    spreadsheet_safe: bool = False,
) -> int:
    """Writes the rows, each with a value for every column. Returns how many. Memory does not grow with them.

    `spreadsheet_safe` is for CSV: no text becomes a formula. What is written so is not read again as it was.
    """
    if spreadsheet_safe:
        return _write_csv_for_spreadsheets(path, columns, rows)
    return WRITERS[file_format](path, columns, rows)


def _read_jsonl(path: Path) -> Iterator[Line]:
    with path.open("rb") as stream:
        number = 0
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(MAX_LINE)
                yield Line(number, {}, f"the line is longer than {MAX_LINE:,} bytes")
            elif raw.strip():
                yield _json_line(number, raw)


def _json_line(number: int, raw: bytes) -> Line:
    try:
        values = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Line(number, {}, f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return Line(number, {}, f"not JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return Line(number, {}, "not JSON: nested too deeply")
    return Line(number, values) if isinstance(values, dict) else Line(number, {}, "not a JSON object")


def _read_csv(path: Path) -> Iterator[Line]:
    csv.field_size_limit(MAX_LINE)
    # Undecodable bytes become lone surrogates, which no valid text has: one bad row does not end the reading.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Line(reader.reader.line_num, {}, f"not CSV: {error}")
                continue
            if row is None:
                return
            yield _csv_line(reader.line_num, row)


def _csv_line(number: int, row: dict[str | Any, Any]) -> Line:
    if None in row:
        return Line(number, {}, f"{len(row[None])} more values than columns")
    if None in row.values():
        return Line(number, {}, "fewer values than columns")
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:
        return Line(number, {}, "not UTF-8")
    return Line(number, row)


def _read_parquet(path: Path) -> Iterator[Line]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            for values in batch.to_pylist():
                number += 1
                yield Line(number, values)


def _write_jsonl(path: Path, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
    names = [column.name for column in columns]
    encode = json.JSONEncoder(ensure_ascii=False).encode
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for chunk in _plain(columns, rows):
            count += len(chunk)
            stream.writelines(encode(dict(zip(names, row, strict=True))) + "\n" for row in chunk)
    return count


def _write_csv(path: Path, columns: Sequence[Column], rows: Iterable[Sequence[Any]], encoding: str = "utf-8") -> int:
    count = 0
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([column.name for column in columns])
        for chunk in _plain(columns, rows):
            count += len(chunk)
            writer.writerows(chunk)
    return count


def _write_csv_for_spreadsheets(path: Path, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
    """With a byte-order mark, without which they take UTF-8 for something else."""
    safe = ([formula_proof(value) if isinstance(value, str) else value for value in row] for row in rows)
    return _write_csv(path, columns, safe, encoding="utf-8-sig")


def _write_parquet(path: Path, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
    schema = pa.schema([(column.name, column.type) for column in columns])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(rows, schema):
            count += group.num_rows
            writer.write_table(group, row_group_size=ROW_GROUP)
    return count


def _row_groups(rows: Iterable[Sequence[Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    batches: list[pa.RecordBatch] = []
    size = 0
    for chunk in chunked(rows, BATCH):
        arrays = [pa.array(values, kind) for values, kind in zip(zip(*chunk, strict=True), schema.types, strict=True)]
        batches.append(pa.record_batch(arrays, schema=schema))
        size += batches[-1].nbytes
        if len(batches) * BATCH >= ROW_GROUP or size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(batches)
            batches, size = [], 0
    if batches:
        yield pa.Table.from_batches(batches)


def _plain(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in chunks, times as ISO 8601 with a Z."""
    for chunk in chunked(rows, BATCH):
        values = zip(columns, zip(*chunk, strict=True), strict=True)
        plain = [map(_iso, cells) if pa.types.is_timestamp(column.type) else cells for column, cells in values]
        yield list(zip(*plain, strict=True))


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


READERS: Mapping[str, Callable[[Path], Iterator[Line]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
WRITERS: Mapping[str, Callable[[Path, Sequence[Column], Iterable[Sequence[Any]]], int]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
