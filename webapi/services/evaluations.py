"""Evaluations that buy labels: planned, begun, cancelled, set going again; and their reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.utils import timezone

from engine.errors import BadInput
from engine.evaluation.difference_ways import way_of
from engine.evaluation.purchase_data import PurchaseReport
from labeling_adapters import adapter_named, compares
from webapi.errors import DomainError, FieldError
from webapi.models import BatchState, Classifier, Evaluation, EvaluationKind, SplitName, User
from webapi.services.batches import batch_move
from webapi.services.key_variables import check_key_variables
from workers.artifacts import verified
from workers.evaluation_settings import EvaluationSettings, evaluation_settings
from workers.evaluation_sources import round_of
from workers.evaluations import begin, cancel_jobs, evaluation_open, set_going
from workers.publish import wake


def evaluation_create(
    *,
    classifier: Classifier,
    settings: Mapping[str, Any],
    kind: str = "",
    against: Classifier | None = None,
    second: Classifier | None = None,
    parent: Evaluation | None = None,
    name: str = "",
    created_by: User | None = None,
) -> Evaluation:
    """A new evaluation: of the classifier's filter, or with `against` of the difference between the two. Jobs draw its
    outputs and plan; then labels are bought, unless `settings` say to stop at the plan.

    Raises BadInput naming each wrong field, DomainError `invalid` for things that do not belong together,
    `classifier_not_calibrated`, `classifier_not_trained`, and `name_taken`; then nothing is written.
    """
    wanted = evaluation_settings(settings)
    found = _kind(kind, against)
    if found == EvaluationKind.QUALITY:
        _check_quality(settings, wanted, {"second": second, "parent": parent})
    for field, row in (("classifier", classifier), ("against", against), ("second", second)):
        if row is not None:
            _check_classifier(field, row, classifier, threshold=field != "second")
    if against is not None and against.pk == classifier.pk:
        raise _wrong("against", "is the classifier itself")
    if parent is not None and (against is None or parent.classifier_id != against.pk or "tiers" not in parent.results):
        raise _wrong("parent", "must be an evaluation, with its answer, of the classifier that this one is against")
    check_key_variables(dict(wanted.config))
    adapter_named(wanted.adapter, classifier.policy.rules, config=wanted.config)
    if wanted.outputs.source == "round" or wanted.outputs.round:
        round_of(classifier, wanted.outputs)
    if against is not None:
        _check_difference(wanted, second)
    name = name or _free_name(classifier, found)
    try:
        evaluation = evaluation_open(
            classifier=classifier,
            wanted=wanted,
            name=name,
            kind=found,
            against=against,
            second=second,
            parent=parent,
            created_by=created_by,
        )
    except IntegrityError as error:
        raise DomainError("name_taken", f"{classifier.name} has an evaluation {name!r} already.") from error
    return evaluation


def _kind(kind: str, against: Classifier | None) -> EvaluationKind:
    """What is measured, by name or by what it is held against."""
    by_rows = EvaluationKind.FAILURE_RATE if against is None else EvaluationKind.DIFFERENCE
    if kind == EvaluationKind.QUALITY:
        if against is not None:
            raise _wrong("against", "quality is measured of one filter: against the generator without it")
        return EvaluationKind.QUALITY
    if kind not in ("", by_rows):
        raise _wrong("kind", f"must be {by_rows.value} here, or quality")
    return by_rows


def _check_quality(settings: Mapping[str, Any], wanted: EvaluationSettings, rows: Mapping[str, Any]) -> None:
    """Refuses what would be ignored, and what would not be fresh."""
    for field, row in rows.items():
        if row is not None:
            raise _wrong(field, "quality is compared by people: no other evaluation or opinion has a part in it")
    if wanted.outputs.source != "round":
        raise _wrong("outputs", "quality takes fresh completions of a generator: source must be round")
    if wanted.outputs.split != SplitName.TEST:
        raise _wrong("outputs", "thresholds are chosen on that split's prompts: quality takes those of test")
    if wanted.outputs.copies != 1:
        raise _wrong("outputs", "one comparison a prompt: copies must be 1")
    for field in ("design", "pilot"):
        if settings.get(field):
            raise _wrong(field, "every pair in doubt is compared: nothing is sampled")
    for field in ("guess", "confirmations", "relative", "interval", "false_yes", "improvement", "power"):
        if field in settings:
            raise _wrong(field, "is of failures: quality has `quality.half_width` and `quality.loss`")
    if not compares(wanted.adapter):
        raise _wrong("adapter", f"{wanted.adapter} takes no comparisons")


def evaluation_begin(*, evaluation: Evaluation) -> Evaluation:
    """Has the labels of a plan that waits bought. Raises DomainError `evaluation_not_planned`."""
    with transaction.atomic():
        moved = begin(evaluation)
        if moved:
            config = {**evaluation.config, "buy": True}
            Evaluation.objects.filter(pk=evaluation.pk).update(config=config)
    evaluation.refresh_from_db()
    if not moved:
        raise DomainError("evaluation_not_planned", f"The evaluation is {evaluation.state}.")
    wake()
    return evaluation


def evaluation_cancel(*, evaluation: Evaluation) -> Evaluation:
    """Ends it and takes its open tasks back; labels that were bought stay. Raises DomainError `evaluation_finished`."""
    with transaction.atomic():
        moved = evaluation.cancel()
        if moved:
            cancel_jobs(evaluation)
            for batch in evaluation.batches.filter(state=BatchState.OPEN):
                with suppress(DomainError):  # it has just ended: there is nothing left to take back
                    batch_move(batch=batch, move="cancel")
    evaluation.refresh_from_db()
    if not moved:
        raise DomainError("evaluation_finished", f"The evaluation has ended before: {evaluation.state}.")
    return evaluation


def evaluation_retry(*, evaluation: Evaluation) -> Evaluation:
    """Sets a failed or cancelled one going again: what is drawn is not drawn again, what is bought is used. Raises
    DomainError `evaluation_not_stopped`."""
    moved = set_going(evaluation)
    if not moved:
        raise DomainError("evaluation_not_stopped", f"The evaluation is {evaluation.state}.")
    evaluation.refresh_from_db()
    wake()
    return evaluation


def evaluation_file(evaluation: Evaluation, name: str) -> Path:
    """`report.json` or `report.html`. Raises DomainError `evaluation_not_reported`."""
    if evaluation.report is None:
        raise DomainError("evaluation_not_reported", f"{evaluation.name} has no report: it is {evaluation.state}.")
    return verified(evaluation.report) / name


def evaluation_report(evaluation: Evaluation) -> PurchaseReport:
    """The report's figures. Raises DomainError `evaluation_not_reported`."""
    text = evaluation_file(evaluation, "report.json").read_text(encoding="utf-8")
    return cast(PurchaseReport, json.loads(text))


def _check_difference(wanted: EvaluationSettings, second: Classifier | None) -> None:
    """What only a failure rate has a place for. Raises DomainError `invalid`."""
    if wanted.pilot:
        raise _wrong("pilot", "a difference is planned from `guess`, or from the evaluation that it goes on from")
    if second is not None:
        raise _wrong("second", "of a difference the second opinion on an output is the other filter's own")
    try:
        way_of(wanted.design)
    except BadInput as error:
        raise _wrong("design", str(error).removeprefix("design: ")) from None


def _check_classifier(field: str, row: Classifier, first: Classifier, *, threshold: bool) -> None:
    if row.policy_id != first.policy_id:
        raise _wrong(field, "is of another policy")
    if row.artifact_id is None:
        raise DomainError("classifier_not_trained", f"{row.name} has no weights yet.")
    if threshold and row.threshold is None:
        raise DomainError("classifier_not_calibrated", f"{row.name} has no threshold yet.")


def _free_name(classifier: Classifier, kind: str) -> str:
    title = EvaluationKind(kind).value.replace("_", " ")
    now = timezone.now()
    name = f"{title} {now:%Y-%m-%d %H:%M:%S}"
    return f"{name}.{now:%f}" if classifier.evaluations.filter(name=name).exists() else name


def _wrong(field: str, message: str) -> DomainError:
    return DomainError("invalid", f"{field}: {message}", errors=[FieldError((field,), "invalid", message)])
