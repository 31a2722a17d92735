"""What `manage.py evaluate` is asked for, from its options: the evaluation that was begun for it, or a new one."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from engine.errors import BadInput
from webapi.management.judged_evaluation import prepare
from webapi.models import Classifier, Evaluation, EvaluationState, Round
from webapi.models.evaluations import UNFINISHED
from webapi.services.evaluations import evaluation_begin, evaluation_create
from workers.evaluation_settings import evaluation_settings
from workers.round_settings import comparing_adapter, round_settings


def asked_evaluation(folder: Path | None, options: dict[str, Any]) -> Evaluation:
    """Of a round's classifier or, with a folder, on a crowd's judgements. Raises CommandError for options that do not
    go together, and what `evaluation_create` and `prepare` raise."""
    _check_difference(options)
    _check_quality(options)
    return _on_judgements(folder, options) if folder else _on_round(options)


def _check_difference(options: dict[str, Any]) -> None:
    """Raises CommandError for options that a difference has no place for."""
    if options["parent"] and not options["against"]:
        raise CommandError("--parent is of a difference: say with --against which classifier it was of")
    for name in ("improvement", "power"):
        if options[name] is not None and not options["against"]:
            raise CommandError(f"--{name} is of a difference: say with --against of which")
    if options["prompts"] is not None and options["judgements"]:
        raise CommandError("--prompts is of a round's; of a crowd's comments all that were held out are looked at")
    if options["against"] and options["judgements"]:
        raise CommandError(
            "--against compares filters of a round's classifiers: a crowd's comments are drawn through neither, so "
            "leave --judgements out"
        )


def _check_quality(options: dict[str, Any]) -> None:
    """Raises CommandError for options that the check of quality has no place for."""
    for name in ("against", "second", "parent", "design", "judgements", "pilot", "guess"):
        if options["quality"] and options[name]:
            raise CommandError(f"--{name}: --quality compares one filter with no filter, on every pair in doubt")
    if options["quality"] and options["copies"] != 1:
        raise CommandError("--copies: --quality takes one comparison a prompt")


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    if options["quality"]:
        few = ("price", "seconds", "labels_each", "seed")
        width = {} if options["precision"] is None else {"quality": {"half_width": options["precision"]}}
        return {**{name: options[name] for name in few}, **width, "buy": not options["plan"]}
    names = ("interval", "guess", "pilot", "price", "seconds", "labels_each", "confirmations", "seed")
    given = {"relative": options["precision"], "improvement": options["improvement"], "power": options["power"]}
    said = {name: value for name, value in given.items() if value is not None}
    design = options["design"] or "simple_random"
    return {**{name: options[name] for name in names}, "design": design, **said, "buy": not options["plan"]}


def _on_round(options: dict[str, Any]) -> Evaluation:
    classifier = row_named(Classifier, options["classifier"], "classifier") if options["classifier"] else None
    round_ = (
        row_named(Round, options["round"], "round") if options["round"] else classifier.round if classifier else None
    )
    ready = Classifier.objects.exclude(artifact=None).exclude(threshold=None).exclude(round=None)
    if classifier is None:
        mine = ready.filter(round=round_) if round_ else ready
        classifier = mine.order_by("-round", "-pk").select_related("policy", "round").first()
    if classifier is None:
        raise CommandError("no round has a calibrated classifier yet: run one first (make demo)")
    round_ = round_ or classifier.round
    labeling = round_settings(round_.config).labeling if round_ else None
    settings = {
        **_asked(options),
        "outputs": {
            "source": "round",
            "round": str(round_.pk) if round_ else None,
            "copies": options["copies"],
            "limit": options["prompts"],
        },
        **({"adapter": labeling.adapter, "config": labeling.config} if labeling else {}),
        **(_comparing(round_) if options["quality"] and round_ else {}),
    }
    others: dict[str, Any] = {
        "kind": "quality" if options["quality"] else "difference" if options["against"] else "failure_rate",
        "second": _row_if_any(Classifier, options["second"], "classifier"),
        "against": _row_if_any(Classifier, options["against"], "classifier"),
        "parent": _row_if_any(Evaluation, options["parent"], "evaluation"),
    }
    return _found(classifier, others, settings)


def _comparing(round_: Round) -> dict[str, Any]:
    """Who compared for the round compares here; people, where nobody did."""
    wanted = round_settings(round_.config)
    adapter = comparing_adapter(wanted) or "pull"
    return {"adapter": adapter, "config": wanted.labeling.config if adapter == wanted.labeling.adapter else {}}


def _on_judgements(folder: Path, options: dict[str, Any]) -> Evaluation:
    encoders = (options["encoder"], options["second_encoder"] or options["encoder"])
    asked = {**_asked(options), "confirmed_by": "consensus"}
    ready = prepare(folder, accept=options["accept"], encoders=encoders, train=options["train"], wanted=asked)
    settings = {
        **asked,
        "outputs": {"source": "texts", "split": "test"},
        "adapter": "recorded",
        "config": {"folder": str(folder)},
        "guess": asked["guess"] or (None if asked["pilot"] else ready.guess),
        "false_yes": ready.false_yes,
        "relative": 0.15 if options["precision"] is None else options["precision"],
    }
    return _found(
        ready.classifier, {"kind": "failure_rate", "second": ready.second, "against": None, "parent": None}, settings
    )


def _found(classifier: Classifier, others: dict[str, Any], settings: dict[str, Any]) -> Evaluation:
    """The evaluation that was begun with these settings, or a new one; one that was only planned goes on to buy."""
    wanted = evaluation_settings(settings).model_dump(mode="json")
    rows = Evaluation.objects.filter(classifier=classifier, threshold=classifier.threshold, **others)
    for row in rows.exclude(state__in=[EvaluationState.FAILED, EvaluationState.CANCELLED]).order_by("-pk"):
        if _same(row.config, wanted) and (row.plan or row.state in UNFINISHED):
            if row.state == EvaluationState.PLANNED and wanted["buy"]:
                return evaluation_begin(evaluation=row)
            return row
    return evaluation_create(classifier=classifier, settings=settings, **others)


def _same(config: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the two ask for the same, but for buying; settings of before lack what came since."""
    try:
        found = evaluation_settings(config).model_dump(mode="json")
    except BadInput:  # settings that were allowed once are not asked for now
        return False
    return {**found, "buy": None} == {**wanted, "buy": None}


def row_named(model: Any, key: str, what: str) -> Any:
    """The row of that key. Raises CommandError where there is none."""
    try:
        return model.objects.get(pk=uuid.UUID(key))
    except (ValueError, ValidationError, model.DoesNotExist):
        raise CommandError(f"there is no {what} {key!r}") from None


def _row_if_any(model: Any, key: str | None, what: str) -> Any:
    return row_named(model, key, what) if key else None
