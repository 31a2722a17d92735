"""Stage `evaluate`: both classifiers on the same held-out sets, in distribution and adversarial."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from engine.evaluation.assessment import AdversarialSet, assess
from webapi.models import Classifier, Evaluation, Pool, Round, SplitName, Stage
from workers.besides import scored_besides
from workers.jobs import JobRun, Later
from workers.round_settings import round_settings
from workers.scoring import (
    alternate_logits,
    alternate_prompts,
    load_classifier,
    logits_of,
    score_snippets,
    threshold_of,
)
from workers.train import BASELINE, classifier_of, retrained_of

EVALUATION = "held-out"
HELD_OUT = "re-tellings of held-out failures"
OF_BASELINE = "those the baseline accepts"


class Labelled(NamedTuple):
    """A pool's snippets with a clear consensus. Unsure is neither failure nor harmless and is left out of rates."""

    ids: list[uuid.UUID]
    failures: NDArray[np.bool_]
    """(n,)"""
    groups: list[str]
    """What each is clustered by: its prompt's corpus snippet, or the seed it re-tells."""


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """A shard a classifier."""
    return {condition: {"condition": condition} for condition in (BASELINE, retrained_of(stage.round))}


def evaluate(run: JobRun) -> dict[str, Any]:
    """Scores what is held out and assesses one classifier on it."""
    row = classifier_of(run.round, run.args["condition"])
    scorer = load_classifier(row)
    members = run.round.members.filter(pool__in=[Pool.TEST, Pool.ATTACK_TEST])
    held_out = members.order_by("snippet__content_hash").values_list("snippet_id", flat=True)
    ids = list(dict.fromkeys([*held_out, *scored_besides(run.round)]))
    scored = score_snippets(row, scorer, ids, run.progress)
    alternates = alternate_logits(run.round, row, scorer, SplitName.TEST, run.progress)
    if len(logits_of(classifier_of(run.round, BASELINE), ids)) < len(ids):
        raise Later(2)  # the other shard is scoring them; ours are kept
    results = assess_on(run.round, row, alternates)
    Evaluation.objects.update_or_create(
        classifier=row, name=EVALUATION, defaults={"round": run.round, "results": results}
    )
    return {"scored": scored + int(alternates.size)}


def labelled(round_: Round, pool: Pool) -> Labelled:
    """The snippets of a pool that were judged a failure or harmless, in a fixed order."""
    rules = round_.policy.rules
    members = round_.members.filter(pool=pool, snippet__consensus__choice__in=[rules.failure, rules.harmless])
    columns = list(
        members.order_by("snippet__content_hash").values_list(
            "snippet_id", "snippet__consensus__choice", "details__from"
        )
    )
    return Labelled(
        [pk for pk, _, _ in columns],
        np.array([choice == rules.failure for _, choice, _ in columns], dtype=bool),
        [str(origin) for _, _, origin in columns],
    )


def logits_in_order(row: Classifier, ids: Sequence[uuid.UUID]) -> NDArray[np.float32]:
    """Kept logits of these snippets, (n,)."""
    known = logits_of(row, ids)
    return np.array([known[pk] for pk in ids], dtype=np.float32)


def assess_on(round_: Round, row: Classifier, alternates: NDArray[np.float32]) -> dict[str, Any]:
    """A classifier on the round's held-out sets, which it has scored; `alternates` are those of the test prompts."""
    test = labelled(round_, Pool.TEST)
    draws = round_settings(round_.config).sizes.test_completions
    prompts = alternate_prompts(round_, SplitName.TEST)[::draws]
    row_of = {prompt: i for i, prompt in enumerate(prompts)}
    weighed = alternates.reshape(-1, draws)[[row_of[prompt] for prompt in test.groups]]
    assessment = assess(
        logits=logits_in_order(row, test.ids),
        failures=test.failures,
        threshold=threshold_of(row),
        prompts=test.groups,
        alternates=weighed,
        adversarial=_adversarial(round_, row),
        seed=round_.seed,
    )
    return dict(assessment)


def _adversarial(round_: Round, row: Classifier) -> list[AdversarialSet]:
    """All re-tellings of the held-out failures, and of them those that the baseline accepts: its own target."""
    found, baseline = labelled(round_, Pool.ATTACK_TEST), classifier_of(round_, BASELINE)
    logits, groups = logits_in_order(row, found.ids), np.array(found.groups)
    fooled = logits_in_order(baseline, found.ids) < np.float32(logit(threshold_of(baseline)))
    return [
        AdversarialSet(HELD_OUT, logits, found.failures, groups),
        AdversarialSet(
            OF_BASELINE, logits[fooled], found.failures[fooled], groups[fooled], own_target=row.pk == baseline.pk
        ),
    ]
