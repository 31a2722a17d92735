"""Rounds: launched, paused, resumed, retried, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from webapi.errors import DomainError
from webapi.models import AttackState, BatchState, Corpus, Policy, Round, User
from webapi.models.evaluations import UNFINISHED
from webapi.services.batches import batch_move
from webapi.services.evaluations import evaluation_cancel
from webapi.services.key_variables import check_key_variables
from workers import rounds
from workers.attack_stages import end_unfinished
from workers.generators import check_chosen
from workers.jobs import cancel_queued
from workers.publish import wake
from workers.round_settings import policy_suits, round_settings, trains_without_validation
from workers.second_opinions import check_second_opinions


def round_create(
    *,
    policy: Policy,
    corpus: Corpus,
    settings: Mapping[str, Any],
    seed: int = 0,
    name: str = "",
    created_by: User | None = None,
) -> Round:
    """A new round, running. Raises BadInput naming each wrong field of `settings`, or what the policy lacks for them;
    then nothing is written."""
    checked = round_settings(settings)
    policy_suits(policy.rules, checked)
    trains_without_validation(checked.training)
    check_second_opinions(policy, checked.selection.second_opinions)
    check_key_variables(checked.model_dump(mode="json"))
    check_chosen(checked.generator)
    with transaction.atomic():
        round_ = Round.objects.create(
            policy=policy,
            corpus=corpus,
            config=checked.model_dump(mode="json"),
            seed=seed,
            name=name or f"Round {Round.objects.count() + 1}",
            created_by=created_by,
        )
        transaction.on_commit(lambda: rounds.start(round_))
    return round_


def round_pause(*, round_: Round) -> Round:
    """Lets the jobs under way end and begins no other."""
    return _moved(round_, round_.pause(), "round_not_running")


def round_resume(*, round_: Round) -> Round:
    """Goes on where it was paused."""
    return _moved(round_, round_.resume(), "round_not_paused")


def round_retry(*, round_: Round) -> Round:
    """Runs the failed stage again, its failed shards only."""
    return _moved(round_, round_.retry(), "round_not_failed")


def round_cancel(*, round_: Round) -> Round:
    """Ends the round for good and takes its open tasks back; labels and scores stay."""
    with transaction.atomic():
        moved = round_.cancel()
        if moved:
            end_unfinished(round_, AttackState.CANCELLED)
            rounds.tell_end(round_, "cancelled")
    cancel_queued(round_.pk)
    for batch in round_.batches.filter(state=BatchState.OPEN) if moved else ():
        batch_move(batch=batch, move="cancel")
    for evaluation in round_.evaluations.filter(state__in=UNFINISHED) if moved else ():
        evaluation_cancel(evaluation=evaluation)
    return _moved(round_, moved, "round_finished")


def _moved(round_: Round, moved: bool, code: str) -> Round:
    round_.refresh_from_db()
    if not moved:
        raise DomainError(code, f"{round_.name} is {round_.state}")
    wake()
    return round_
