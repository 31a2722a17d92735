"""Stage `report`: every figure of the round in one JSON file, one page, and the round's summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db.models import Count, Q, Sum
from scipy.special import logit

from engine.aggregation import VoteTable, codes_of
from engine.aggregation.agreement import agreement
from engine.aggregation.kappa import pairwise_kappas
from engine.evaluation.compare import ComparisonDict, compare
from engine.evaluation.curves import scored
from engine.evaluation.report import render_html
from engine.evaluation.report_data import (
    IN_DISTRIBUTION,
    ClassifierReport,
    FunnelStep,
    Labels,
    Report,
    RoundFacts,
    TrainingCount,
)
from webapi.models import Batch, BatchKind, Classifier, Label, Pool, Round
from webapi.selectors.round_progress import finds_word
from workers import report_reading as reading
from workers.artifacts import register, round_path, writing
from workers.certify import evaluations_of, reliability
from workers.evaluate import EVALUATION, HELD_OUT, Labelled, labelled, logits_in_order
from workers.jobs import JobRun
from workers.report_attacks import attacks
from workers.report_robustness import robustness
from workers.round_settings import RoundSettings, round_settings
from workers.scoring import threshold_of
from workers.train import BASELINE, classifier_of, retrained_of

WHAT_THEN = "The figures say how the method behaves in that simulation and nothing more."
KAPPAS = 20
"""Pairs of annotators listed."""


def report(run: JobRun) -> dict[str, Any]:
    """Writes `report.json` and `report.html`. Run again it writes the same."""
    run.progress(0, 3)
    content = build(run.round)
    run.progress(1, 3)
    texts = {"json": json.dumps(content, indent=1), "html": render_html(content)}
    for kind, text in texts.items():
        path = round_path(run.round, f"report.{kind}")
        with writing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        register(path, f"report_{kind}")
    Round.objects.filter(pk=run.round.pk).update(summary=_summary(content))
    run.progress(3, 3)
    return {"labels": content["labels"]["spent"]}


def build(round_: Round) -> Report:
    """All figures of a round whose evaluations are done."""
    wanted = round_settings(round_.config)
    rows = [classifier_of(round_, condition) for condition in (BASELINE, retrained_of(round_))]
    votes = _votes(round_)
    return Report(
        round=_facts(round_, wanted),
        funnel=_funnel(round_),
        classifiers=[_classifier(row) for row in rows],
        main_set=HELD_OUT,
        comparisons={
            IN_DISTRIBUTION: _compared(rows, labelled(round_, Pool.TEST), round_.seed),
            HELD_OUT: _compared(rows, labelled(round_, Pool.ATTACK_TEST), round_.seed),
        },
        labels=_labels(round_),
        agreement=agreement(votes).as_dict() if votes.items.size else None,
        kappas=pairwise_kappas(votes).pairs()[:KAPPAS],
        attacks=attacks(round_),
        robustness=robustness(round_, rows),
        reliability=reliability(round_),
        examples=reading.examples(round_, rows),
        caveats=reading.caveats(round_),
        lineage=reading.lineage(round_, rows),
        timing=reading.timing(round_),
    )


def _facts(round_: Round, wanted: RoundSettings) -> RoundFacts:
    simulated = round_.corpus.simulated or wanted.labeling.adapter == "simulated"
    return RoundFacts(
        id=str(round_.pk),
        name=round_.name,
        policy=str(round_.policy),
        question=round_.policy.rules.question,
        seed=round_.seed,
        created_at=round_.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        corpus=round_.corpus.name,
        encoder=wanted.training.encoder,
        generator=wanted.generator.name,
        paraphraser=wanted.held_out.paraphraser.name,
        simulated=f"{_what_is_simulated(round_, wanted)} {WHAT_THEN}" if simulated else None,
    )


def _what_is_simulated(round_: Round, wanted: RoundSettings) -> str:
    judge = round_.policy.rules.simulation.judge
    parts = []
    if round_.corpus.simulated:
        parts.append("The stories come from a simulated world.")
    if wanted.labeling.adapter == "simulated":
        parts.append(
            "The labels come from simulated annotators who judge by a word list, not by reading."
            if judge == "lexicon"
            else "The labels come from simulated annotators who mostly know the story world's truth."
        )
    if "story_world" in wanted.paraphrasers:
        parts.append("The paraphrases come from a simulated paraphraser that knows the story world's grammar.")
    return " ".join(parts)


def _funnel(round_: Round) -> list[FunnelStep]:
    failure = round_.policy.rules.failure
    steps = {
        "Completions written": Q(pool__in=[Pool.INITIAL, Pool.CANDIDATE, Pool.TEST, Pool.SEED]),
        "Labelled first": Q(pool__in=[Pool.INITIAL, Pool.TEST, Pool.SEED], snippet__consensus__isnull=False),
        f"{finds_word(round_).capitalize()} the baseline accepts": Q(pool=Pool.ATTACK),
        "Selected for labels": Q(selected=True),
        f"Labelled {failure}": Q(selected=True, snippet__consensus__choice=failure),
    }
    counts = round_.members.aggregate(**{f"n{i}": Count("pk", filter=q) for i, q in enumerate(steps.values())})
    return [FunnelStep(name=name, count=counts[f"n{i}"]) for i, name in enumerate(steps)]


def _classifier(row: Classifier) -> ClassifierReport:
    evaluation = row.evaluations.get(name=EVALUATION)
    counts = row.snapshot.counts if row.snapshot else {}
    training = [
        TrainingCount(source=key.split("/", 1)[0], choice=key.split("/", 1)[1], count=count)
        for key, count in sorted(counts.items())
    ]
    return ClassifierReport(
        name=row.condition,
        id=str(row.pk),
        calibration=row.metrics["calibration"],
        quality=row.metrics.get("quality"),
        training=training,
        assessment=evaluation.results,
    )


def _compared(rows: Sequence[Classifier], found: Labelled, seed: int) -> ComparisonDict:
    before, after = (scored(logits_in_order(row, found.ids), found.failures, np.array(found.groups)) for row in rows)
    cutoffs = [float(logit(threshold_of(row))) for row in rows]
    return compare(before, cutoffs[0], after, cutoffs[1], seed=seed).as_dict()


def _labels(round_: Round) -> Labels:
    mine = Q(round=round_) | Q(evaluation__in=evaluations_of(round_))
    labels = Label.objects.filter(task__batch__in=Batch.objects.filter(mine))
    totals = labels.aggregate(spent=Count("pk"), annotators=Count("annotator", distinct=True), seconds=Sum("seconds"))
    batches = Batch.objects.filter(mine).exclude(kind=BatchKind.COMPARE)
    batches = batches.annotate(n=Count("tasks__labels")).order_by("pk")
    choices = dict(labels.values_list("choice").annotate(n=Count("pk")).order_by("choice"))
    return Labels(
        spent=totals["spent"],
        by_batch=dict(batches.values_list("name", "n")),
        by_choice={c: choices.get(c, 0) for c in round_.policy.rules.choices},
        annotators=totals["annotators"],
        seconds=totals["seconds"],
    )


def _votes(round_: Round) -> VoteTable:
    """The round's labels as votes, one item a snippet."""
    labels = Label.objects.filter(task__batch__round=round_).order_by("snippet", "annotator", "revision")
    columns = list(labels.values_list("snippet_id", "annotator_id", "choice", "annotator__staff"))
    standing = {(snippet, annotator): (choice, staff) for snippet, annotator, choice, staff in columns}
    items = {pk: i for i, pk in enumerate(dict.fromkeys(snippet for snippet, _ in standing))}
    annotators = {pk: i for i, pk in enumerate(dict.fromkeys(annotator for _, annotator in standing))}
    choices = round_.policy.rules.choices
    return VoteTable(
        items=np.array([items[snippet] for snippet, _ in standing], dtype=np.int64),
        annotators=np.array([annotators[annotator] for _, annotator in standing], dtype=np.int64),
        answers=codes_of([choice for choice, _ in standing.values()], choices),
        staff=np.array([staff for _, staff in standing.values()], dtype=np.bool_),
        n_items=len(items),
        choices=tuple(choices),
    )


def _summary(content: Report) -> dict[str, Any]:
    """What lists of rounds show: the rates of the first and the last classifier, and what they cost."""
    shown = {}
    for one in content["classifiers"]:
        assessment = one["assessment"]
        shown[one["name"]] = {
            "threshold": assessment["threshold"],
            "fnr": assessment["fnr"],
            "fpr": assessment["fpr"],
            "failure_rate": assessment["failure_rate"],
            "adversarial": {name: found["fnr"] for name, found in assessment["adversarial"].items()},
        }
    return {"classifiers": shown, "main_set": content["main_set"], "labels": content["labels"]["spent"]}
