"""Jobs for `manage.py evaluate --judgements`: a classifier trained on a part of what a crowd judged, and its threshold.

A failure is a text whose consensus is the policy's most severe choice, everything else is none: of a crowd that was
asked to mark toxic words, hardly any text is left that all call harmless.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from engine.classifiers import Example, Recipe, train
from engine.classifiers.apart import train_apart
from engine.classifiers.composing import Composing
from engine.environment import environment
from engine.errors import BadInput
from engine.evaluation.acceptance import threshold_at_acceptance
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Consensus, DatasetSnapshot, Policy, SplitName
from workers.artifacts import register
from workers.conditions import Condition, Dataset
from workers.evaluate import logits_in_order
from workers.jobs import JobRun
from workers.scoring import load_classifier, score_snippets
from workers.snapshots import snapshot_of, training_rows

TRAIN_JUDGED = "train_judged"
MAX_TOKENS = 128
"""Of a comment: few are longer."""
CONDITION = Condition(name="judged", datasets=(Dataset(name="judged", initial=True),))


def train_judged(run: JobRun) -> dict[str, Any]:
    """Trains on what is labelled of the training split of `args["policy"]`, from `args["encoder"]` and `args["seed"]`;
    scores the validation split, and sets the threshold that accepts `args["accept"]` of what does not fail there.

    A classifier that is there already is not trained again.
    """
    policy, seed = Policy.objects.get(pk=run.args["policy"]), int(run.args["seed"])
    snapshot = snapshot_of(policy, CONDITION, Composing(), seed=0)
    recipe = Recipe(encoder=run.args["encoder"], seed=seed, max_tokens=MAX_TOKENS, export_int8=False)
    rows = Classifier.objects.filter(policy=policy, snapshot__content_hash=snapshot.content_hash)
    row = next((one for one in rows.exclude(artifact=None) if Recipe(**one.recipe) == recipe), None)
    row = row or _trained(run, snapshot, recipe)
    _set_threshold(run, row, float(run.args["accept"]))
    return {"classifier": str(row.pk), "examples": snapshot.size}


def _trained(run: JobRun, snapshot: DatasetSnapshot, recipe: Recipe) -> Classifier:
    key = hashlib.sha256(recipe.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]
    folder = Path(settings.GAUNTLET_HOME) / "classifiers" / str(snapshot.policy_id) / f"{snapshot.content_hash}-{key}"
    failure = snapshot.policy.rules.failure
    examples = [
        Example(SnippetText(one.prompt, one.completion), one.choice == failure) for one in training_rows(snapshot)
    ]
    trainer = train if settings.EMBEDDED else train_apart
    checkpoints = folder.parent / "checkpoints" / folder.name
    trained = trainer(examples, recipe, out_dir=folder, checkpoints=checkpoints, progress=run.progress)
    return Classifier.objects.create(
        policy=snapshot.policy,
        name=f"{snapshot.policy.name} judged, {recipe.encoder}, seed {recipe.seed}"[:100],
        condition=CONDITION.name,
        snapshot=snapshot,
        artifact=register(folder, "classifier"),
        encoder=recipe.encoder,
        recipe=recipe.model_dump(),
        precision="fp32",
        environment=environment(),
        metrics={"training": {**trained.plain(), "path": None}},
    )


def _set_threshold(run: JobRun, row: Classifier, accept: float) -> None:
    said = Consensus.objects.filter(snippet__policy=row.policy_id, snippet__split=SplitName.VALIDATION)
    columns = list(said.order_by("snippet__content_hash").values_list("snippet_id", "choice"))
    if not columns:
        raise BadInput("nothing is labelled of the validation split, which sets the threshold", where=str(row.policy))
    ids = [pk for pk, _ in columns]
    score_snippets(row, load_classifier(row), ids, run.progress)
    sound = np.array([choice != row.policy.rules.failure for _, choice in columns])
    chosen = threshold_at_acceptance(logits_in_order(row, ids)[sound], accept, seed=0)
    row.threshold, row.metrics = chosen.threshold, {**row.metrics, "acceptance": chosen.as_dict()}
    row.save(update_fields=["threshold", "metrics"])
