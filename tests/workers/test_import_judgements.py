"""Job `import_judgements`: run twice, killed in the middle, and the counts of a real crowd's file."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.policies import load_policy
from tests.driving import WorkerKilled
from webapi.models import Annotator, Consensus, Job, Label, Policy, Snippet
from webapi.services.policies import policy_create
from workers import import_judgements
from workers.jobs import JobRun

pytestmark = pytest.mark.django_db

CROWD = Path(__file__).resolve().parents[3] / "shared" / "data" / "judgements" / "toxic_spans"
COMMENTS = "comment_id,comment_text\n7,you are kind\n8,you are not\n9,who knows\n"
ANNOTATIONS = (
    "annotation,comment_id,worker,country,all toxic,not toxic\n"
    "1,7,ana,GB,False,True\n"
    "2,8,ana,GB,False,False\n"
    "3,8,bob,GB,True,False\n"
    "4,9,bob,GB,True,True\n"
    "5,9,bob,GB,False,True\n"
)


def folder(tmp_path: Path, comments: str = COMMENTS, annotations: str = ANNOTATIONS) -> Path:
    (tmp_path / "comments.csv").write_text(comments)
    (tmp_path / "annotations.csv").write_text(annotations)
    return tmp_path


def claimed(path: Path) -> JobRun:
    policy = policy_create(spec=load_policy("toxic"))
    job = Job.objects.create(kind="import_judgements", args={"path": str(path), "policy": str(policy.pk)})
    mine = Job.claim(job.pk, worker="test")
    assert mine is not None
    return JobRun(mine)


def test_a_comment_that_the_policy_refuses_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    job = claimed(folder(tmp_path, COMMENTS.replace("you are not", "you are not at all as kind")))
    policy = Policy.objects.get()
    policy.spec["snippet_rules"]["max_tokens"] = 7
    policy.save()
    with pytest.raises(BadInput, match=r"9 tokens, at most 7 \(too_many_tokens\)") as error:
        import_judgements.import_judgements(job)
    assert error.value.where == f"{tmp_path / 'comments.csv'}, line 3"
    assert (Snippet.objects.count(), Annotator.objects.count(), Label.objects.count()) == (0, 0, 0)


def labels() -> list[tuple[str, str, str, int]]:
    rows = Label.objects.order_by("external_id")
    return list(rows.values_list("snippet__external_id", "annotator__external_id", "choice", "revision"))


IMPORTED = [
    ("7", "ana", "No", 0),
    ("8", "ana", "Yes", 0),
    ("8", "bob", "Yes", 0),
    ("9", "bob", "Unsure", 0),
    ("9", "bob", "No", 1),
]


def test_boxes_become_choices_and_the_latest_counts(tmp_path: Path) -> None:
    result = import_judgements.import_judgements(claimed(folder(tmp_path)))
    assert result == {"snippets": 3, "annotators": 2, "labels": 5, "consensus": 3}
    assert labels() == IMPORTED
    consensus = dict(Consensus.objects.values_list("snippet__external_id", "choice"))
    assert consensus == {"7": "No", "8": "Yes", "9": "No"}


def test_run_twice_it_changes_nothing(tmp_path: Path) -> None:
    path = folder(tmp_path)
    first = import_judgements.import_judgements(claimed(path))
    keys = set(Label.objects.values_list("pk", flat=True))
    assert import_judgements.import_judgements(claimed(path)) == first
    assert set(Label.objects.values_list("pk", flat=True)) == keys
    assert (Snippet.objects.count(), Annotator.objects.count()) == (3, 2)


def test_killed_between_two_chunks_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path)
    monkeypatch.setattr(import_judgements, "CHUNK", 2)
    run, before = claimed(path), Label.objects.count()

    def killed(done: int, total: int) -> None:
        if Label.objects.count() > before:
            raise WorkerKilled

    monkeypatch.setattr(run, "progress", killed)
    with pytest.raises(WorkerKilled):
        import_judgements.import_judgements(run)
    assert len(labels()) == 2
    assert import_judgements.import_judgements(claimed(path))["labels"] == 5
    assert labels() == IMPORTED


@pytest.mark.parametrize(
    ("comments", "annotations", "message"),
    [
        (COMMENTS, ANNOTATIONS + "6,5,ana,GB,False,True\n", "annotations.csv, line 7: no comment 5 in comments.csv"),
        (COMMENTS, ANNOTATIONS + "6,7,ana,GB,maybe,True\n", "annotations.csv, line 7: .* must be True or False"),
        (COMMENTS, ANNOTATIONS + "6,7\n", "annotations.csv, line 7: has too few columns"),
        (COMMENTS, ANNOTATIONS.replace("worker", "who"), "annotations.csv: lacks the columns worker"),
        (COMMENTS + "5,\n", ANNOTATIONS, "comments.csv, line 5: comment_text is empty"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(
    tmp_path: Path, comments: str, annotations: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        import_judgements.import_judgements(claimed(folder(tmp_path, comments, annotations)))
    assert (Snippet.objects.count(), Annotator.objects.count(), Label.objects.count()) == (0, 0, 0)


def test_a_missing_or_mis_encoded_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"comments\.csv: No such file"):
        import_judgements.import_judgements(claimed(tmp_path))
    path = folder(tmp_path)
    (path / "comments.csv").write_bytes(b"comment_id,comment_text\n7,\xff\xfe\n")
    with pytest.raises(BadInput, match=r"comments\.csv: not a CSV file in UTF-8"):
        import_judgements.import_judgements(claimed(path))
    assert Snippet.objects.count() == 0


@pytest.mark.slow
@pytest.mark.skipif(not CROWD.is_dir(), reason="no ../shared/data/judgements/toxic_spans beside the project")
def test_a_real_crowds_counts_match_its_files() -> None:
    with (CROWD / "annotations.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (CROWD / "comments.csv").open(encoding="utf-8", newline="") as stream:
        comments = {row["comment_id"] for row in csv.DictReader(stream)}
    workers = Counter(row["worker"] for row in rows)
    assert (len(comments), len(workers), len(rows)) == (16_100, 3_579, 59_215)
    result = import_judgements.import_judgements(claimed(CROWD))
    assert result == {"snippets": 16_100, "annotators": 3_579, "labels": 59_215, "consensus": 16_100}
    assert set(Snippet.objects.values_list("external_id", flat=True)) == comments
    assert Counter(Label.objects.values_list("annotator__external_id", flat=True)) == workers
    boxes = Counter((row["all toxic"], row["not toxic"]) for row in rows)
    assert Counter(Label.objects.values_list("choice", flat=True)) == {
        "Yes": boxes["False", "False"] + boxes["True", "False"],
        "No": boxes["False", "True"],
        "Unsure": boxes["True", "True"],
    }
