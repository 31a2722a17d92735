"""An evaluation's outputs as Parquet: shards as they are drawn, then one file that every later job reads.

Texts lie in the file, not in rows: of millions of outputs, only those that labels are bought for become snippets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from numpy.typing import NDArray

from engine.errors import BadInput
from engine.evaluation.designs import OutputPool
from engine.evaluation.differing import Sides
from webapi.models import Artifact, Evaluation, EvaluationKind
from workers.artifacts import at_hand, register, shared, verified, writing
from workers.evaluation_chances import with_chances

SCHEMA = pa.schema(
    [
        ("prompt", pa.int64()),
        ("origin", pa.string()),
        ("text", pa.string()),
        ("completion", pa.string()),
        ("logit", pa.float32()),
        ("second", pa.float32()),
        ("side", pa.string()),
        ("place", pa.int64()),
        ("chance", pa.float64()),
    ]
)
"""An output. `prompt`: those that share one share a code; `origin`: key of the snippet that lent the prompt or, where
outputs are texts that were there, of that itself; `text`: the prompt; `second`: logit of the second opinion or, in a
difference, of the other filter; `side`: in a difference, `a` for an output of the classifier's filter and `b` for one
of the other's; `place`: outputs to the same proposals share it; `chance`: of failing, as far as labels that were there
tell."""
KIND = "outputs"
SIDES = ("a", "b")
"""In a difference: an output of the classifier's filter, and one of the other's; of quality the other has no filter."""


class Drawing(NamedTuple):
    """What a shard drew besides its outputs."""

    prompts: int
    """Prompts, or texts, that were looked at, copies counted."""
    without: int
    """Of which the filter accepted nothing."""
    alike: int = 0
    """In a difference: of which both filters gave the same output, or none."""

    def as_metadata(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._asdict().items()}


class Outputs(NamedTuple):
    """The pool as the engine takes it, and the columns that tell which snippets its outputs are."""

    pool: OutputPool
    origins: list[str]
    texts: list[str]
    completions: list[str]
    sides: Sides
    """In a difference: which outputs are of one place, and whose they are."""
    drawing: Drawing


def evaluation_path(evaluation: Evaluation, name: str) -> Path:
    """Where an evaluation's file of that name lies."""
    return Path(settings.GAUNTLET_HOME) / "evaluations" / str(evaluation.pk) / name


def shard_path(evaluation: Evaluation, shard: str) -> Path:
    """Where a shard of its outputs lies until all are drawn."""
    return evaluation_path(evaluation, f"drawn/{shard}.parquet")


def write_shard(evaluation: Evaluation, shard: str, rows: Sequence[dict[str, Any]], drawing: Drawing) -> None:
    """The shard's file, whole or not at all."""
    path = shard_path(evaluation, shard)
    with writing(path) as temporary:
        table = pa.Table.from_pylist(list(rows), schema=SCHEMA.with_metadata(drawing.as_metadata()))
        pq.write_table(table, temporary)
    shared(path, KIND)


def is_drawn(evaluation: Evaluation, shard: str) -> bool:
    """Whether the shard's file can be read: one that was damaged since is drawn again by who sets it going again."""
    try:
        pq.read_table(shard_path(evaluation, shard))
    except (OSError, pa.ArrowInvalid):
        return False
    return True


def join_shards(evaluation: Evaluation, shards: Sequence[str]) -> Artifact:
    """One file of all shards, registered, with the chances that labels of other texts give."""
    files = [pq.read_table(at_hand(shard_path(evaluation, shard))) for shard in shards]
    drawings = [_drawing(table.schema) for table in files]
    drawing = Drawing(*(sum(values) for values in zip(*drawings, strict=True)))
    path = evaluation_path(evaluation, "outputs.parquet")
    table = pa.concat_tables([one.replace_schema_metadata(None) for one in files])
    chances = _chances(evaluation, table) if table.num_rows else None
    if chances is not None:
        table = table.set_column(table.schema.get_field_index("chance"), "chance", pa.array(chances))
    with writing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(drawing.as_metadata()), temporary)
    return register(path, KIND)


def _chances(evaluation: Evaluation, table: pa.Table) -> NDArray[np.float64] | None:
    """Of a difference: by both filters' logits, whichever of the two gave the output. Comparisons need none."""
    pool = _pool(table)
    if evaluation.kind == EvaluationKind.QUALITY:
        return None
    if evaluation.kind != EvaluationKind.DIFFERENCE:
        return with_chances(evaluation.classifier, evaluation.second, pool).chances
    if pool.second is None:
        return None
    mine = _later(table)
    logits, second = np.where(mine, pool.logits, pool.second), np.where(mine, pool.second, pool.logits)
    turned = pool._replace(logits=logits, second=second)
    return with_chances(evaluation.classifier, evaluation.against, turned).chances


def _later(table: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(np.array(table["side"].to_pylist()) == SIDES[0], dtype=np.bool_)


def read_outputs(evaluation: Evaluation) -> Outputs:
    """What was drawn. Raises Damaged or NotStored, and BadInput where nothing was accepted."""
    if evaluation.pool is None:
        raise BadInput("its outputs are not drawn (yet)", where=str(evaluation))
    table = pq.read_table(verified(evaluation.pool))
    drawing = _drawing(table.schema)
    if not table.num_rows and evaluation.kind != EvaluationKind.DIFFERENCE:
        raise BadInput("the filter accepted nothing to buy labels for", where="outputs")
    origins, texts, completions = (table[name].to_pylist() for name in ("origin", "text", "completion"))
    sides = Sides(table["place"].to_numpy().astype(np.int64), _later(table), drawing.prompts)
    return Outputs(_pool(table), origins, texts, completions, sides, drawing)


def _pool(table: pa.Table) -> OutputPool:
    second, chances = _column(table, "second"), _column(table, "chance")
    return OutputPool(
        logits=_column(table, "logit").astype(np.float32),
        second=None if np.isnan(second).all() else second.astype(np.float32),
        prompts=table["prompt"].to_numpy().astype(np.int64),
        chances=None if np.isnan(chances).all() else chances,
    )


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Nulls are NaN."""
    return np.asarray(table[name].cast(pa.float64()).fill_null(np.nan).to_numpy(), dtype=np.float64)


def _drawing(schema: pa.Schema) -> Drawing:
    found = {key.decode(): int(value) for key, value in (schema.metadata or {}).items() if key != b"ARROW:schema"}
    return Drawing(**found)
