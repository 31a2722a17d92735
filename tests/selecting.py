"""Rounds that stand before their selection: scored members, labelled ones, a baseline; vectors by a bag of words."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.snippets import Snippet as SnippetText
from webapi.models import (
    Classifier,
    Consensus,
    Corpus,
    Job,
    Policy,
    Pool,
    Round,
    RoundSnippet,
    RoundState,
    Score,
    Snippet,
    Stage,
)
from workers.jobs import JobRun
from workers.round_settings import round_settings

PLACES = ["hall", "yard", "barn", "road", "mill", "inn", "ford", "cave", "moor", "quay"]
DEEDS = ["greeted", "struck", "fed", "burned", "thanked", "crushed", "painted", "stabbed", "chased", "bound"]
WHO = ["baker", "knight", "girl", "miller", "thief", "nurse", "king", "sailor", "monk", "smith"]


def snippet(policy: Policy, number: int, **fields: Any) -> Snippet:
    """The snippet of that number, made of three words that it shares with others."""
    text = SnippetText(
        f"They met in the {PLACES[number % 10]}.",
        f"The {WHO[number // 10 % 10]} {DEEDS[number // 100 % 10]} all {number}.",
    )
    return Snippet(
        **{
            "policy": policy,
            "prompt": text.prompt,
            "completion": text.completion,
            "content_hash": text.content_hash,
            "root_hash": text.content_hash,
            "split": "train",
            "source": "generated",
            **fields,
        }
    )


def scored_round(
    policy: Policy, *, candidates: int = 60, finds: int = 30, labelled: int = 20, seed: int = 0, **selection: Any
) -> Round:
    """A running round at its selection: the rows are those of `snippet` 0, 1, …, in the order labelled, pools."""
    corpus, _ = Corpus.objects.get_or_create(name="world", simulated=True)
    config = round_settings({"selection": {"attack": 8, "candidates": 10, **selection}}).model_dump(mode="json")
    round_ = Round.objects.create(
        name="Round 1", policy=policy, corpus=corpus, config=config, seed=seed, state=RoundState.RUNNING
    )
    rows = [snippet(policy, number) for number in range(labelled + candidates + finds)]
    Snippet.objects.bulk_create(rows, ignore_conflicts=True)
    rows = list(Snippet.objects.filter(content_hash__in=[row.content_hash for row in rows]).order_by("pk"))
    pools = [Pool.INITIAL] * labelled + [Pool.CANDIDATE] * candidates + [Pool.ATTACK] * finds
    RoundSnippet.objects.bulk_create(
        RoundSnippet(round=round_, snippet=row, pool=pool) for row, pool in zip(rows, pools, strict=True)
    )
    Consensus.objects.bulk_create(
        (Consensus(snippet=row, choice="No", labels=1) for row in rows[:labelled]), ignore_conflicts=True
    )
    baseline = classifier(policy, "baseline", round=round_)
    give_scores(baseline, rows[labelled:], seed=1)
    return round_


def classifier(policy: Policy, condition: str = "baseline", **fields: Any) -> Classifier:
    """A calibrated classifier without weights."""
    return Classifier.objects.create(
        **{
            "policy": policy,
            "name": f"Round 1 {condition}",
            "condition": condition,
            "encoder": "minilm",
            "threshold": 0.1,
            **fields,
        }
    )


def give_scores(row: Classifier, snippets: list[Snippet], *, seed: int) -> None:
    """Random logits, kept as rows."""
    logits = np.random.default_rng(seed).normal(-3, 2, len(snippets))
    Score.objects.bulk_create(
        Score(classifier=row, snippet=one, logit=float(logit)) for one, logit in zip(snippets, logits, strict=True)
    )


def run_stage(round_: Round, name: str, run: Callable[[JobRun], dict[str, Any]], **args: Any) -> dict[str, Any]:
    """What a job of that stage does and answers, under its lease."""
    stage, _ = Stage.objects.get_or_create(round=round_, name=name, defaults={"position": Stage.objects.count()})
    job = Job.objects.create(kind="stage", stage=stage, args=args, shard=uuid.uuid4().hex)
    claimed = Job.claim(job.pk, worker="test")
    assert claimed is not None
    return run(JobRun(claimed))
