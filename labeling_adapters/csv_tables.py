"""Tables as spreadsheets write them, read tolerantly; and written so that no spreadsheet takes a text for a formula."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 64 * 1024 * 1024
_LONGEST_HEADER = 10_000
LONGEST_CELL = 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a cell a formula somewhere (OWASP, CSV injection), full-width ones among them."""


class UnreadableTable(Exception):
    """Not a table, or not one with the columns that were asked for. The message is for people."""


class TableRow(NamedTuple):
    """A row and the line of the file on which it starts, the header's being 1."""

    line: int
    cells: dict[str, str]
    """By the lower-case name of the column, trimmed; a cell that is not there is empty."""


def read_table(path: Path, needed: Sequence[str]) -> Iterator[TableRow]:
    """The rows of a file in UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs; empty rows are left out.

    Raises UnreadableTable, also in its middle, where no dialect finds all the `needed` columns (lower case).
    """
    text = _decoded(path)
    header = re.split("[\r\n]", text, maxsplit=1)[0][:_LONGEST_HEADER]
    for delimiter in sorted(",;\t", key=header.count, reverse=True):
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if set(needed) <= set(names):
            return _rows(text, delimiter, names)
    raise UnreadableTable(f"the first line must name the columns {', '.join(needed)}")


def written_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table that spreadsheets open as it is meant: with a byte-order mark, and `'` before what could be a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([formula_proof(cell) for cell in row] for row in rows)
    return codecs.BOM_UTF8 + text.getvalue().encode(errors="replace")


def formula_proof(cell: str) -> str:
    """The cell as no spreadsheet takes it for a formula: with `'` before it where it could be one."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all. Its temporary neighbour begins with a dot."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _rows(text: str, delimiter: str, names: list[str]) -> Iterator[TableRow]:
    # csv's own limit is the whole process's: whoever set it last decides, so that here it is out of the way.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    next(reader)
    line = reader.line_num + 1
    try:
        for cells in reader:
            if max(map(len, cells), default=0) > LONGEST_CELL:
                raise UnreadableTable(f"line {line}: a cell of more than {LONGEST_CELL:,} characters")
            if any(cell.strip() for cell in cells):
                found = dict(zip(names, map(str.strip, cells), strict=False))
                yield TableRow(line, {name: found.get(name, "") for name in names})
            line = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableTable(f"line {line}: {error}") from None


def _decoded(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableTable(f"larger than {MAX_BYTES} bytes")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
