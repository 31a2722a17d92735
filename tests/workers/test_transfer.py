"""Imports and exports: every format, every bad line, run twice, killed in the middle."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from engine.errors import BadInput, UnknownName
from engine.snippets import Snippet as SnippetText
from tests.driving import WorkerKilled
from webapi.models import (
    Annotator,
    Batch,
    Classifier,
    Consensus,
    ConsensusChange,
    Gold,
    Job,
    Label,
    Policy,
    Preference,
    Score,
    Snippet,
    Task,
)
from workers import export_reading, table_files, transfer
from workers.execute import execute
from workers.export_tables import EXPORTS
from workers.jobs import JobRun
from workers.snippet_rows import SnippetInput, token_counter_of
from workers.table_files import MAX_LINE, READERS, WRITERS, Column, count_lines, read_lines, write_lines

pytestmark = pytest.mark.django_db
TEXTS = [{"prompt": f"Story {n} began.", "completion": f"It ended, “{n}”, so."} for n in range(5)]


@pytest.fixture
def run(policy: Policy) -> Callable[..., JobRun]:
    """`run(path)`: a claimed import of that file."""

    def make(path: Path | str, **args: Any) -> JobRun:
        file_format = Path(path).suffix[1:]
        given = {"path": str(path), "format": file_format, "policy": str(policy.pk), **args}
        job = Job.objects.create(kind="import_snippets", args=given)
        claimed = Job.claim(job.pk, worker="test")
        assert claimed is not None
        return JobRun(claimed)

    return make


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file with these rows, by other means than our own."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_is_imported_alike(run: Any, tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"s.{suffix}", [*TEXTS, TEXTS[0]])
    result = transfer.import_snippets(run(path))
    assert result == {
        "rows": 6,
        "created": 5,
        "duplicates": 1,
        "refused": 0,
        "refused_by_code": {},
        "errors": [],
        "ignored_columns": [],
    }
    found = {row.content_hash: row for row in Snippet.objects.all()}
    assert found.keys() == {SnippetText(**text).content_hash for text in TEXTS}
    assert {row.source for row in found.values()} == {"manual"}
    assert all(row.split and row.root_hash == row.content_hash for row in found.values())


def test_run_twice_it_changes_nothing_and_says_the_same(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", [*TEXTS, TEXTS[0]])
    job = run(path)
    first = transfer.import_snippets(job)
    before = list(Snippet.objects.order_by("pk").values())
    assert transfer.import_snippets(job) == first
    assert list(Snippet.objects.order_by("pk").values()) == before
    other = transfer.import_snippets(run(path))
    assert (other["created"], other["duplicates"]) == (0, 6)
    assert list(Snippet.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_killed_in_the_middle_it_goes_on_and_counts_the_same(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 2)
    job = run(write(tmp_path / "s.jsonl", TEXTS), on_error=on_error)

    def die(done: int, total: int) -> None:
        if Snippet.objects.count() >= 2:
            raise WorkerKilled

    with monkeypatch.context() as patch:
        patch.setattr(job, "progress", die)
        with pytest.raises(WorkerKilled):
            transfer.import_snippets(job)
    assert Snippet.objects.count() == 2
    result = transfer.import_snippets(job)
    assert (result["rows"], result["created"], result["duplicates"]) == (5, 5, 0)
    assert Snippet.objects.count() == 5


BAD = [
    (b"{", "malformed_line", "not JSON"),
    (b"[1]", "malformed_line", "not a JSON object"),
    (b'{"completion": "\xff"}', "malformed_line", "not UTF-8 at byte 16"),
    (b'{"prompt": "x"}', "required", "completion"),
    (b'{"completion": 7}', "invalid", "completion"),
    (b'{"completion": "x", "source": "dream"}', "invalid", "source"),
    (b'{"completion": "x", "parent": "0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e"}', "does_not_exist", "parent"),
    (b'{"completion": "x", "external_id": "a\\u0000"}', "invalid", "external_id"),
    (b'{"completion": "a\\u0000b"}', "null_byte", "null byte"),
    (b'{"completion": ""}', "empty_completion", "empty"),
    (b'{"completion": "' + b"x" * MAX_LINE + b'"}', "malformed_line", "longer than"),
    (b"[" * 200_000, "malformed_line", "nested too deeply"),
]


@pytest.mark.parametrize(("line", "code", "says"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named_or_left_out(run: Any, tmp_path: Path, line: bytes, code: str, says: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"completion": "Good."}\n\n' + line + b'\n{"completion": "Good too."}')
    with pytest.raises(BadInput) as error:
        transfer.import_snippets(run(path, name="mine.jsonl"))
    assert error.value.where == "mine.jsonl, line 3"
    assert says in str(error.value)
    assert Snippet.objects.count() == 0
    result = transfer.import_snippets(run(path, on_error="skip"))
    assert [(e["line"], e["code"]) for e in result["errors"]] == [(3, code)]
    assert says in result["errors"][0]["message"]
    assert (result["rows"], result["created"], result["refused_by_code"]) == (3, 2, {code: 1})


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("completion\nOne.\nTwo.,x\n", 3, "1 more values than columns"),
        ("completion,prompt\nOne.,a\nTwo.\n", 3, "fewer values than columns"),
        ('completion\n"two\nlines"\n"a"b\n', 4, "not CSV"),
        ("completion\nOne.\n\udcff\n", 3, "not UTF-8"),
        ("prompt\nOne.\n", 2, "completion: is required"),
    ],
)
def test_a_bad_row_of_a_csv_is_named(run: Any, tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadInput) as error:
        transfer.import_snippets(run(path))
    assert error.value.where == f"s.csv, line {line}"
    assert says in str(error.value)


def test_an_error_in_the_last_chunk_leaves_nothing(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 2)
    path = write(tmp_path / "s.jsonl", [*TEXTS, {"prompt": "no completion"}])
    with pytest.raises(BadInput, match="line 6"):
        transfer.import_snippets(run(path))
    assert Snippet.objects.count() == 0


def test_what_has_more_tokens_than_the_policy_allows_is_refused_with_its_line(
    run: Any, policy: Policy, tmp_path: Path
) -> None:
    """By hand: [CLS], the words, the full stop and [SEP]; with a prompt another [SEP] between."""
    policy.spec["snippet_rules"]["max_tokens"] = 8
    policy.save()
    texts = [
        {"completion": "one two three four five."},
        {"completion": "one two three four five six."},
        {"prompt": "one.", "completion": "two three."},
        {"prompt": "one two.", "completion": "three four."},
    ]
    path = write(tmp_path / "s.jsonl", texts)
    result = transfer.import_snippets(run(path, on_error="skip"))
    assert result["errors"] == [
        {"line": 2, "code": "too_many_tokens", "message": "9 tokens, at most 8"},
        {"line": 4, "code": "too_many_tokens", "message": "9 tokens, at most 8"},
    ]
    assert set(Snippet.objects.values_list("prompt", "completion")) == {
        ("", texts[0]["completion"]),
        ("one.", "two three."),
    }
    with pytest.raises(BadInput, match=r"9 tokens, at most 8 \(too_many_tokens\); nothing was imported") as error:
        transfer.import_snippets(run(path, name="mine.jsonl"))
    assert error.value.where == "mine.jsonl, line 2"


def test_tokens_are_those_of_the_serving_classifier_else_the_newest_else_the_usual_encoder(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("workers.snippet_rows.token_counter", lambda encoder: asked.append(encoder) or len)
    assert token_counter_of(policy) is None
    policy.spec["snippet_rules"]["max_tokens"] = 8
    token_counter_of(policy)
    made = [Classifier.objects.create(policy=policy, name=n, condition=n, encoder=n) for n in ("a", "b", "c", "d")]
    token_counter_of(policy)
    for days, classifier in enumerate(made[1:3]):
        classifier.promoted_at = timezone.now() - timedelta(days=days)
        classifier.save()
    token_counter_of(policy)
    assert asked == ["minilm", "d", "b"]


def test_errors_are_told_in_the_order_of_their_lines(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"completion": ""}\n{\n{"completion": ""}\n{"completion": "Good."}\n')
    with pytest.raises(BadInput, match="line 1: "):
        transfer.import_snippets(run(path))
    result = transfer.import_snippets(run(path, on_error="skip"))
    assert [error["line"] for error in result["errors"]] == [1, 2, 3]
    assert (result["refused"], result["refused_by_code"]) == (3, {"empty_completion": 2, "malformed_line": 1})


def test_a_hundred_errors_are_kept_and_all_counted(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("{\n" * 150)
    result = transfer.import_snippets(run(path, on_error="skip"))
    assert (len(result["errors"]), result["refused"], result["errors"][-1]["line"]) == (100, 150, 100)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_that_is_none_is_named(run: Any, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadInput, match="No such file"):
        transfer.import_snippets(run(tmp_path / f"none.{suffix}"))
    if suffix == "parquet":
        (tmp_path / "s.parquet").write_bytes(b"\x00\x01binary")
        with pytest.raises(BadInput, match=r"s.parquet: not a Parquet file"):
            transfer.import_snippets(run(tmp_path / "s.parquet"))


def test_an_empty_file_imports_nothing(run: Any, tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv"):
        (tmp_path / f"s.{suffix}").touch()
        assert transfer.import_snippets(run(tmp_path / f"s.{suffix}"))["rows"] == 0


def test_unknown_columns_are_left_aside_and_named(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", [{"completion": "One.", "colour": "red", "external_id": "e", "source": ""}])
    result = transfer.import_snippets(run(path, source="corpus"))
    assert result["ignored_columns"] == ["colour"]
    row = Snippet.objects.get()
    assert (row.external_id, row.source, row.author) == ("e", "corpus", None)


def test_rows_with_other_ids_stay_apart_where_their_text_is_the_same(run: Any, tmp_path: Path) -> None:
    rows = [{"completion": "One.", "external_id": key} for key in ("a", "b", "a")]
    result = transfer.import_snippets(run(write(tmp_path / "s.jsonl", rows)))
    assert (result["created"], result["duplicates"]) == (2, 1)


def test_an_unknown_format_lists_the_known(run: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="csv, jsonl, parquet"):
        transfer.import_snippets(run(tmp_path / "s.xls"))
    job = JobRun(Job.objects.create(kind="export_rows", args={"what": "snippets", "format": "xls"}))
    with pytest.raises(UnknownName, match="csv, jsonl, parquet"):
        transfer.export_rows(job)


# Exports


@pytest.fixture
def labelled(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> list[Snippet]:
    """Three snippets, two of them labelled, scored and agreed upon."""
    rows = make_snippets(3, external_id="")
    annotator = Annotator.objects.create(name="alice")
    classifier = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e")
    for row, choice, logit in zip(rows, ("Yes", "No"), (0.0, -800.0), strict=False):
        Label.objects.create(snippet=row, annotator=annotator, choice=choice, seconds=1.5, note='a "note",\nlong')
        Consensus.objects.create(snippet=row, choice=choice, rule="majority", labels=1)
        Score.objects.create(classifier=classifier, snippet=row, logit=logit)
        ConsensusChange.objects.create(
            snippet=row, choice=choice, rule="majority", posterior=[0.75, 0.25], labels=["x"]
        )
    return rows


@pytest.fixture
def judged(labelled: list[Snippet], policy: Policy) -> list[Snippet]:
    """The same, with two comparisons and two answers to gold."""
    one, two, three = labelled
    ben = Annotator.objects.create(name="ben")
    batch = Batch.objects.create(policy=policy, name="b")
    for row in (one, two):
        pair = Task.objects.create(batch=batch, snippet=row, rival=three)
        Preference.objects.create(task=pair, snippet=row, rival=three, annotator=ben, choice="second", flipped=True)
        gold = Gold.objects.create(policy=policy, snippet=row, choice="Yes")
        test = Task.objects.create(batch=batch, snippet=row, gold=gold)
        Label.objects.create(snippet=row, annotator=ben, task=test, choice="No")
    return labelled


def export(what: str, file_format: str, **filters: Any) -> tuple[Path, dict[str, Any]]:
    job = Job.objects.create(kind="export_rows", args={"what": what, "format": file_format, "filters": filters})
    claimed = Job.claim(job.pk, worker="test")
    assert claimed is not None
    run = JobRun(claimed)
    result = transfer.export_rows(run)
    return transfer._stored(result["path"]), result


def read(path: Path) -> list[dict[str, Any]]:
    """By other means than our own."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def filters_for(what: str) -> dict[str, str]:
    return {"classifier": str(Classifier.objects.get().pk)} if what == "scores" else {}


@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize("what", EXPORTS)
def test_everything_is_exported_in_every_format(judged: list[Snippet], what: str, file_format: str) -> None:
    path, result = export(what, file_format, **filters_for(what))
    rows = read(path)
    assert list(rows[0]) == list(EXPORTS[what].columns)
    # Agreement: nine statistics (three of choices) of all labels and of the one day.
    assert result["rows"] == len(rows) == {"snippets": 3, "agreement": 18}.get(what, 2)
    assert result["bytes"] == path.stat().st_size
    if what not in ("agreement", "annotators"):
        key = {"snippets": "id", "preferences": "first"}.get(what, "snippet")
        assert [row[key] for row in rows] == [str(row.pk) for row in judged[: len(rows)]]
        assert rows[0].get("prompt", judged[0].prompt) == judged[0].prompt
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_export_imports_again_as_the_same_snippets(labelled: list[Snippet], run: Any) -> None:
    for file_format in WRITERS:
        path, _ = export("snippets", file_format)
        result = transfer.import_snippets(run(path))
        assert (result["created"], result["duplicates"]) == (0, 3)
        assert Snippet.objects.count() == 3


def test_values_keep_their_kind(labelled: list[Snippet]) -> None:
    label = Label.objects.order_by("pk").first()
    assert label is not None
    z_time = label.created_at.isoformat().replace("+00:00", "Z")
    parquet, jsonl = (read(export("labels", f)[0])[0] for f in ("parquet", "jsonl"))
    assert (parquet["created_at"], jsonl["created_at"]) == (label.created_at, z_time)
    assert (parquet["seconds"], parquet["revision"], parquet["staff"]) == (1.5, 0, False)
    assert parquet["note"] == jsonl["note"] == 'a "note",\nlong'
    assert parquet["batch"] is None
    scores = read(export("scores", "parquet", **filters_for("scores"))[0])
    assert [(row["logit"], row["score"]) for row in scores] == [(0.0, 0.5), (-800.0, 0.0)]


def test_answers_to_gold_and_comparisons_are_told_apart_from_labels(judged: list[Snippet]) -> None:
    Label.objects.filter(choice="No", annotator__name="alice").update(counted=False, withdrawn_at=timezone.now())
    labels = read(export("labels", "parquet")[0])
    assert [(row["annotator_name"], row["counted"], row["withdrawn_at"] is None) for row in labels] == [
        ("alice", True, True),
        ("alice", False, False),
    ]
    assert export("labels", "csv", counted=True)[1]["rows"] == 1
    gold = read(export("gold_answers", "jsonl")[0])
    assert [(row["annotator_name"], row["choice"], row["right_choice"]) for row in gold] == [("ben", "No", "Yes")] * 2
    (first, _) = read(export("preferences", "jsonl")[0])
    assert (first["choice"], first["second_on_the_left"]) == ("second", True)
    assert first["second_completion"] == judged[2].completion
    history = read(export("consensus_history", "parquet")[0])
    assert [(row["posterior"], row["labels"]) for row in history] == [("[0.75, 0.25]", '["x"]')] * 2


def test_exports_are_filtered(labelled: list[Snippet], policy: Policy) -> None:
    assert export("labels", "csv", choice="Yes", policy=str(policy.pk))[1]["rows"] == 1
    assert export("labels", "csv", since="2100-01-01T00:00:00Z")[1]["rows"] == 0
    assert export("snippets", "csv", consensus="No")[1]["rows"] == 1
    assert export("snippets", "csv", policy=str(uuid.uuid4()))[1]["rows"] == 0


def test_an_export_run_again_is_the_same_file(labelled: list[Snippet]) -> None:
    job = Job.objects.create(kind="export_rows", args={"what": "labels", "format": "jsonl"})
    claimed = Job.claim(job.pk, worker="test")
    assert claimed is not None
    assert transfer.export_rows(JobRun(claimed)) == transfer.export_rows(JobRun(claimed))


def test_an_export_that_is_killed_leaves_no_half_file(labelled: list[Snippet], monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*args: Any, **kwargs: Any) -> int:
        path: Path = args[0]
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "write_lines", die)
    with pytest.raises(OSError, match="No space"):
        export("labels", "jsonl")
    assert list(transfer._stored("exports").iterdir()) == []


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\ttab", "\rreturn", "\nline", "'quoted", "plain = text", ""]


@pytest.mark.parametrize("file_format", WRITERS)
def test_texts_that_look_like_formulas_come_back_as_they_were(run: Any, tmp_path: Path, file_format: str) -> None:
    given = write(tmp_path / "s.jsonl", [{"prompt": text, "completion": f"{text} ended."} for text in FORMULAS])
    assert transfer.import_snippets(run(given))["created"] == len(FORMULAS)
    before = sorted(Snippet.objects.values_list("content_hash", "prompt", "completion"))
    path, _ = export("snippets", file_format)
    assert sorted(row["prompt"] for row in read(path)) == sorted(FORMULAS)
    Snippet.objects.all().delete()
    assert transfer.import_snippets(run(path))["created"] == len(FORMULAS)
    assert sorted(Snippet.objects.values_list("content_hash", "prompt", "completion")) == before


@pytest.mark.parametrize("rows", range(7))
def test_rows_are_read_by_chunks_each_once(
    policy: Policy, make_snippets: Callable[..., list[Snippet]], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(export_reading, "CHUNK", 3)
    keys = [str(row.pk) for row in make_snippets(rows)]
    with CaptureQueriesContext(connection) as asked:
        total, found = EXPORTS["snippets"].read({"policy": str(policy.pk)})
        assert [values[0] for values in found] == keys
    assert total == rows
    # The newest key; how many; then a chunk of three at a time until one is not full.
    assert len(asked) == (0 if not rows else 1 + rows // 3 + 1) + 1
    assert all("OFFSET" not in query["sql"] for query in asked)


def test_what_comes_while_an_export_runs_is_left_to_the_next(
    make_snippets: Callable[..., list[Snippet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_reading, "CHUNK", 2)
    keys = [str(row.pk) for row in make_snippets(3)]
    total, found = EXPORTS["snippets"].read({})
    first = next(found)
    make_snippets(2, first=3)
    assert [values[0] for values in (first, *found)] == keys
    assert total == 3


@pytest.mark.django_db(transaction=True)
def test_an_export_goes_on_while_others_write(
    make_snippets: Callable[..., list[Snippet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite a connection with an open cursor may not write once another has: no cursor is open at a heartbeat."""
    monkeypatch.setattr(export_reading, "CHUNK", 2)
    monkeypatch.setattr(transfer, "CHUNK", 1)
    make_snippets(5)
    job = Job.objects.create(kind="export_rows", args={"what": "snippets", "format": "csv"})
    claimed = Job.claim(job.pk, worker="test")
    assert claimed is not None
    run = JobRun(claimed)
    beats = []

    def another_writes() -> None:
        Annotator.objects.create(name="someone")
        connection.close()

    def progress(done: int, total: int) -> None:
        thread = threading.Thread(target=another_writes)
        thread.start()
        thread.join()
        run._done, run._total = done, total
        run.beat()
        beats.append(Job.objects.get().done)

    monkeypatch.setattr(run, "progress", progress)
    assert transfer.export_rows(run)["rows"] == 5
    assert beats == [0, 0, 1, 2, 3, 4, 5]
    assert not run._ended.is_set()


KILLED = """
import django, os, signal, sys
from pathlib import Path
django.setup()
from workers.artifacts import writing
with writing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_worker_left_goes_when_the_job_runs_again(labelled: list[Snippet], gauntlet_home: Path) -> None:
    folder = gauntlet_home / "exports"
    job = Job.objects.create(kind="export_rows", args={"what": "labels", "format": "csv"})
    for name in (job.pk, uuid.uuid4(), uuid.uuid4()):
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "webapi.settings", "GAUNTLET_HOME": str(gauntlet_home)}
        done = subprocess.run([sys.executable, "-c", KILLED, folder / f"{name}.csv"], env=env, check=False)
        assert done.returncode == -signal.SIGKILL
    _, old, fresh = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    long_ago = time.time() - 90_000
    os.utime(old, (long_ago, long_ago))
    (folder / ".keep").touch()
    os.utime(folder / ".keep", (long_ago, long_ago))
    assert execute(job.pk)
    assert {path.name for path in folder.iterdir()} == {f"{job.pk}.csv", fresh.name, ".keep"}


# Tables as files


@pytest.mark.parametrize("file_format", WRITERS)
def test_what_is_written_is_read_again(tmp_path: Path, file_format: Any) -> None:
    assert READERS.keys() == WRITERS.keys()
    rows = [[f"line {n}, “quoted”\nand more", f"{n}"] for n in range(2500)]
    columns = [Column("a", pa.string()), Column("b", pa.string())]
    path = tmp_path / f"t.{file_format}"
    assert write_lines(path, file_format, columns, iter(rows)) == 2500
    lines = list(read_lines(path, file_format))
    assert [list(line.values.values()) for line in lines] == rows
    assert not any(line.problem for line in lines)
    assert count_lines(path, file_format) >= 2500


def test_a_row_group_of_parquet_is_large_but_not_larger_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, columns = tmp_path / "t.parquet", [Column("a", pa.string())]

    def groups(rows: int, text: str) -> list[int]:
        write_lines(path, "parquet", columns, ([text] for _ in range(rows)))
        found = pq.read_metadata(path)
        return [found.row_group(n).num_rows for n in range(found.num_row_groups)]

    assert groups(2 * 65_536 + 5, "x") == [65_536, 65_536, 5]
    assert groups(0, "x") == []
    monkeypatch.setattr(table_files, "ROW_GROUP_BYTES", 3_000_000)
    assert groups(5000, "x" * 1000) == [3072, 1928]


def test_an_imports_columns_are_exported(policy: Policy) -> None:
    assert SnippetInput.model_fields.keys() <= EXPORTS["snippets"].columns.keys()
