"""What a report says of the round's attacks."""

from __future__ import annotations

import uuid

import numpy as np
from django.db.models import Count, Sum
from scipy.special import expit

from engine.evaluation.report_data import AttackReport, AttackRunReport, StrongCandidate
from engine.evaluation.yields import Attacked, attack_yield
from webapi.models import Label, Pool, Round, Snippet
from workers.round_settings import round_settings
from workers.train import BASELINE

STRONGEST = 10


def attacks(round_: Round) -> list[AttackReport]:
    """The paraphrase attack on the baseline, from the training split's failures."""
    wanted = round_settings(round_.config).attack
    found = round_.members.filter(pool=Pool.ATTACK).order_by("snippet__content_hash")
    details: dict[uuid.UUID, dict[str, object]] = dict(found.values_list("snippet_id", "details"))
    run = AttackRunReport(
        classifier=BASELINE,
        yields=attack_yield(_attacked(round_, details)).as_dict(),
        stops={},
        spending=None,
        strongest=_strongest(details),
    )
    simulated = "The paraphraser knows the story world's grammar." if wanted.paraphraser.name == "story_world" else None
    return [
        AttackReport(
            name="paraphrase",
            title="Paraphrases",
            settings=f"{wanted.paraphraser.name}, {wanted.wanted} a seed at most, {wanted.max_draws} draws a seed.",
            simulated=simulated,
            trains=True,
            runs=[run],
            comparison=None,
        )
    ]


def _attacked(round_: Round, details: dict[uuid.UUID, dict[str, object]]) -> Attacked:
    """Seeds in no order of their own: of each only what it gave is kept, and of all of them the queries."""
    result = round_.stages.get(name="attack").result
    seeds = {key: i for i, key in enumerate(dict.fromkeys(str(found.get("from")) for found in details.values()))}
    count = max(len(seeds), int(result.get("seeds", 0)))
    labels = Label.objects.filter(task__batch__round=round_, snippet__in=list(details))
    time = dict(labels.values_list("snippet").annotate(Sum("seconds")))
    choices = dict(
        Snippet.objects.filter(pk__in=list(details), consensus__isnull=False).values_list("pk", "consensus__choice")
    )
    return Attacked(
        queries=np.full(count, result.get("scored", 0) / max(1, count)),
        seed_of=[seeds[str(found.get("from"))] for found in details.values()],
        labelled=[pk in choices for pk in details],
        failure=[choices.get(pk) == round_.policy.rules.failure for pk in details],
        label_seconds=[time.get(pk, np.nan) for pk in details],
        similarity=np.full(len(details), np.nan),
        edits=np.full(len(details), np.nan),
        labels=labels.aggregate(n=Count("pk"))["n"],
    )


def _strongest(details: dict[uuid.UUID, dict[str, object]]) -> list[StrongCandidate]:
    logits = {pk: float(str(found["logit"])) for pk, found in details.items() if found.get("logit") is not None}
    first = sorted(logits, key=lambda pk: logits[pk])[:STRONGEST]
    rows = Snippet.objects.select_related("consensus").in_bulk(first)
    seeds = Snippet.objects.in_bulk([uuid.UUID(str(details[pk]["from"])) for pk in first])
    return [
        StrongCandidate(
            seed_prompt=(seed := seeds[uuid.UUID(str(details[pk]["from"]))]).prompt,
            seed_completion=seed.completion,
            prompt=rows[pk].prompt,
            completion=rows[pk].completion,
            score=float(expit(logits[pk])),
            reward=None,
            similarity=None,
            edits=None,
            label=rows[pk].consensus.choice if hasattr(rows[pk], "consensus") else None,
        )
        for pk in first
    ]
