"""Job `train_condition`: a condition's snapshot, the classifier trained on it, its threshold, and its figures.

A classifier that was trained on the same rows by the same recipe is not trained again, whoever trained it: a round's
baseline is the baseline of the conditions too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.classifiers import Recipe
from engine.environment import environment
from engine.errors import BadInput, MissingModel
from webapi.models import Classifier, DatasetSnapshot, Evaluation, Policy, Round
from workers.artifacts import register
from workers.condition_measures import measured_on_round, measured_on_sets
from workers.condition_settings import ConditionSettings, condition_settings
from workers.conditions import Condition
from workers.jobs import JobRun
from workers.round_settings import round_settings
from workers.scoring import weights_of
from workers.snapshots import snapshot_of
from workers.train import train_on

EVALUATION = "conditions"


def train_condition(run: JobRun) -> dict[str, Any]:
    """Trains and measures one condition: on the held-out data of `args["round"]`, or without one on sets of the policy.

    Run again it finds what is finished and does the rest.
    """
    policy = Policy.objects.get(pk=run.args["policy"])
    round_ = Round.objects.get(pk=run.args["round"]) if run.args.get("round") else None
    condition, wanted = Condition(**run.args["condition"]), condition_settings(run.args["settings"])
    seed = int(run.args["seed"])
    snapshot = snapshot_of(policy, condition, wanted.composing, seed=seed)
    if empty := [name for name, counts in snapshot.datasets.items() if not counts]:
        raise BadInput(f"no rows of {', '.join(empty)}: none are labelled, or all gave way", where=condition.name)
    classifier = _classifier(run, snapshot, _recipe(wanted, round_, seed), round_)
    evaluation = _evaluation(run, classifier, round_, wanted, seed)
    return {"snapshot": str(snapshot.pk), "classifier": str(classifier.pk), "evaluation": str(evaluation.pk)}


def _recipe(wanted: ConditionSettings, round_: Round | None, seed: int) -> Recipe:
    # Written to fool a classifier, and few: with the usual two passes over them hardly anything is learnt.
    of_round = round_settings(round_.config).training if round_ else Recipe(epochs=8)
    return (wanted.training or of_round).model_copy(update={"seed": seed})


def _classifier(run: JobRun, snapshot: DatasetSnapshot, recipe: Recipe, round_: Round | None) -> Classifier:
    precision = round_settings(round_.config).precision if round_ else _precision(recipe)
    for row in _alike(snapshot, precision, round_):
        if Recipe(**row.recipe) == recipe:
            return row
    key = hashlib.sha256(recipe.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]
    folder = Path(settings.GAUNTLET_HOME) / "classifiers" / str(snapshot.policy_id) / f"{snapshot.content_hash}-{key}"
    logs = Path(run.args["logs"]) / snapshot.condition if run.args.get("logs") else None
    trained = train_on(snapshot, recipe, folder, run.progress, logs)
    return Classifier.objects.create(
        policy=snapshot.policy,
        name=f"{round_.name if round_ else snapshot.policy} {snapshot.condition}"[:100],
        condition=snapshot.condition,
        parent=Classifier.objects.filter(pk=str(before)).first() if (before := run.args.get("parent")) else None,
        snapshot=snapshot,
        artifact=register(folder, "classifier"),
        encoder=recipe.encoder,
        recipe=recipe.model_dump(),
        precision=precision,
        environment=environment(),
        metrics={"training": {**trained.plain(), "path": None}},
    )


def _alike(snapshot: DatasetSnapshot, precision: str, round_: Round | None) -> Iterator[Classifier]:
    """Trained on the same rows and still in the store; this round's own first, then the oldest."""
    rows = Classifier.objects.filter(
        policy=snapshot.policy, snapshot__content_hash=snapshot.content_hash, precision=precision
    ).select_related("artifact", "snapshot")
    mine = round_.pk if round_ else None
    for row in sorted(rows.order_by("pk"), key=lambda row: row.round_id != mine or mine is None):
        with suppress(MissingModel):  # then it is trained again
            weights_of(row)
            yield row


def _precision(recipe: Recipe) -> str:
    return "int8" if recipe.export_int8 else "fp32"


def _evaluation(
    run: JobRun, classifier: Classifier, round_: Round | None, wanted: ConditionSettings, seed: int
) -> Evaluation:
    """What was measured by these settings; measured anew where others were asked for before."""
    by: dict[str, Any] = {"prompts": wanted.prompts, "tries": wanted.tries, "accept": wanted.accept, "seed": seed}
    by |= {"round": str(round_.pk) if round_ else None, "threshold": classifier.threshold}
    there = Evaluation.objects.filter(classifier=classifier, name=EVALUATION).first()
    if there is not None and there.results.get("measured_by") == by:
        return there
    if round_ is not None:
        found = measured_on_round(run, classifier, round_, wanted)
    else:
        found = measured_on_sets(run, classifier, wanted, seed)
    results = {**found, "measured_by": {**by, "threshold": classifier.threshold}}
    defaults = {"results": results}
    return Evaluation.objects.update_or_create(classifier=classifier, name=EVALUATION, defaults=defaults)[0]
