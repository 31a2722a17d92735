"""Reads of attacks: how far they are, what they yielded, and their strongest finds."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from django.db.models import Count, QuerySet, Sum
from scipy.special import expit

from engine.attacks import ATTACKS
from engine.attacks.base import BUDGET_STOPS
from engine.endpoints.ledger import Spending
from engine.evaluation.report_data import AttackSpending, StrongCandidate
from engine.evaluation.yields import Attacked, Yield, attack_yield
from engine.generation.rejection import logit_cutoff
from webapi.models import Attack, AttackCandidate, AttackState, Label
from webapi.models.attacks import CHOOSE_SEEDS

STRONGEST = 10
TITLES = {
    "filler": "Innocuous filler",
    "paraphrase": "Paraphrases",
    "rewrite": "Rewrite search",
    "substitution": "Word substitution",
}
"""How attacks are spoken of that have no title of their own."""


class AttackProgress(NamedTuple):
    """How many seeds of an attack are done."""

    done: int
    total: int


def attacks_listed() -> QuerySet[Attack]:
    """Attacks with what a list shows of them."""
    return Attack.objects.select_related("classifier", "policy", "round")


def attack_title(row: Attack) -> str:
    """What people call it."""
    return TITLES.get(row.name, row.name) if row.title == row.name else row.title


def attack_progress(row: Attack) -> AttackProgress:
    """Seeds done of all. While seeds are being chosen there is nothing to count yet."""
    if row.state == AttackState.SUCCEEDED:
        return AttackProgress(row.seeds, row.seeds)
    done = row.jobs.exclude(kind=CHOOSE_SEEDS).aggregate(done=Sum("done", default=0))["done"]
    return AttackProgress(min(done, row.seeds), row.seeds)


def attacked(row: Attack) -> Attacked:
    """What the attack came to, as arrays: seeds in the order of their keys, as in every attack on the same ones.

    Three queries, whatever its size; memory grows with its candidates.
    """
    cutoff = logit_cutoff(row.threshold)
    columns = ("snippet_id", "queries", "stop", "logit", "snippet__root_hash")
    # Finds first: a shard that ends between the two reads writes its seeds before them.
    found = list(
        row.candidates.order_by("snippet_id").values_list(
            "seed_id", "snippet_id", "snippet__consensus__choice", "similarity", "edits"
        )
    )
    seeds = list(row.started_from.order_by("snippet_id").values_list(*columns))
    place = {pk: i for i, (pk, *_) in enumerate(seeds)}
    given = _labels(row)
    rewrites = ATTACKS[row.name].source == "rewrite" if row.name in ATTACKS else False
    return Attacked(
        queries=np.array([queries for _, queries, *_ in seeds], dtype=np.int64),
        seed_of=np.array([place[seed] for seed, *_ in found], dtype=np.int64),
        labelled=np.array([choice is not None for _, _, choice, *_ in found], dtype=bool),
        failure=np.array([choice == row.policy.rules.failure for _, _, choice, *_ in found], dtype=bool),
        label_seconds=_floats(given[snippet].seconds if snippet in given else None for _, snippet, *_ in found),
        similarity=_floats(similarity for *_, similarity, _ in found),
        edits=_floats(len(edits) if rewrites else None for *_, edits in found),
        labels=sum(one.labels for one in given.values()),
        seconds=float(row.result.get("seconds", 0.0)),
        accepted_unedited=np.array([np.float32(logit) < cutoff for *_, logit, _ in seeds], dtype=bool),
        reached=np.array([bool(queries) or stop not in BUDGET_STOPS for _, queries, stop, *_ in seeds], dtype=bool),
        groups=np.array([root for *_, root in seeds]),
    )


def yield_of(row: Attack) -> Yield:
    """The attack's yields with their intervals, as far as its finds are labelled."""
    return attack_yield(attacked(row))


def strongest(row: Attack, most: int = STRONGEST) -> list[StrongCandidate]:
    """The attack's strongest finds to read beside their seeds. Two queries."""
    found = row.candidates.select_related("snippet__consensus", "seed").order_by("-strength", "pk")[:most]
    return [strong(row, one) for one in found]


def strong(row: Attack, one: AttackCandidate) -> StrongCandidate:
    """A find to read beside its seed."""
    return StrongCandidate(
        seed_prompt=one.seed.prompt,
        seed_completion=one.seed.completion,
        prompt=one.snippet.prompt,
        completion=one.snippet.completion,
        score=float(expit(one.logit)),
        reward=one.strength if row.second_opinion_id else None,
        similarity=one.similarity,
        edits=len(one.edits) or None,
        label=one.snippet.consensus.choice if hasattr(one.snippet, "consensus") else None,
    )


def spending_of(row: Attack) -> AttackSpending | None:
    """What the attack asked of endpoints, however it ended; None where it asked none. A query until it succeeded."""
    results = [row.result] if row.state == AttackState.SUCCEEDED else row.jobs.values_list("result", flat=True)
    found = [Spending.from_dict(result["spending"]) for result in results if "spending" in result]
    if not found:
        return None
    paid = reduce(Spending.plus, found)
    return AttackSpending(requests=paid.requests, reused=paid.reused, tokens=paid.tokens, money=paid.money)


class _Given(NamedTuple):
    labels: int
    seconds: float | None


def _labels(row: Attack) -> dict[uuid.UUID, _Given]:
    """Labels that count, and the time they took, by candidate."""
    labels = Label.objects.filter(counted=True, snippet__in=row.candidates.values("snippet"))
    columns = labels.values_list("snippet").annotate(n=Count("pk"), seconds=Sum("seconds")).order_by()
    return {snippet: _Given(count, seconds) for snippet, count, seconds in columns}


def _floats(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def settings_line(row: Attack) -> str:
    """The attack's settings and budget in a line."""
    parts = [f"{key.replace('_', ' ')} {_plain(value)}" for key, value in row.config.items()]
    parts += [f"at most {value:g} {key}" for key, value in row.budget.items()]
    return f"{row.name}: {', '.join(parts)}." if parts else f"{row.name}, as it comes."


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name") or ", ".join(f"{key} {_plain(one)}" for key, one in value.items()))
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
