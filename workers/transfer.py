"""Snippets in from files, rows out to files: jobs for JSONL, CSV and Parquet of any size."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.errors import BadInput, UnknownName
from engine.snippets import Refusal
from webapi.models import Job, Policy, Source
from workers.artifacts import at_hand, shared, writing
from workers.export_tables import export_of
from workers.jobs import JobRun, chunked
from workers.snippet_rows import SnippetInput, TokenCounter, parse, prepare, token_counter_of, write
from workers.table_files import READERS, WRITERS, Column, Line, count_lines, read_lines, write_lines
from workers.webhooks import tell

CHUNK = 1000
ERRORS_KEPT = 100


class _Tally:
    """What an import did, line by line."""

    def __init__(self) -> None:
        self.rows = self.created = self.duplicates = 0
        self.refused: Counter[str] = Counter()
        self.errors: list[dict[str, Any]] = []
        self.ignored: set[str] = set()

    def refuse(self, reasons: Mapping[int, Refusal]) -> None:
        """What is wrong with each line of a chunk."""
        self.refused.update(reason.code for reason in reasons.values())
        for line in sorted(reasons)[: ERRORS_KEPT - len(self.errors)]:
            self.errors.append({"line": line, "code": reasons[line].code, "message": reasons[line].detail})

    def result(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "created": self.created,
            "duplicates": self.duplicates,
            "refused": sum(self.refused.values()),
            "refused_by_code": dict(self.refused),
            "errors": self.errors,
            "ignored_columns": sorted(self.ignored),
        }


def import_snippets(run: JobRun) -> dict[str, Any]:
    """Job `import_snippets`: reads `args["path"]` as `args["format"]` into snippets under `args["policy"]`.

    With `on_error` "stop" the whole file is checked first and the first bad line ends the job with nothing written;
    with "skip" bad lines are left out. The result counts rows, created, duplicates and refused, with the line numbers
    of the first 100. Run again, or after a kill, it adds what is missing and counts the same.
    """
    path, file_format = _stored(run.args["path"]), run.args["format"]
    policy = Policy.objects.get(pk=run.args["policy"])
    if file_format not in READERS:
        raise UnknownName("format", file_format, READERS)
    total = count_lines(path, file_format)
    stop = run.args.get("on_error", "stop") == "stop"
    passes = (False, True) if stop else (True,)
    count_tokens = token_counter_of(policy)
    for number, writes in enumerate(passes):
        tally = _Tally()
        for chunk in chunked(read_lines(path, file_format), CHUNK):
            tally.rows += len(chunk)
            _import_chunk(chunk, policy, count_tokens, run, tally, writes=writes)
            if stop and tally.errors:
                first = tally.errors[0]
                raise BadInput(f"{first['message']} ({first['code']}); nothing was imported", where=_where(run, first))
            done = number * total + min(tally.rows, total)
            run.progress(done, max(total * len(passes), done))
    return tally.result()


def _where(run: JobRun, error: Mapping[str, Any]) -> str:
    return f"{run.args.get('name') or Path(run.args['path']).name}, line {error['line']}"


def _import_chunk(
    chunk: Sequence[Line],
    policy: Policy,
    count_tokens: TokenCounter | None,
    run: JobRun,
    tally: _Tally,
    *,
    writes: bool,
) -> None:
    inputs: dict[int, SnippetInput] = {}
    refused: dict[int, Refusal] = {}
    for line in chunk:
        parsed = Refusal("malformed_line", line.problem) if line.problem else parse(line.values)
        tally.ignored |= line.values.keys() - SnippetInput.model_fields.keys()
        if isinstance(parsed, Refusal):
            refused[line.number] = parsed
        else:
            inputs[line.number] = parsed
    rows = []
    source = Source(run.args.get("source") or Source.MANUAL)
    prepared = prepare(policy, list(inputs.values()), source=source, count_tokens=count_tokens)
    for number, found in zip(inputs, prepared, strict=True):
        if found.row:
            found.row.details = {"import": str(run.job.pk), "line": number}
            rows.append(found.row)
        else:
            refused[number] = found.reasons[0]
    tally.refuse(refused)
    if writes and rows:
        created = sum(done.created for done in write(policy, rows))
        tally.created += created
        tally.duplicates += len(rows) - created


def export_rows(run: JobRun) -> dict[str, Any]:
    """Job `export_rows`: writes `args["what"]` filtered by `args["filters"]` as `args["format"]` into the store.

    With `args["spreadsheet_safe"]`, as a table in which no text becomes a formula. The file appears whole under
    `exports/` or not at all; run again it takes the place of the first.
    """
    what, file_format = run.args["what"], run.args["format"]
    if file_format not in WRITERS:
        raise UnknownName("format", file_format, WRITERS)
    filters = run.args.get("filters", {})
    export = export_of(what, filters)
    total, rows = export.read(filters)
    run.progress(0, total)
    columns = [Column(name, kind) for name, kind in export.columns.items()]
    path = Path(settings.GAUNTLET_HOME) / "exports" / f"{run.job.pk}.{file_format}"
    with writing(path) as temporary:
        safe = run.args.get("spreadsheet_safe", False)
        rows = _with_progress(rows, run, total)
        count = write_lines(temporary, file_format, columns, rows, spreadsheet_safe=safe)
        size, digest = temporary.stat().st_size, _sha256(temporary)
    shared(path, "export")
    run.progress(count, count)
    return {"path": f"exports/{path.name}", "rows": count, "bytes": size, "sha256": digest}


def export_ended(job: Job) -> None:
    """Tells of an export that has come to an end, well or not."""
    about = {"export": str(job.pk), "what": job.args["what"], "state": job.state}
    tell("export.finished", str(job.pk), {**about, "rows": job.result.get("rows"), "error": job.error})


def _with_progress(rows: Iterable[Sequence[Any]], run: JobRun, total: int) -> Iterator[Sequence[Any]]:
    for done, row in enumerate(rows):
        if done % CHUNK == 0:
            run.progress(done, max(total, done))
        yield row


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stored(path: str) -> Path:
    """A path in a job's arguments: an upload in the store, or any file of this machine."""
    found = Path(settings.GAUNTLET_HOME) / path
    return at_hand(found) if found.is_relative_to(settings.GAUNTLET_HOME) else found
