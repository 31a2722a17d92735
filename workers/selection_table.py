"""A round's selection as a table: a row for every snippet that could have been chosen, with why it was or was not.

One Parquet file a round, kept in the store. Rows stand in the order in which one reads them: the chosen as they were
chosen, then what the highest values alone would have taken, then the rest by falling value, then, for the map alone,
some of what is labelled or in flight.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.selection import Why
from webapi.models import Round
from workers.artifacts import register, round_path, writing
from workers.selection_pool import Candidates

FILE = "selection.parquet"
KIND = "selection"
CHOSEN, LEFT_OUT, APART = "chosen", "left_out", "apart"
SCHEMA = pa.schema(
    [
        ("snippet", pa.string()),
        ("pool", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("place", pa.int32()),
        ("rank", pa.int32()),
        ("plain", pa.bool_()),
        ("logit", pa.float32()),
        ("value", pa.float64()),
        ("inclusion", pa.float64()),
        ("nearest_labelled", pa.string()),
        ("nearest_labelled_similarity", pa.float32()),
        ("nearest_chosen", pa.string()),
        ("nearest_chosen_similarity", pa.float32()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)
"""`place`, `inclusion`: of the chosen. `plain`: whether the highest values alone would have it. `nearest_labelled`: of
what was labelled or in flight. Similarities are cosines."""


def selection_path(round_: Round) -> Path:
    """Where the table lies."""
    return round_path(round_, FILE)


def rows_of(
    pool: str, pooled: Candidates, why: Why, apart: Sequence[uuid.UUID], points: NDArray[np.float32]
) -> pa.Table:
    """A pool's rows. `apart` are those to whose vectors `why.apart` points; `points` (n, 2) the places on the map."""
    n = len(pooled.ids)
    chosen = why.chosen
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        "snippet": list(map(str, pooled.ids)),
        "pool": [pool] * n,
        "status": [CHOSEN if one else LEFT_OUT for one in chosen],
        "reason": list(map(str, why.reasons)),
        "place": _where(chosen, why.place),
        "rank": why.rank.tolist(),
        "plain": why.plain.tolist(),
        "logit": pooled.logits.tolist(),
        "value": pooled.values.tolist(),
        "inclusion": _where(chosen, why.inclusion),
        "nearest_labelled": _named(why.apart.rows, apart),
        "nearest_labelled_similarity": _where(why.apart.rows >= 0, why.apart.similarities),
        "nearest_chosen": _named(why.taken.rows, pooled.ids),
        "nearest_chosen_similarity": _where(why.taken.rows >= 0, why.taken.similarities),
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
    }
    order = np.lexsort((why.rank, ~why.plain, np.where(chosen, why.place, n)))
    return pa.table(columns, schema=SCHEMA).take(pa.array(order))


def rows_apart(apart: Sequence[uuid.UUID], points: NDArray[np.float32]) -> pa.Table:
    """Rows for the map: what is labelled or in flight."""
    nothing = {name: [None] * len(apart) for name in SCHEMA.names}
    columns = {
        **nothing,
        "snippet": list(map(str, apart)),
        "status": [APART] * len(apart),
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
    }
    return pa.table(columns, schema=SCHEMA)


def write_selection(round_: Round, tables: Sequence[pa.Table], about: dict[str, Any]) -> None:
    """Writes the table whole; `about` says with it how it came about."""
    path = selection_path(round_)
    table = pa.concat_tables(tables).replace_schema_metadata({"about": json.dumps(about)})
    order = np.argsort([(CHOSEN, LEFT_OUT, APART).index(one) for one in table["status"].to_pylist()], kind="stable")
    with writing(path) as temporary:
        pq.write_table(table.take(pa.array(order)), temporary)
    register(path, KIND)


def _where(there: NDArray[np.bool_], values: NDArray[Any]) -> list[Any]:
    return [value if one else None for one, value in zip(there.tolist(), values.tolist(), strict=True)]


def _named(rows: NDArray[np.int64], ids: Sequence[uuid.UUID]) -> list[str | None]:
    return [str(ids[row]) if row >= 0 else None for row in rows.tolist()]
