"""Batches that somebody sends out by hand, and their life at the vendor."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from engine.errors import BadInput
from labeling_adapters import adapter_named
from labeling_adapters.base import Move
from webapi.errors import DomainError, FieldError
from webapi.models import AttackCandidate, Batch, BatchKind, BatchState, Consensus, Label, Policy, Snippet, Task, User
from webapi.models.queue import new_place
from webapi.permissions import PULL
from webapi.services.key_variables import check_key_variables
from workers.jobs import chunked, enqueue
from workers.vendors import follow_batch

MAX_NAMED = 10_000
"""Snippets or pairs that one request may name."""
MAX_FOUND = 100_000
"""Snippets that a filter may find."""
CHUNK = 1000
Pair = tuple[Snippet, Snippet | None]
SINCE: Mapping[Move, frozenset[str]] = {
    "launch": frozenset({""}),
    "pause": frozenset({"launch", "resume"}),
    "resume": frozenset({"pause"}),
    "cancel": frozenset({"", "launch", "pause", "resume"}),
}
"""What must have been asked before for a move to change anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOrder:
    """What is to be sent out, to whom, and how."""

    policy: Policy
    name: str
    kind: str = BatchKind.LABEL
    snippets: Sequence[uuid.UUID] = ()
    """Or `pairs` in a comparison; or `chosen`."""
    pairs: Sequence[tuple[uuid.UUID, uuid.UUID]] = ()
    chosen: Mapping[str, Any] | None = None
    """A filter: `source`, `split`, `consensus`, `round`, `attack`, `unlabelled` and how many (`limit`)."""
    overlap: int | None = None
    """How many annotators for each; None: as many as the policy wants at first."""
    adapter: str = PULL
    config: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    vendor_user: User | None = None


def batch_create(*, order: BatchOrder) -> Batch:
    """A batch with its tasks, which a job sends to the vendor. It is launched only when asked.

    Raises UnknownName or BadInput for the adapter and its settings, DomainError `invalid` for snippets that are not
    there; then nothing is written.
    """
    check_key_variables(dict(order.config))
    adapter_named(order.adapter, order.policy.rules, config=order.config)
    if order.adapter != PULL and order.kind != BatchKind.LABEL:
        raise BadInput(f"a batch to {order.kind} is labelled here: its adapter is {PULL}", where="kind")
    if order.adapter != PULL and order.vendor_user is not None:
        raise BadInput(f"only batches of the adapter {PULL} are leased by a vendor", where="vendor_user")
    found = _pairs(order) if order.kind == BatchKind.COMPARE else [(one, None) for one in _snippets(order)]
    if not found:
        raise BadInput("nothing to label", where="snippets")
    wanted = order.overlap or order.policy.rules.depth.first
    with transaction.atomic():
        batch = Batch.objects.create(
            policy=order.policy,
            name=order.name,
            kind=order.kind,
            adapter=order.adapter,
            config=dict(order.config),
            priority=order.priority,
            vendor_user=order.vendor_user,
        )
        for chunk in chunked(found, CHUNK):
            Task.objects.bulk_create(
                Task(batch=batch, snippet=one, rival=other, wanted=wanted, place=new_place(batch.priority))
                for one, other in chunk
            )
        if order.adapter != PULL:
            follow_batch(batch)
    return batch


def batch_move(*, batch: Batch, move: Move) -> Batch:
    """Launches, pauses, resumes or cancels a batch; a job tells the vendor. Asking again changes nothing, unless the
    vendor could not be told: then it is told again.

    Raises DomainError `batch_finished` or `batch_not_launched`.
    """
    with transaction.atomic():
        if move == "cancel":
            batch.cancel()
        batch.refresh_from_db()
        allowed = BatchState.CANCELLED if move == "cancel" else BatchState.OPEN
        if batch.state != allowed:
            raise DomainError("batch_finished", f"The batch is {batch.state}.")
        here = batch.adapter == PULL
        if not batch.asked and not here and move in ("pause", "resume"):
            raise DomainError("batch_not_launched", f"The batch was not launched: there is nothing to {move}.")
        since = SINCE[move] | ({""} if here and move == "pause" else set())
        if batch.ask(move, since=since) or batch.ask_again():
            batch.refresh_from_db()
            if batch.state == BatchState.OPEN and not here:
                follow_batch(batch)
            enqueue("move_batch", {"batch": str(batch.pk), "move": batch.asked})
    batch.refresh_from_db()
    return batch


def _snippets(order: BatchOrder) -> list[Snippet]:
    """Each once, in the order given."""
    if order.pairs:
        raise BadInput("pairs are for a batch to compare", where="snippets")
    if order.chosen is not None:
        return _chosen(order.policy, dict(order.chosen))
    rows = _rows(order.policy, order.snippets)
    return list({key: rows[key] for key in order.snippets}.values())


def _pairs(order: BatchOrder) -> list[Pair]:
    """Two completions of one prompt, each pair once whichever comes first."""
    if order.snippets or order.chosen is not None:
        raise BadInput("a batch to compare wants pairs", where="snippets")
    rows = _rows(order.policy, [key for pair in order.pairs for key in pair])
    found: dict[frozenset[uuid.UUID], Pair] = {}
    for position, (first, second) in enumerate(order.pairs):
        one, other = rows[first], rows[second]
        if first == second or one.prompt != other.prompt:
            raise BadInput("wants two completions of one prompt", where=f"snippets.{position}")
        found.setdefault(frozenset((first, second)), (one, other))
    return list(found.values())


def _rows(policy: Policy, keys: Iterable[uuid.UUID]) -> dict[uuid.UUID, Snippet]:
    """The snippets with these keys. Raises DomainError naming those that the policy does not have."""
    asked = list(keys)
    rows: dict[uuid.UUID, Snippet] = {}
    for chunk in chunked(asked, CHUNK):
        rows |= {row.pk: row for row in Snippet.objects.filter(policy=policy, pk__in=chunk).only("id", "prompt")}
    missing = [position for position, key in enumerate(asked) if key not in rows]
    if missing:
        message = f"{policy.name} has no such snippet"
        errors = [FieldError(("snippets", position), "does_not_exist", message) for position in missing[:100]]
        raise DomainError("invalid", f"{len(missing)} of {len(asked)} snippets are not there.", errors=errors)
    return rows


def _chosen(policy: Policy, chosen: dict[str, Any]) -> list[Snippet]:
    """The snippets that a filter finds, the oldest first."""
    rows = Snippet.objects.filter(policy=policy)
    limit = chosen.pop("limit")
    if chosen.pop("unlabelled", False):
        rows = rows.exclude(pk__in=Label.objects.filter(counted=True).values("snippet"))
    if (round_ := chosen.pop("round", None)) is not None:
        rows = rows.filter(memberships__round=round_)
    if (attack := chosen.pop("attack", None)) is not None:
        rows = rows.filter(pk__in=AttackCandidate.objects.filter(attack=attack).values("snippet"))
    if (choice := chosen.pop("consensus", None)) is not None:
        rows = rows.filter(pk__in=Consensus.objects.filter(choice=choice).values("snippet"))
    return list(rows.filter(**chosen).only("id").order_by("pk")[:limit])
