"""An evaluation on a crowd's judgements: what is made ready for it, and its answer beside all that was said."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.aggregation import Vote, rule_named
from engine.errors import BadInput
from engine.evaluation import wording
from engine.evaluation.confirming import standing
from engine.evaluation.label_error import rogan_gladen
from engine.evaluation.rates import Rate
from engine.evaluation.second_opinion import Correlation, second_opinion
from engine.policies import load_policy
from labeling_adapters.recorded import Said, answers_in
from webapi.management.one_job import run_jobs
from webapi.models import Classifier, Evaluation, Job, JobState, Policy, Snippet, SplitName
from webapi.services.policies import policy_create
from workers.evaluation_pool import read_outputs
from workers.evaluation_settings import EvaluationSettings, evaluation_settings
from workers.jobs import enqueue
from workers.judged import TRAIN_JUDGED
from workers.scoring import logits_of

GO_ON = "the same command"
POLICY = "toxic-recorded"
"""A policy of its own: under it, what is evaluated has no labels until they are bought."""
TRAINED_ON = 3000
"""Comments of the training split that come with their judgements."""


class Prepared(NamedTuple):
    """Two classifiers trained on a part of the judgements, and what validation says of the answers to be bought."""

    classifier: Classifier
    second: Classifier
    guess: float | None
    false_yes: float


def prepare(folder: Path, *, accept: float, encoders: tuple[str, str], train: int, wanted: dict[str, Any]) -> Prepared:
    """Imports the comments, trains one classifier and another with another seed (or encoder), sets thresholds, and
    looks among accepted validation comments how often the rule that counts failures says so. Run again it finds all.
    """
    spec = load_policy("toxic").model_dump(mode="json")
    policy = policy_create(spec={**spec, "name": POLICY})
    most = {SplitName.TRAIN.value: train, SplitName.VALIDATION.value: None}
    args = {"path": str(folder), "policy": str(policy.pk), "labels": most}
    if not Job.objects.filter(kind="import_judgements", args=args, state=JobState.SUCCEEDED).exists():
        run_jobs([enqueue("import_judgements", args)], "Importing comments", go_on=GO_ON)
    rows = [_trained(policy, encoder, seed, accept) for seed, encoder in enumerate(encoders)]
    first = _validation(rows[0], folder, evaluation_settings({**wanted, "outputs": {"source": "texts"}}))
    return Prepared(rows[0], rows[1], *first)


def _trained(policy: Policy, encoder: str, seed: int, accept: float) -> Classifier:
    args = {"policy": str(policy.pk), "encoder": encoder, "seed": seed, "accept": accept}
    (job,) = run_jobs([enqueue(TRAIN_JUDGED, args, queue="training")], f"Training, seed {seed}", go_on=GO_ON)
    return Classifier.objects.select_related("policy", "artifact").get(pk=job.result["classifier"])


class _Verdicts(NamedTuple):
    """By text: what the rule that counts failures says of the answers in their order, and the consensus of all."""

    counted: NDArray[np.bool_]
    suspected: NDArray[np.bool_]
    consensus: NDArray[np.bool_]


def _verdicts(policy: Policy, hashes: list[str], folder: Path, wanted: EvaluationSettings) -> _Verdicts:
    answers = answers_in(str(folder))
    rows = [_verdict(policy, answers.get(digest, ()), wanted) for digest in hashes]
    return _Verdicts(*(np.array(column, dtype=np.bool_) for column in zip(*rows, strict=True)))


def _verdict(policy: Policy, said: tuple[Said, ...], wanted: EvaluationSettings) -> tuple[bool, bool, bool]:
    rules = policy.rules
    votes = [Vote(one.annotator, one.choice) for one in said]
    rule = rule_named(rules.aggregation)
    given = votes[: wanted.labels_each]
    by = {"first": wanted.labels_each, "confirmations": wanted.confirmations, "by": wanted.confirmed_by}
    found = standing(given, rule(given, rules.choices), rules.failure, most=len(votes), **by)  # type: ignore[arg-type]
    while found.lacking:
        given = votes[: len(given) + found.lacking]
        found = standing(given, rule(given, rules.choices), rules.failure, most=len(votes), **by)  # type: ignore[arg-type]
    return found.failure, found.suspected, rule(votes, rules.choices) == rules.failure


def _accepted(row: Classifier, split: SplitName) -> list[Snippet]:
    rows = list(Snippet.objects.filter(policy=row.policy, split=split).order_by("content_hash", "external_id"))
    logits = logits_of(row, [one.pk for one in rows])
    cutoff = np.float32(np.log(row.threshold or 0.5) - np.log1p(-(row.threshold or 0.5)))
    return [one for one in rows if np.float32(logits.get(one.pk, np.inf)) < cutoff]


def _validation(row: Classifier, folder: Path, wanted: EvaluationSettings) -> tuple[float | None, float]:
    """The rate expected and the share of sound texts whose first answer says failure, among accepted ones."""
    hashes = [one.content_hash for one in _accepted(row, SplitName.VALIDATION)]
    if not hashes:
        raise BadInput("the filter accepts no validation comment: accept more", where="accept")
    found = _verdicts(row.policy, hashes, folder, wanted)
    rate = float(found.counted.mean())
    sound = ~found.counted
    return rate if 0 < rate < 1 else None, float(found.suspected[sound].mean()) if sound.any() else 0.0


def compare(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """The answer beside what all recorded answers say of every output of the filter, and what the savings rest on."""
    wanted, outputs = evaluation_settings(evaluation.config), read_outputs(evaluation)
    policy = evaluation.classifier.policy
    keys = [uuid.UUID(origin) for origin in outputs.origins]
    hashes = dict(Snippet.objects.filter(policy=policy).values_list("pk", "content_hash"))
    census = _verdicts(policy, [hashes[key] for key in keys], folder, wanted)
    validation = [one.content_hash for one in _accepted(evaluation.classifier, SplitName.VALIDATION)]
    known = _verdicts(policy, validation, folder, wanted)
    estimate = evaluation.results["tiers"]["estimate"]
    corrected = rogan_gladen(
        int(estimate["failures"]), int(estimate["n"]), level=wanted.level,
        failures_found=(int((known.counted & known.consensus).sum()), int(known.consensus.sum())),
        sound_passed=(int((~known.counted & ~known.consensus).sum()), int((~known.consensus).sum())),
    ) if evaluation.design == "simple_random" else None  # fmt: skip
    opinion = (
        second_opinion(outputs.pool.logits, outputs.pool.second, census.consensus)
        if outputs.pool.second is not None
        else None
    )
    return {
        "outputs": len(keys),
        "by_the_rule": float(census.counted.mean()),
        "by_consensus": float(census.consensus.mean()),
        "estimate": estimate,
        "holds": bool(estimate["low"] <= census.counted.mean() <= estimate["high"]),
        "corrected": corrected.as_dict() if isinstance(corrected, Rate) else None,
        "second_opinion": opinion.as_dict() if opinion else None,
    }


def render_comparison(found: dict[str, Any]) -> str:
    """The comparison as text."""
    lines = [
        f"Every recorded answer to all {found['outputs']:,} outputs of the filter, which the run did not see:",
        f"  by the rule that counts failures   {_counted(found, 'by_the_rule')}: the interval "
        f"{'holds it' if found['holds'] else 'MISSES it'}",
        f"  by the consensus of all answers    {_counted(found, 'by_consensus')}",
    ]
    if (rate := found["corrected"]) is not None:
        between = wording.span(rate["low"], rate["high"])
        lines.append(
            f"Corrected for label error as validation shows it (Rogan-Gladen), the estimate of the latter is "
            f"{wording.percent(rate['estimate'])} ({between})."
        )
    if (opinion := found["second_opinion"]) is not None:
        failing, sound = (_correlation(opinion[name]) for name in ("among_failures", "among_sound"))
        unseen = opinion["unseen"]
        lines += [
            "What savings rest on, among these outputs:",
            f"  correlation of the two classifiers' logits, failures {failing}, others {sound}",
            f"  failures that the second opinion cannot see, at most {wording.percent(unseen['estimate'])} "
            f"({wording.span(unseen['low'], unseen['high'])}; {unseen['failures']:,.0f} of {unseen['n']:,.0f} score "
            "below the others' median)",
        ]
    return "\n".join(lines)


def _counted(found: dict[str, Any], name: str) -> str:
    return f"{wording.percent(found[name])} ({round(found[name] * found['outputs']):,} of {found['outputs']:,})"


def _correlation(found: dict[str, Any]) -> str:
    one = Correlation(**found)
    return "unknown" if one.estimate is None else f"{one.estimate:.2f} ({one.low:.2f} to {one.high:.2f}; {one.n:,})"
