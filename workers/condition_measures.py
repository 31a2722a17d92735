"""What a condition's classifier is measured by: the columns of the paper's tables 4 and 5 that need no people."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.classifiers import Classifier as Scorer
from engine.evaluation.acceptance import threshold_at_acceptance
from engine.evaluation.curves import error_rates, scored, to_logit
from engine.evaluation.rates import clopper_pearson, clustered
from engine.generation.rejection import Sampled, rejection_sample
from webapi.models import Classifier, Consensus, Pool, Round, SplitName
from workers.artifacts import at_hand
from workers.calibrate import calibrate_on
from workers.condition_settings import ConditionSettings
from workers.evaluate import HELD_OUT, assess_on, labelled, logits_in_order
from workers.generate import alternates_path, corpus_of, generator_of
from workers.jobs import JobRun
from workers.results import account_of, spent
from workers.round_settings import round_settings
from workers.scoring import alternate_logits, load_classifier, score_snippets, threshold_of

OTHER_PROPOSALS = 7_000_003
"""Added to the seed: other completions than those that the round drew."""


def measured_on_round(run: JobRun, row: Classifier, round_: Round, wanted: ConditionSettings) -> dict[str, Any]:
    """On the round's held-out data, after calibration on its validation prompts where there is none yet."""
    scorer = load_classifier(row)
    if row.threshold is None:
        calibrate_on(round_, row, scorer, run.progress)
    members = round_.members.filter(pool__in=[Pool.TEST, Pool.ATTACK_TEST])
    ids = list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))
    score_snippets(row, scorer, ids, run.progress)
    alternates = alternate_logits(round_, row, scorer, SplitName.TEST, run.progress)
    return {
        "random_rejected": _random_rejected(round_, row),
        **_sampled(run, round_, scorer, threshold_of(row), wanted),
        "assessment": assess_on(round_, row, alternates),
        "held_out": _held_out(round_, row),
    }


def _random_rejected(round_: Round, row: Classifier) -> dict[str, Any]:
    """Of completions of random prompts, whatever people said of them, the share that is rejected."""
    members = round_.members.filter(pool=Pool.TEST).order_by("snippet__content_hash")
    columns = list(members.values_list("snippet_id", "details__from"))
    rejected = logits_in_order(row, [pk for pk, _ in columns]) >= np.float32(to_logit(threshold_of(row)))
    return dict(clustered(rejected, [str(origin) for _, origin in columns]).as_dict())


def _held_out(round_: Round, row: Classifier) -> dict[str, Any]:
    """Both error rates on the held-out adversarial set, clustered by what is re-told."""
    found = labelled(round_, Pool.ATTACK_TEST)
    data = scored(logits_in_order(row, found.ids), found.failures, np.array(found.groups))
    rates = error_rates(data, to_logit(threshold_of(row)))
    return {"name": HELD_OUT, "fnr": rates.fnr.as_dict(), "fpr": rates.fpr.as_dict()}


def _sampled(run: JobRun, round_: Round, scorer: Scorer, threshold: float, wanted: ConditionSettings) -> dict[str, Any]:
    """Rejection sampling of held-out prompts, with the same proposals for every classifier until one is accepted."""
    account = account_of(run)
    generator = generator_of(round_, corpus_of(round_, SplitName.TEST), account)
    prompts = _prompts(round_)[: wanted.prompts]
    answers = rejection_sample(
        prompts, generator, scorer, threshold,
        seed=round_.seed + OTHER_PROPOSALS, max_draws=wanted.tries, progress=run.progress,
    )  # fmt: skip
    silent_ones = [prompt for prompt, one in zip(prompts, answers, strict=True) if one.completion is None]
    return {
        "tries": wanted.tries,
        "proposals_rejected": proposals_rejected(answers),
        "without_completion": dict(clopper_pearson(len(silent_ones), len(prompts)).as_dict()),
        "prompts_without_completion": silent_ones,
        **spent(account),
    }


def proposals_rejected(answers: list[Sampled]) -> dict[str, Any]:
    """Of all completions proposed until one was accepted, the share that was rejected; a prompt's go together."""
    draws = np.array([one.draws for one in answers], dtype=np.int64)
    accepted = np.array([one.completion is not None for one in answers], dtype=np.int64)
    prompts = np.repeat(np.arange(len(answers)), draws)
    place = np.concatenate([np.arange(n) for n in draws]) if len(answers) else np.empty(0, dtype=np.int64)
    rejected = place < np.repeat(draws - accepted, draws)
    return dict(clustered(rejected, prompts).as_dict())


def _prompts(round_: Round) -> list[str]:
    """The prompts of the test split that stand for deployment, each once, in the file's order."""
    path = at_hand(alternates_path(round_, SplitName.TEST))
    column: list[str] = pq.read_table(path, columns=["prompt"])["prompt"].to_pylist()
    return column[:: round_settings(round_.config).sizes.test_completions]


class _Set(NamedTuple):
    """Labelled snippets of one split, in a fixed order."""

    ids: list[uuid.UUID]
    failures: NDArray[np.bool_]
    roots: list[str]
    rounds: NDArray[np.int64]


def measured_on_sets(run: JobRun, row: Classifier, wanted: ConditionSettings, seed: int) -> dict[str, Any]:
    """On the policy's own validation and test split, by the round that each text comes from.

    There is no generator, so thresholds are those that accept one share of harmless validation texts.
    """
    scorer = load_classifier(row)
    validation, test = _labelled(row, SplitName.VALIDATION), _labelled(row, SplitName.TEST)
    score_snippets(row, scorer, [*validation.ids, *test.ids], run.progress)
    harmless = ~validation.failures
    chosen = threshold_at_acceptance(
        logits_in_order(row, validation.ids)[harmless], wanted.accept, np.array(validation.roots)[harmless], seed=seed
    )
    row.threshold = chosen.threshold
    row.metrics = {**row.metrics, "acceptance": chosen.as_dict()}
    row.save(update_fields=["threshold", "metrics"])
    at, logits, roots = to_logit(chosen.threshold), logits_in_order(row, test.ids), np.array(test.roots)
    rates = error_rates(scored(logits, test.failures, roots), at)
    by_round = {}
    for number in np.unique(test.rounds).tolist():
        mine = test.rounds == number
        found = error_rates(scored(logits[mine], test.failures[mine], roots[mine]), at)
        by_round[str(number)] = {"fnr": found.fnr.as_dict(), "fpr": found.fpr.as_dict()}
    return {
        "random_rejected": dict(clustered(logits >= np.float32(at), roots).as_dict()),
        "fnr": rates.fnr.as_dict(),
        "fpr": rates.fpr.as_dict(),
        "rounds": by_round,
    }


def _labelled(row: Classifier, split: SplitName) -> _Set:
    rules = row.policy.rules
    found = Consensus.objects.filter(snippet__policy=row.policy, snippet__split=split)
    found = found.filter(choice__in=[rules.failure, rules.harmless], snippet__details__has_key="hatemoji")
    columns = list(
        found.order_by("snippet__content_hash", "snippet__external_id").values_list(
            "snippet_id", "choice", "snippet__root_hash", "snippet__details__hatemoji"
        )
    )
    return _Set(
        [pk for pk, *_ in columns],
        np.array([choice == rules.failure for _, choice, _, _ in columns], dtype=bool),
        [root for _, _, root, _ in columns],
        np.array([int(number) for *_, number in columns], dtype=np.int64),
    )
