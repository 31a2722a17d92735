"""Attacks outside rounds: launched and cancelled."""

from __future__ import annotations

import uuid

from django.db import transaction

from webapi.errors import DomainError, FieldError
from webapi.models import Attack, AttackRole, Classifier, Round, Snippet, User
from webapi.models.attacks import CHOOSE_SEEDS
from webapi.services.key_variables import check_key_variables
from workers.attack_alone import LoneAttack, cancel_jobs
from workers.jobs import chunked, enqueue


def attack_create(
    *,
    classifier: Classifier,
    settings: LoneAttack,
    second_opinion: Classifier | None = None,
    created_by: User | None = None,
) -> Attack:
    """A new attack; a job chooses its seeds, others run it.

    Raises DomainError `classifier_not_calibrated`, or `invalid` for named seeds, a round or a second opinion that are
    not of the classifier's policy, for named seeds that are labelled anything but a failure, and for the classifier as
    its own second opinion; then nothing is written.
    """
    threshold = _threshold(classifier)
    if second_opinion is not None:
        _threshold(second_opinion)
    if second_opinion is not None and second_opinion.policy_id != classifier.policy_id:
        raise _wrong("second_opinion", "is of another policy than the classifier")
    if second_opinion == classifier:
        raise _wrong("second_opinion", "must be another classifier than the one attacked")
    _known(classifier, settings)
    check_key_variables(settings.model_dump(mode="json"))
    with transaction.atomic():
        attack = Attack.objects.create(
            policy=classifier.policy,
            classifier=classifier,
            threshold=threshold,
            role=AttackRole.ALONE,
            name=settings.name,
            title=settings.title,
            config=settings.config,
            budget=settings.budget.model_dump(exclude_none=True),
            seed=settings.seed,
            second_opinion=second_opinion,
            wanted=settings.seeds.model_dump(mode="json"),
            created_by=created_by,
        )
        enqueue(CHOOSE_SEEDS, {}, attack=attack.pk, queue="scoring", created_by=created_by)
    return attack


def attack_cancel(*, attack: Attack) -> Attack:
    """Ends it; what it found so far stays. Raises DomainError `attack_of_a_round` or `attack_finished`."""
    if attack.round_id is not None:
        raise DomainError("attack_of_a_round", "The attack is part of a round; cancel the round.")
    with transaction.atomic():
        moved = attack.cancel()
        if moved:
            cancel_jobs(attack)
    attack.refresh_from_db()
    if not moved:
        raise DomainError("attack_finished", f"The attack has ended before: {attack.state}.")
    return attack


def _wrong(field: str, message: str) -> DomainError:
    errors = [FieldError(tuple(field.split(".")), "invalid", message)]
    return DomainError("invalid", f"{field}: {message}", errors=errors)


def _threshold(row: Classifier) -> float:
    if row.threshold is None:
        raise DomainError("classifier_not_calibrated", f"{row.name} has no threshold yet.")
    return row.threshold


def _known(classifier: Classifier, settings: LoneAttack) -> None:
    round_ = settings.seeds.round
    if round_ is not None and not Round.objects.filter(pk=round_, policy=classifier.policy_id).exists():
        raise _wrong("seeds.round", f"{classifier.policy} has no such round")
    named, failure = settings.seeds.snippets, classifier.policy.rules.failure
    found: dict[uuid.UUID, str | None] = {}
    for chunk in chunked(named, 1000):
        rows = Snippet.objects.filter(policy=classifier.policy_id, pk__in=chunk)
        found |= dict(rows.values_list("pk", "consensus__choice"))
    missing = [position for position, key in enumerate(named) if key not in found]
    if missing:
        message = f"{classifier.policy} has no such snippet"
        errors = [FieldError(("seeds", "snippets", at), "does_not_exist", message) for at in missing[:100]]
        raise DomainError("invalid", f"{len(missing)} of {len(named)} seeds are not there.", errors=errors)
    harmless = [position for position, key in enumerate(named) if found[key] not in (None, failure)]
    if harmless:
        errors = [
            FieldError(("seeds", "snippets", at), "not_a_failure", f"is labelled {found[named[at]]}, not {failure}")
            for at in harmless[:100]
        ]
        raise DomainError("invalid", f"{len(harmless)} of {len(named)} seeds are no failures.", errors=errors)
