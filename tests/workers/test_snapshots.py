"""Snapshots at work: what is written is read, the hash is of the content, what leaks or was changed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.classifiers.composing import Composing, Row
from engine.errors import BadInput, Damaged
from engine.snippets import Snippet as SnippetText
from webapi.models import (
    Attack,
    AttackCandidate,
    Batch,
    Classifier,
    Consensus,
    Corpus,
    DatasetSnapshot,
    Policy,
    Round,
    RoundSnippet,
    Snippet,
)
from webapi.triggers import drop_triggers
from workers.artifacts import register
from workers.conditions import Condition, Dataset, baseline_of, labelled_in, retrained_of
from workers.snapshots import SCHEMA, examples_of, hash_of, read_snapshot, snapshot_of, training_rows
from workers.store import NotStored

Make = Callable[..., list[Snippet]]
CORPUS = Dataset(name="corpus", initial=True, sources=("corpus",))
MANUAL = Dataset(name="manual", sources=("manual",))
PLAIN = Condition(name="plain", datasets=(CORPUS,))
BOTH = Condition(name="both", datasets=(CORPUS, MANUAL))


def label(rows: list[Snippet], *choices: str) -> list[Snippet]:
    """Consensus of these snippets, in turn."""
    Consensus.objects.bulk_create(
        [Consensus(snippet=row, choice=choices[i % len(choices)], rule="r", labels=1) for i, row in enumerate(rows)]
    )
    return rows


@pytest.fixture
def corpus(make_snippets: Make) -> list[Snippet]:
    return label(make_snippets(10, split="train"), "No", "No", "Yes", "Unsure", "No")


@pytest.fixture
def manual(make_snippets: Make) -> list[Snippet]:
    return label(make_snippets(3, first=10, split="train", source="manual"), "Yes", "No")


@pytest.fixture
def round_(policy: Policy, tmp_path: Path) -> Round:
    corpus = Corpus.objects.create(name="c", path=str(tmp_path))
    return Round.objects.create(name="r", policy=policy, corpus=corpus, seed=3)


def place(round_: Round, rows: list[Snippet], pool: str, *, selected: bool = False) -> None:
    RoundSnippet.objects.bulk_create(
        [RoundSnippet(round=round_, snippet=row, pool=pool, selected=selected) for row in rows]
    )


def test_what_is_written_is_read_again_with_where_it_comes_from(
    policy: Policy, corpus: list[Snippet], manual: list[Snippet]
) -> None:
    made = snapshot_of(policy, BOTH, Composing(oversample=2), seed=0)
    rows = read_snapshot(made)
    assert [row.dataset for row in rows] == ["corpus"] * 7 + ["manual"] * 3
    by_key = {str(row.pk): row for row in (*corpus, *manual)}
    for row in rows:
        there = by_key[row.snippet_id]
        assert row[1:5] == (there.content_hash, there.root_hash, "train", there.source)
        assert (row.prompt, row.completion, row.choice) == (there.prompt, there.completion, there.consensus.choice)
    assert [row.times for row in rows] == [1] * 7 + [2] * 3
    assert (made.size, made.equal_size, made.seed, made.split, made.trains) == (10, 10, 0, "train", True)
    assert sum(made.counts.values()) == 10
    assert sum(made.datasets["corpus"].values()) == 7
    assert made.datasets["manual"] == {"No": 1, "Yes": 2}
    assert Condition(**made.settings["condition"]) == BOTH
    assert Composing(**made.settings["composing"]) == Composing(oversample=2)
    examples = examples_of(policy.rules, rows)
    assert len(examples) == 7 + 6
    assert [one.positive for one in examples] == [row.choice != "No" for row in rows for _ in range(row.times)]


def test_the_same_rows_make_the_same_snapshot_and_others_another(
    policy: Policy, corpus: list[Snippet], manual: list[Snippet]
) -> None:
    first = snapshot_of(policy, BOTH, Composing(), seed=0)
    assert snapshot_of(policy, BOTH, Composing(), seed=0) == first
    other_seed = snapshot_of(policy, BOTH, Composing(), seed=1)
    assert len({first.content_hash, other_seed.content_hash}) == 2
    Consensus.objects.filter(snippet=manual[1]).update(choice="Yes")
    assert snapshot_of(policy, BOTH, Composing(), seed=0).content_hash != first.content_hash
    assert DatasetSnapshot.objects.count() == 3
    assert read_snapshot(first) == read_snapshot(first)


def rows_of(n: int) -> list[Row]:
    texts = [SnippetText("p", f"text {i} \N{BOMB}") for i in range(n)]
    return [
        Row(f"key-{i}", t.content_hash, t.content_hash, "train", "corpus", "No", "d", 1, t.prompt, t.completion)
        for i, t in enumerate(texts)
    ]


def test_the_hash_is_of_content_and_order_not_of_keys() -> None:
    rows = rows_of(3)
    assert hash_of(rows) == hash_of([row._replace(snippet_id=f"other {i}") for i, row in enumerate(rows)])
    assert hash_of(rows) != hash_of(rows[::-1])
    assert hash_of([]) != hash_of(rows[:1])
    for field in Row._fields[1:]:
        changed = [rows[0]._replace(**{field: 2 if field == "times" else "changed"}), *rows[1:]]
        assert hash_of(changed) != hash_of(rows), field
    shifted = [rows[0]._replace(prompt="p t", completion="ext"), *rows[1:]]
    assert hash_of(shifted) != hash_of(rows)


def test_parquet_may_be_packed_otherwise_but_not_say_otherwise(policy: Policy, corpus: list[Snippet]) -> None:
    made = snapshot_of(policy, PLAIN, Composing(), seed=0)
    path, rows = made.artifact.file, read_snapshot(made)
    table = pq.read_table(path)
    packed = table.select(table.column_names[::-1])
    pq.write_table(packed, path, compression="zstd", row_group_size=2, use_dictionary=False, version="1.0")
    with pytest.raises(Damaged):
        read_snapshot(made)  # nobody said that it would be packed anew
    assert read_again(made) == rows
    changed = table.to_pydict()
    changed["choice"][0] = "Yes" if changed["choice"][0] == "No" else "No"
    pq.write_table(type(table).from_pydict(changed, schema=SCHEMA), path)
    with pytest.raises(BadInput, match="is not the manifest that was written: its rows hash to"):
        read_again(made)
    path.write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="cannot be read"):
        read_again(made)
    path.unlink()
    with pytest.raises(NotStored):
        training_rows(made)


def read_again(snapshot: DatasetSnapshot) -> list[Row]:
    """As after somebody put other bytes in the file's place and had them registered."""
    register(snapshot.artifact.file, "snapshot")
    return read_snapshot(DatasetSnapshot.objects.get(pk=snapshot.pk))


def test_one_class_and_no_rows_are_refused_and_nothing_is_written(policy: Policy, make_snippets: Make) -> None:
    with pytest.raises(BadInput, match="plain: no labelled snippets to train on"):
        snapshot_of(policy, PLAIN, Composing(), seed=0)
    label(make_snippets(3, split="train"), "Yes", "Unsure")
    with pytest.raises(BadInput, match=r"plain: of one class only \(1 Unsure, 2 Yes\): .* that are harmless"):
        snapshot_of(policy, PLAIN, Composing(), seed=0)
    Consensus.objects.update(choice="No")
    with pytest.raises(BadInput, match=r"of one class only \(3 No\): training needs some that are labelled a failure"):
        snapshot_of(policy, PLAIN, Composing(), seed=0)
    assert not DatasetSnapshot.objects.exists()


def test_held_out_rows_are_no_part_of_a_dataset(policy: Policy, corpus: list[Snippet], make_snippets: Make) -> None:
    label(make_snippets(2, first=30, split="test"), "Yes")
    label(make_snippets(2, first=40, split="validation"), "Yes")
    made = snapshot_of(policy, PLAIN, Composing(), seed=0)
    assert {row.split for row in read_snapshot(made)} == {"train"}
    assert made.size == len(corpus)


def test_a_root_that_is_held_out_too_is_refused_before_and_at_training(policy: Policy, corpus: list[Snippet]) -> None:
    """What came by other ways than the database's own rules."""
    from django.db import connection

    made = snapshot_of(policy, PLAIN, Composing(), seed=0)
    drop_triggers(connection)
    leak = Snippet(policy=policy, completion="x", content_hash="x" * 64, root_hash=corpus[4].root_hash, split="test")
    Snippet.objects.bulk_create([leak])
    with pytest.raises(BadInput, match=f"plain: the root {corpus[4].root_hash[:16]}... is in the test split too"):
        training_rows(made)
    with pytest.raises(BadInput, match="is in the test split too"):
        snapshot_of(policy, PLAIN, Composing(size=9), seed=0)
    assert len(read_snapshot(made)) == 10


def test_what_does_not_train_is_not_trained_on(policy: Policy, corpus: list[Snippet]) -> None:
    made = snapshot_of(policy, PLAIN, Composing(), seed=0)
    held_out = DatasetSnapshot(
        policy=policy, condition="t", artifact=made.artifact, content_hash="h", size=1, split="test", trains=False
    )
    with pytest.raises(BadInput, match="is not to be trained on"):
        training_rows(held_out)


def test_duplicates_are_named_with_what_stands_for_them(policy: Policy, make_snippets: Make) -> None:
    first = label(make_snippets(4, split="train"), "No", "No", "Yes", "No")
    again = label(make_snippets(3, split="train", source="manual", external_id="again"), "No", "Yes", "Yes")
    made = snapshot_of(policy, BOTH, Composing(equal_sizes=False), seed=0)
    kept = {row.snippet_id for row in read_snapshot(made)}
    assert kept == {str(first[i].pk) for i in (0, 2, 3)}
    assert sorted(made.dropped, key=lambda one: one["snippet"]) == sorted(
        [
            {"snippet": str(again[0].pk), "why": "duplicate", "kept": str(first[0].pk)},
            {"snippet": str(first[1].pk), "why": "contradictory", "kept": ""},
            {"snippet": str(again[1].pk), "why": "contradictory", "kept": ""},
            {"snippet": str(again[2].pk), "why": "duplicate", "kept": str(first[2].pk)},
        ],
        key=lambda one: one["snippet"],
    )


def test_datasets_by_round_pool_attack_batch_and_detail(
    policy: Policy, corpus: list[Snippet], manual: list[Snippet], round_: Round, make_batch: Callable[..., Batch]
) -> None:
    place(round_, corpus[:4], "initial")
    place(round_, corpus[4:6], "attack", selected=True)
    place(round_, corpus[6:7], "attack")
    classifier = Classifier.objects.create(policy=policy, name="c", condition="b")
    attack = Attack.objects.create(policy=policy, classifier=classifier, threshold=0.5, role="alone", name="rewrite")
    AttackCandidate.objects.create(attack=attack, snippet=manual[0], seed=corpus[0], logit=0, strength=0)
    batch = make_batch(snippets=[corpus[8], manual[1]])
    Snippet.objects.filter(pk=corpus[9].pk).update(details={"number": 5})

    def found(**fields: Any) -> set[Any]:
        rows = labelled_in(policy, Dataset(name="d", **fields), "train")
        return set(rows.values_list("snippet", flat=True))

    keys = [row.pk for row in corpus]
    assert found(round=round_.pk) == set(keys[:7])
    assert found(round=round_.pk, pools=("initial",)) == set(keys[:4])
    assert found(round=round_.pk, selected=True) == set(keys[4:6])
    assert found(round=round_.pk, pools=("attack",), selected=False) == {keys[6]}
    assert found(attacks=(attack.pk,)) == {manual[0].pk}
    assert found(batch=batch.pk) == {keys[8], manual[1].pk}
    assert found(batch=batch.pk, sources=("manual",)) == {manual[1].pk}
    assert found(details={"number": 5}) == {keys[9]}
    assert found(details={"number": 6}) == found(round="0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e") == set()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pools": ("initial",)}, "say which"),
        ({"selected": True}, "say which"),
        ({"details": {"a__in": 1}}, "is no name of a detail"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_datasets_that_say_too_little_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset(name="d", **fields)


def test_two_datasets_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="twice: corpus"):
        Condition(name="c", datasets=(CORPUS, CORPUS))


def test_a_rounds_snapshot_is_made_once_and_then_only_read(
    policy: Policy, corpus: list[Snippet], manual: list[Snippet], round_: Round
) -> None:
    """As before there were snapshots with hashes: those first labelled, then those selected, by the texts' hashes."""
    place(round_, corpus, "initial")
    place(round_, manual, "attack", selected=True)
    first = snapshot_of(policy, retrained_of(round_), Composing(), seed=round_.seed, round_=round_)
    rows = read_snapshot(first)
    initial = [row.content_hash for row in rows if row.dataset == "initial"]
    assert initial == sorted(initial)
    assert [row.content_hash for row in rows[7:]] == sorted(row.content_hash for row in manual)
    assert str(first.artifact.path) == f"rounds/{round_.pk}/snapshots/{first.condition}.parquet"
    Consensus.objects.filter(snippet=manual[0]).update(choice="No")
    again = snapshot_of(policy, retrained_of(round_), Composing(), seed=round_.seed, round_=round_)
    assert (again.pk, read_snapshot(again)) == (first.pk, rows)
    baseline = snapshot_of(policy, baseline_of(round_), Composing(), seed=round_.seed, round_=round_)
    assert baseline.size == 10
    assert policy.snapshots.count() == 2


def test_a_snapshot_of_before_hashes_is_made_anew_in_its_place(
    policy: Policy, corpus: list[Snippet], round_: Round
) -> None:
    place(round_, corpus, "initial")
    made = snapshot_of(policy, baseline_of(round_), Composing(), seed=3, round_=round_)
    key, content_hash = made.pk, made.content_hash
    from django.db import connection

    drop_triggers(connection)
    DatasetSnapshot.objects.filter(pk=key).update(content_hash="", datasets={}, settings={})
    again = snapshot_of(policy, baseline_of(round_), Composing(), seed=3, round_=round_)
    assert (again.pk, again.content_hash) == (key, content_hash)


def test_conditions_are_data(policy: Policy, corpus: list[Snippet]) -> None:
    """As a job holds them: JSON there and back."""
    assert Condition(**json.loads(json.dumps(BOTH.model_dump(mode="json")))) == BOTH
