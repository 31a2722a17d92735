"""What the database itself forbids: splits that leak, snapshots that change. On SQLite and, again, on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from tests.services import assert_passes_on_postgresql
from webapi.errors import DomainError
from webapi.models import Artifact, Classifier, Corpus, DatasetSnapshot, Policy, Round, Snippet
from webapi.triggers import drop_triggers, make_triggers

Make = Callable[..., list[Snippet]]
PARTED = "a snippet has the split and the root of its parent"


@pytest.fixture
def parent(make_snippets: Make) -> Snippet:
    return make_snippets(1, split="train")[0]


def child_of(of: Snippet, **fields: Any) -> Snippet:
    made = {"content_hash": "c" * 64, "root_hash": of.root_hash, "split": of.split, "parent": of, **fields}
    return Snippet(policy=of.policy, completion="x", source="rewrite", **made)


def refused(work: Callable[[], object], message: str) -> None:
    """The database refuses, and what was there stays as it was."""
    before = list(Snippet.objects.values_list("pk", "split", "root_hash", "parent"))
    with pytest.raises(IntegrityError, match=re.escape(message)), transaction.atomic():
        work()
    assert list(Snippet.objects.values_list("pk", "split", "root_hash", "parent")) == before


def test_a_child_has_its_parents_split_and_root(parent: Snippet) -> None:
    refused(child_of(parent, split="test").save, PARTED)
    refused(child_of(parent, root_hash="r" * 64).save, PARTED)
    refused(lambda: Snippet.objects.bulk_create([child_of(parent, split="test")], ignore_conflicts=True), PARTED)
    child_of(parent).save()
    assert Snippet.objects.get(parent=parent).split == "train"


def test_parent_and_child_may_come_in_one_insert_in_that_order(parent: Snippet) -> None:
    child = child_of(parent)
    grandchild = child_of(child, content_hash="d" * 64)
    refused(lambda: Snippet.objects.bulk_create([grandchild, child]), PARTED)
    assert len(Snippet.objects.bulk_create([child, grandchild])) == 2


def test_a_text_that_is_there_stays_in_its_split_and_nothing_is_raised(parent: Snippet, make_snippets: Make) -> None:
    """As an attack may find what another split has already."""
    (there,) = make_snippets(1, first=5, split="test")
    again = child_of(parent, content_hash=there.content_hash)
    Snippet.objects.bulk_create([again], ignore_conflicts=True)
    assert [(row.pk, row.split) for row in Snippet.objects.filter(content_hash=there.content_hash)] == [
        (there.pk, "test")
    ]


def test_a_snippet_with_children_is_not_moved(parent: Snippet) -> None:
    child = child_of(parent)
    child.save()
    moved = "a snippet that others were made from keeps its split and root"
    refused(lambda: Snippet.objects.filter(pk=parent.pk).update(split="test"), moved)
    refused(lambda: Snippet.objects.filter(pk=parent.pk).update(root_hash="r" * 64), moved)
    refused(lambda: Snippet.objects.filter(pk=child.pk).update(split="validation"), PARTED)
    refused(lambda: Snippet.objects.update(split="test"), "split")
    Snippet.objects.filter(pk=parent.pk).update(split="train", details={"seen": True})  # what stays is no move


def test_a_snippet_without_children_may_be_moved_or_given_a_parent_of_its_split(make_snippets: Make) -> None:
    train, test = make_snippets(1, split="train")[0], make_snippets(1, first=1, split="test")[0]
    refused(lambda: Snippet.objects.filter(pk=test.pk).update(parent=train), PARTED)
    moved = {"split": "train", "root_hash": train.root_hash, "parent": train}
    assert Snippet.objects.filter(pk=test.pk).update(**moved) == 1


def test_all_of_one_root_have_one_split(parent: Snippet, policy: Policy) -> None:
    root = "all snippets of one root have one split"
    other = child_of(parent, parent=None, split="validation")
    refused(other.save, root)
    other.split = "train"
    other.save()
    refused(lambda: Snippet.objects.filter(pk=other.pk).update(split="test"), root)
    elsewhere = Policy.objects.create(name="another", spec=policy.spec, digest="d")
    other.pk, other.policy, other.split = None, elsewhere, "test"
    Snippet.objects.bulk_create([other])
    assert Snippet.objects.filter(root_hash=parent.root_hash).count() == 3


def snapshot(policy: Policy, **fields: Any) -> DatasetSnapshot:
    artifact = Artifact.objects.create(kind="snapshot", path=f"s/{Artifact.objects.count()}", sha256="a" * 64, size=1)
    made = {"policy": policy, "condition": "baseline", "content_hash": "h" * 64, "size": 3, **fields}
    return DatasetSnapshot.objects.create(artifact=artifact, **made)


def test_a_snapshot_never_changes(policy: Policy) -> None:
    row = snapshot(policy, counts={"corpus/Yes": 3})
    for field, value in {"content_hash": "g" * 64, "size": 4, "seed": 9, "counts": {}, "condition": "x"}.items():
        changed = DatasetSnapshot.objects.get()
        setattr(changed, field, value)
        with pytest.raises(DomainError, match=f"its {field} would change") as refusal:
            changed.save()
        assert refusal.value.code == "snapshot_immutable"
        with pytest.raises(IntegrityError, match="dataset snapshots are immutable"), transaction.atomic():
            DatasetSnapshot.objects.update(**{field: value})
    for gone in (row.delete, DatasetSnapshot.objects.all().delete):
        with pytest.raises(DomainError, match="nobody deletes one"):
            gone()
    row.refresh_from_db()
    assert (row.content_hash, row.size, row.seed, row.counts) == ("h" * 64, 3, 0, {"corpus/Yes": 3})
    row.artifact = Artifact.objects.create(kind="snapshot", path="elsewhere", sha256="a" * 64, size=1)
    row.save()  # its file may move


def test_a_snapshot_of_before_hashes_is_given_one_once(policy: Policy) -> None:
    row = snapshot(policy, content_hash="")
    row.content_hash, row.size = "h" * 64, 5
    row.save()
    row.size = 6
    with pytest.raises(DomainError, match="its size would change"):
        row.save()


def test_what_trains_is_of_the_training_split(policy: Policy) -> None:
    with pytest.raises(IntegrityError, match="snapshot_trains_on_the_training_split"), transaction.atomic():
        snapshot(policy, split="test")
    assert snapshot(policy, split="test", trains=False).split == "test"


def test_the_same_content_stands_there_once_outside_rounds(policy: Policy, tmp_path: Path) -> None:
    first = snapshot(policy)
    with pytest.raises(IntegrityError), transaction.atomic():
        snapshot(policy)
    corpus = Corpus.objects.create(name="c", path=str(tmp_path))
    rounds = [Round.objects.create(name=name, policy=policy, corpus=corpus) for name in "ab"]
    own = [snapshot(policy, round=one) for one in rounds]
    assert {row.content_hash for row in (first, *own)} == {"h" * 64}
    rounds[0].delete()  # a round takes its snapshots along
    assert set(DatasetSnapshot.objects.values_list("pk", flat=True)) == {first.pk, own[1].pk}


def test_the_policy_of_a_rounds_snapshot_is_the_rounds(policy: Policy, tmp_path: Path) -> None:
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c", path=str(tmp_path)))
    artifact = Artifact.objects.create(kind="snapshot", path="s", sha256="a" * 64, size=1)
    row = DatasetSnapshot.objects.create(round=round_, condition="baseline", artifact=artifact, size=1)
    assert row.policy == policy
    Classifier.objects.create(policy=policy, name="c", condition="baseline", snapshot=row)


@pytest.mark.django_db(transaction=True)
def test_triggers_come_back_after_a_migration_lost_them(make_snippets: Make) -> None:
    parent = make_snippets(1, split="train")[0]
    assert make_triggers(connection) == 0  # all are there
    drop_triggers(connection)
    child_of(parent, content_hash="e" * 64, split="train").save()
    if connection.vendor == "sqlite":
        with connection.schema_editor() as editor:  # what a later migration may do
            editor._remake_table(Snippet)
    call_command("migrate", verbosity=0)
    refused(child_of(parent, split="test").save, PARTED)
    assert make_triggers(connection) == 0


@pytest.mark.services
@pytest.mark.slow
def test_the_same_on_postgresql() -> None:
    assert_passes_on_postgresql(__file__, tests=12)
