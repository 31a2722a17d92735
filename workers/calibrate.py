"""Stages `calibrate_baseline` and `calibrate`: the threshold at which the filter costs the wanted KL divergence."""

from __future__ import annotations

from typing import Any

from engine.classifiers import Classifier as Scorer
from engine.evaluation.threshold import threshold_at_kl
from engine.progress import Progress
from webapi.models import Classifier, Pool, Round, SplitName
from webapi.selectors.rounds import known_failures
from workers.jobs import JobRun
from workers.round_settings import round_settings
from workers.scoring import alternate_logits, load_classifier, score_snippets
from workers.train import BASELINE, classifier_of, retrained_of


def calibrate_baseline(run: JobRun) -> dict[str, Any]:
    """Sets the baseline's threshold, and scores the known failures: attacks start nearest to it."""
    result = _calibrate(run, BASELINE)
    row = classifier_of(run.round, BASELINE)
    failures = known_failures(run.round, Pool.INITIAL)
    return {**result, "failures": score_snippets(row, load_classifier(row), failures, run.progress)}


def calibrate_retrained(run: JobRun) -> dict[str, Any]:
    """Sets the retrained classifier's threshold."""
    return _calibrate(run, retrained_of(run.round))


def _calibrate(run: JobRun, condition: str) -> dict[str, Any]:
    row = classifier_of(run.round, condition)
    return calibrate_on(run.round, row, load_classifier(row), run.progress)


def calibrate_on(round_: Round, row: Classifier, scorer: Scorer, progress: Progress) -> dict[str, Any]:
    """Sets a classifier's threshold by the alternates of the round's validation prompts."""
    wanted = round_settings(round_.config)
    logits = alternate_logits(round_, row, scorer, SplitName.VALIDATION, progress)
    draws = wanted.sizes.validation_completions
    chosen = threshold_at_kl(logits.reshape(-1, draws), target=wanted.target_kl, seed=round_.seed)
    row.threshold = chosen.threshold
    row.metrics = {**row.metrics, "calibration": chosen.as_dict()}
    row.save(update_fields=["threshold", "metrics"])
    return {"scored": int(logits.size), "threshold": chosen.threshold}
