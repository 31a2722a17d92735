"""Vendors by e-mail: files as people and their spreadsheets leave them."""

from __future__ import annotations

import csv
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters import adapter_named
from labeling_adapters.base import AdapterError, IncomingLabel, LabelingAdapter, OutgoingBatch, OutgoingTask
from labeling_adapters.csv_tables import written_table

POLICY = load_policy("injury")
BATCH = OutgoingBatch("b1", "test", POLICY, remote_id="b1", overlap=2)
PROMPT = "One. Two. Three."
TASKS = [OutgoingTask(f"t{i}", Snippet(PROMPT, f"Number {i} sat down."), wanted=2) for i in range(4)]
COLUMNS = "task,annotator,choice\n"


def adapter_in(folder: Path, **config: object) -> LabelingAdapter:
    return adapter_named("csv_dropbox", POLICY, config={"folder": str(folder), "settle_seconds": 0, **config})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    adapter_in(tmp_path).open(BATCH)
    adapter_in(tmp_path).push(BATCH, TASKS)
    return tmp_path


def given(folder: Path, batch: OutgoingBatch = BATCH, **config: object) -> list[IncomingLabel]:
    return list(adapter_in(folder, **config).collect(batch, TASKS))


def problems(folder: Path, batch: OutgoingBatch = BATCH) -> list[str]:
    return (folder / "out" / f"{batch.batch_id}.problems.txt").read_text(encoding="utf-8").splitlines()


def returned(folder: Path, text: str, name: str = "ann.csv", encoding: str = "utf-8") -> Path:
    path = folder / "in" / name
    path.write_bytes(text.encode(encoding))
    return path


def test_what_goes_out(folder: Path) -> None:
    (table,) = (folder / "out").glob("*.csv")
    assert table.name.startswith("b1-")
    data = table.read_bytes()
    assert data.startswith(b"\xef\xbb\xbftask,prompt,completion,choice,annotator,note\r\n")
    assert data.splitlines()[1] == b"t0,One. Two. Three.,Number 0 sat down.,,,"
    adapter_in(folder).push(BATCH, TASKS)
    assert list((folder / "out").glob("*.csv")) == [table]
    adapter_in(folder).push(BATCH, TASKS[:1])
    assert len(list((folder / "out").glob("*.csv"))) == 2
    text = (folder / "out" / "b1.txt").read_text(encoding="utf-8")
    assert text.startswith(f"{POLICY.question}\n\nWrite one of these into the column `choice`: Yes, Unsure, No\n")
    assert "2 different people answer each row." in text
    assert POLICY.guidelines.strip() in text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_text_becomes_a_formula(start: str) -> None:
    rows = list(csv.reader(written_table(["a", "b"], [[f"{start}1+1", "x = 1"]]).decode("utf-8-sig").splitlines(True)))
    assert rows[1:] == [[f"'{start}1+1", "x = 1"]]


def test_a_formula_comes_back_by_its_task(tmp_path: Path) -> None:
    adapter = adapter_in(tmp_path)
    adapter.open(BATCH)
    adapter.push(BATCH, [OutgoingTask("t0", Snippet('=cmd|"/c calc"!A1', 'He said "no", then\nleft; =1+1.'), wanted=1)])
    (table,) = (tmp_path / "out").glob("*.csv")
    with table.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["prompt"], row["completion"]) == ('\'=cmd|"/c calc"!A1', 'He said "no", then\nleft; =1+1.')
    row.update(choice="yes", annotator="ann")
    with (tmp_path / "in" / "back.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row.keys(), delimiter=";")
        writer.writeheader()
        writer.writerow(row)
    assert list(adapter.collect(BATCH, TASKS)) == [IncomingLabel("t0", "ann", "Yes", external_id="t0:ann")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_spreadsheets_files_are_read(folder: Path, encoding: str, delimiter: str, end: str) -> None:
    lines = [
        "Choice|Prompt|ANNOTATOR |task|seconds|note",
        ' yes|“One”|Zoë|t1|"12,5"|hm',
        "|||t2||",
        "No||bob|t1|x|",
        "",
    ]
    returned(folder, end.join(lines).replace("|", delimiter), encoding=encoding)
    assert given(folder) == [
        IncomingLabel("t1", "Zoë", "Yes", 12.5, "t1:Zoë", "hm"),
        IncomingLabel("t1", "bob", "No", None, "t1:bob"),
    ]
    assert not (folder / "out" / "b1.problems.txt").exists()


def test_bad_rows_are_listed_by_file_and_line_and_the_good_ones_land(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        'note,task,annotator,choice\n"two\nlines",t0,ann,Yes\n,t1,ann,Perhaps\n,t9,ann,No\n\n,t2,,No\n,t3,ann,unsure\n'
    )
    returned(folder, text)
    returned(folder, "name,answer\nann,Yes\n", "other.csv")
    returned(folder, COLUMNS + f"t0,{'x' * 101},No\n", "long.CSV")
    (folder / "in" / "~$ann.csv").write_bytes(b"lock")
    (folder / "in" / "notes.txt").write_bytes(b"hello")
    (folder / "in" / "link.csv").symlink_to(folder / "in" / "ann.csv")
    landed = [("t0", "ann", "Yes"), ("t3", "ann", "Unsure")]
    listed = [
        "ann.csv:4: 'Perhaps' is none of Yes, Unsure, No",
        "ann.csv:5: no task 't9' was sent out",
        "ann.csv:7: annotator and id: 1 to 100 characters, the id may be empty",
        "long.CSV:2: annotator and id: 1 to 100 characters, the id may be empty",
        "other.csv: the first line must name the columns task, annotator, choice",
    ]
    with caplog.at_level(logging.WARNING, "labeling_adapters.csv_dropbox"):
        for _ in range(2):
            assert [(one.task_id, one.annotator, one.choice) for one in given(folder)] == landed
            assert problems(folder) == listed
    assert caplog.messages == [f"csv_dropbox: {line}" for line in listed]
    for path in (folder / "in").glob("*"):
        path.unlink()
    assert (given(folder), problems(folder)) == ([], [])


def test_a_broken_table_gives_what_comes_before_the_break(folder: Path) -> None:
    returned(folder, COLUMNS + "t0,ann,Yes\nt1,ann," + "x" * 200_000 + "\nt2,ann,Yes\n")
    assert [one.task_id for one in given(folder)] == ["t0"]
    assert problems(folder) == ["ann.csv: line 3: a cell of more than 100,000 characters"]


def test_a_person_answers_a_task_once_whatever_is_sent_again(folder: Path) -> None:
    returned(folder, COLUMNS + "t0,ann,Yes\nt0,bob,No\n", "1.csv")
    before = given(folder)
    returned(folder, COLUMNS + "t1,ann,No\nt0,bob,No\nt0,ann,Unsure\n", "2.csv")
    assert given(folder)[:2] == before
    assert [(one.task_id, one.annotator, one.choice) for one in given(folder)] == [
        ("t0", "ann", "Yes"),
        ("t0", "bob", "No"),
        ("t1", "ann", "No"),
    ]
    assert problems(folder) == ["2.csv:4: answered otherwise in 1.csv:2, which counts"]


def test_batches_share_the_folder(folder: Path) -> None:
    policy = POLICY.model_copy(update={"choices": ("Red", "Green")})
    other = replace(BATCH, batch_id="b1-2", remote_id="b1-2", policy=policy)
    adapter_in(folder).open(other)
    adapter_in(folder).push(other, [OutgoingTask("u0", TASKS[0].snippet, wanted=1)])
    assert [one.task_id for one in adapter_in(folder).held(BATCH)] == ["t0", "t1", "t2", "t3"]
    assert [one.task_id for one in adapter_in(folder).held(other)] == ["u0"]
    returned(folder, COLUMNS + "t0,ann,Yes\nu0,ann,green\n")
    assert [(one.task_id, one.choice) for one in given(folder)] == [("t0", "Yes")]
    labels = adapter_in(folder).collect(other, [OutgoingTask("u0", TASKS[0].snippet, wanted=1)])
    assert [(one.task_id, one.choice) for one in labels] == [("u0", "Green")]
    assert list((folder / "out").glob("*.problems.txt")) == []


def test_columns_may_have_other_names_and_ids_of_their_own(folder: Path) -> None:
    columns = {"task": "Ref", "annotator": "Rater", "choice": "Verdict", "id": "Row ID"}
    for table in (folder / "out").glob("*.csv"):
        table.unlink()
    adapter_in(folder, columns=columns).push(BATCH, TASKS)
    returned(folder, "REF,rater,verdict,row id\nt0,ann,No,r-17\nt1,ann,No,\n")
    assert [one.external_id for one in given(folder, columns=columns)] == ["r-17", "t1:ann"]


def test_further_answers_have_a_row_each_that_says_who_is_not_to_give_it(folder: Path) -> None:
    adapter = adapter_in(folder)
    by = frozenset({"bob", "ann"})
    one = replace(TASKS[0], total=3, more=1, answered_by=by)
    for tasks in ([one], [one], [replace(one, total=4, more=2), replace(TASKS[1], total=3, more=1)]):
        adapter.deepen(BATCH, tasks)
    tables = sorted((folder / "out").glob("b1-more-*.csv"), key=lambda path: path.stat().st_mtime_ns)
    rows = []
    for table in tables:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows.append([(row["task"], row["answer_number"], row["not_by"]) for row in csv.DictReader(file)])
    assert rows == [[("t0", "3", "ann; bob")], [("t0", "4", "ann; bob"), ("t1", "3", "")]]
    returned(folder, COLUMNS + "t0,ann,No\nt0,cleo,No\n")
    labels = adapter.collect(BATCH, [one])
    assert [(label.task_id, label.annotator) for label in labels] == [("t0", "cleo")]
    assert "nobody named in its column `not_by`" in (folder / "out" / "b1.txt").read_text(encoding="utf-8")


def test_a_file_on_its_way_in_waits(folder: Path) -> None:
    path = returned(folder, COLUMNS + "t0,ann,Yes\n")
    assert given(folder, settle_seconds=60) == []
    os.utime(path, (time.time() - 61,) * 2)
    assert len(given(folder, settle_seconds=60)) == 1


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="No such file or directory") as missing:
        list(adapter_in(tmp_path / "gone").collect(BATCH, TASKS))
    assert missing.value.permanent
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AdapterError, match="Not a directory"):
        adapter_in(tmp_path / "file").open(BATCH)
    with pytest.raises(BadInput, match=r"^adapter csv_dropbox: folder: .*must be an absolute path"):
        adapter_in(Path("drop"))
    with pytest.raises(BadInput, match=r"^adapter csv_dropbox: folder: is required"):
        adapter_named("csv_dropbox", POLICY)
