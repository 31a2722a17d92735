"""Dataset snapshots: the rows of a condition, composed, checked, written once as Parquet, and read again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from engine.classifiers import Example
from engine.classifiers.composing import Composed, Composing, Row, compose
from engine.errors import BadInput
from engine.policies import Policy as PolicyRules
from engine.snippets import Snippet as SnippetText
from webapi.models import DatasetSnapshot, Policy, Round, Snippet, SplitName
from workers.artifacts import register, round_path, verified, writing
from workers.conditions import Condition, Dataset, labelled_in
from workers.jobs import chunked

SCHEMA = pa.schema([(name, pa.int32() if name == "times" else pa.string()) for name in Row._fields])


def snapshot_of(
    policy: Policy, condition: Condition, wanted: Composing, *, seed: int, round_: Round | None = None
) -> DatasetSnapshot:
    """The condition's snapshot in the training split, to train on. In a round, and outside with equal content, it is
    made once: what is there already is not composed anew, though labels may have changed since.

    Raises BadInput for no rows, one class only, or rows that would leak between splits.
    """
    there = DatasetSnapshot.objects.filter(round=round_, condition=condition.name).first() if round_ else None
    if there is not None and there.content_hash:
        return there
    found = {one.name: _rows(policy, one) for one in condition.datasets}
    initial = {one.name for one in condition.datasets if one.initial}
    composed = compose(found, initial, wanted, policy.rules.trains_as_positive, seed=seed)
    check_trainable(policy.rules, composed.rows, condition.name)
    check_splits(policy, composed.rows, condition.name)
    return _kept(policy, condition, wanted, composed, seed=seed, round_=round_)


def read_snapshot(snapshot: DatasetSnapshot) -> list[Row]:
    """The rows of the manifest, in order.

    Raises NotStored where the file is gone, Damaged where its bytes are others than its row in the table of artifacts
    says, and BadInput where it does not say what was written, however it is packed.
    """
    path = verified(snapshot.artifact)
    try:
        columns = pq.read_table(path, schema=SCHEMA).to_pydict()
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError, KeyError) as error:
        raise BadInput(f"cannot be read: {error}", where=str(path)) from error
    rows = [Row(*values) for values in zip(*(columns[name] for name in Row._fields), strict=True)]
    if (found := hash_of(rows)) != snapshot.content_hash:
        raise BadInput(
            f"is not the manifest that was written: its rows hash to {found[:16]}..., not to "
            f"{snapshot.content_hash[:16]}...",
            where=str(path),
        )
    return rows


def training_rows(snapshot: DatasetSnapshot) -> list[Row]:
    """As `read_snapshot`, for a training: checked against the table of snippets once more. Raises BadInput besides."""
    if not snapshot.trains:
        raise BadInput("is not to be trained on", where=str(snapshot))
    rows = read_snapshot(snapshot)
    check_splits(snapshot.policy, rows, snapshot.condition)
    return rows


def examples_of(policy: PolicyRules, rows: Iterable[Row]) -> list[Example]:
    """What the engine trains on, in order; a row that is oversampled stands there as often as it says."""
    return [
        Example(SnippetText(row.prompt, row.completion), policy.trains_as_positive(row.choice))
        for row in rows
        for _ in range(row.times)
    ]


def hash_of(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) over the rows in their order, without their keys: the same for the same texts and labels in any
    database, however Parquet packs them. O(characters).
    """
    digest = hashlib.sha256(b"gauntlet dataset snapshot 1\n")
    for row in rows:
        digest.update(json.dumps(row[1:], separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def check_trainable(policy: PolicyRules, rows: Sequence[Row], where: str) -> None:
    """Raises BadInput for no rows or rows of one class."""
    if not rows:
        raise BadInput("no labelled snippets to train on", where=where)
    choices = Counter(row.choice for row in rows)
    classes = {policy.trains_as_positive(choice) for choice in choices}
    if len(classes) == 1:
        said = ", ".join(f"{count} {choice}" for choice, count in sorted(choices.items()))
        lacking = "harmless" if classes == {True} else "labelled a failure"
        raise BadInput(f"of one class only ({said}): training needs some that are {lacking}", where=where)


def check_splits(policy: Policy, rows: Sequence[Row], where: str) -> None:
    """Raises BadInput unless all rows are of the training split and share no root with what is held out.

    The database forbids the opposite of what derives from each other; this sees to what came by other ways. O(rows).
    """
    if others := sorted({row.split for row in rows} - {SplitName.TRAIN.value}):
        raise BadInput(f"holds rows of the split {', '.join(others)}; it trains on `train` alone", where=where)
    for chunk in chunked(sorted({row.root_hash for row in rows}), 500):
        held_out = Snippet.objects.filter(policy=policy, root_hash__in=chunk).exclude(split=SplitName.TRAIN)
        leak = held_out.values_list("root_hash", "split").first()
        if leak is not None:
            raise BadInput(f"the root {leak[0][:16]}... is in the {leak[1]} split too", where=where)


def _rows(policy: Policy, dataset: Dataset) -> list[Row]:
    rows = labelled_in(policy, dataset, SplitName.TRAIN).values_list(
        "snippet__pk", "snippet__content_hash", "snippet__root_hash", "snippet__split", "snippet__source", "choice",
        "snippet__prompt", "snippet__completion",
    )  # fmt: skip
    return [
        Row._make([str(pk), *map(str, said), dataset.name, 1, prompt, completion])
        for pk, *said, prompt, completion in rows.iterator(chunk_size=2000)
    ]


def _kept(
    policy: Policy, condition: Condition, wanted: Composing, composed: Composed, *, seed: int, round_: Round | None
) -> DatasetSnapshot:
    """The manifest written, then its row: killed in between, the file is written once more."""
    rows, content_hash = composed.rows, hash_of(composed.rows)
    if round_ is None:
        path = Path(settings.GAUNTLET_HOME) / "snapshots" / str(policy.pk) / f"{content_hash}.parquet"
    else:
        path = round_path(round_, f"snapshots/{condition.name}.parquet")
    if round_ is not None or not path.exists():
        with writing(path) as temporary:
            _write(rows, temporary)
    made = {
        "artifact": register(path, "snapshot"),
        "seed": seed,
        "equal_size": composed.size,
        "size": len(rows),
        "counts": dict(Counter(f"{row.source}/{row.choice}" for row in rows)),
        "datasets": {one.name: _counted(rows, one.name) for one in condition.datasets},
        "settings": {"condition": condition.model_dump(mode="json"), "composing": wanted.model_dump(mode="json")},
        "dropped": [one._asdict() for one in composed.dropped],
    }
    if round_ is None:
        key = {"policy": policy, "round": None, "condition": condition.name, "content_hash": content_hash}
        return DatasetSnapshot.objects.get_or_create(**key, defaults=made)[0]
    # Of before there were hashes, one may be there without.
    made |= {"policy": policy, "content_hash": content_hash}
    return DatasetSnapshot.objects.update_or_create(round=round_, condition=condition.name, defaults=made)[0]


def _counted(rows: Iterable[Row], dataset: str) -> dict[str, int]:
    return dict(sorted(Counter(row.choice for row in rows if row.dataset == dataset).items()))


def _write(rows: Sequence[Row], path: Path) -> None:
    columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}, schema=SCHEMA), path)
