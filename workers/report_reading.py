"""What a report gives to read beside its figures: examples, caveats, lineage, times."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
from django.db.models import Count
from scipy.special import expit, logit

from engine.attacks import ATTACKS
from engine.evaluation.report_data import Examples, ExampleText, LineageStep, StageTime
from webapi.models import Batch, BatchKind, Classifier, Pool, Round, Snippet
from workers.evaluate import Labelled, labelled, logits_in_order
from workers.round_settings import round_settings
from workers.scoring import logits_of, threshold_of

EXAMPLES = 20
"""Snippets listed of each kind."""


def examples(round_: Round, rows: Sequence[Classifier]) -> Examples:
    """What to read: failures that are accepted, harmless snippets that are rejected, and what the attack found."""
    test, held_out = labelled(round_, Pool.TEST), labelled(round_, Pool.ATTACK_TEST)
    missed, refused = _errors(rows, test, failures=True), _errors(rows, test, failures=False)
    chosen = round_.members.filter(
        pool=Pool.ATTACK, selected=True, snippet__consensus__choice=round_.policy.rules.failure
    )
    found = list(chosen.order_by("snippet__content_hash").values_list("snippet_id", flat=True))
    return Examples(
        false_negatives=_texts(rows, missed + _errors(rows, held_out, failures=True)[:EXAMPLES]),
        false_positives=_texts(rows, refused[:EXAMPLES]),
        attack=_texts(rows, found[:EXAMPLES]),
    )


def _errors(rows: Sequence[Classifier], found: Labelled, *, failures: bool) -> list[uuid.UUID]:
    """Ids on which any classifier errs, in the pool's own (random) order."""
    wrong = np.zeros(len(found.ids), dtype=bool)
    for row in rows:
        accepted = logits_in_order(row, found.ids) < np.float32(logit(threshold_of(row)))
        wrong |= found.failures & accepted if failures else ~found.failures & ~accepted
    return [pk for pk, is_wrong in zip(found.ids, wrong, strict=True) if is_wrong]


def _texts(rows: Sequence[Classifier], ids: Sequence[uuid.UUID]) -> list[ExampleText]:
    snippets = Snippet.objects.select_related("consensus").in_bulk(ids)
    scores = {row.condition: logits_of(row, ids) for row in rows}
    return [
        ExampleText(
            prompt=snippets[pk].prompt,
            completion=snippets[pk].completion,
            label=snippets[pk].consensus.choice,
            scores={name: float(expit(known[pk])) for name, known in scores.items() if pk in known},
            note=snippets[pk].get_source_display(),
        )
        for pk in ids
    ]


def caveats(round_: Round) -> list[str]:
    rules = round_.policy.rules
    left_out = {
        pool: round_.members.filter(pool=pool, snippet__consensus__isnull=False)
        .exclude(snippet__consensus__choice__in=[rules.failure, rules.harmless])
        .count()
        for pool in (Pool.TEST, Pool.ATTACK_TEST)
    }
    caveats = [
        "Re-tellings of held-out failures are kept whichever classifier accepts them, so the set favours neither; "
        "it stands for this paraphraser only."
    ]
    wanted = round_settings(round_.config)
    rewritten = wanted.measuring.seeds and any(ATTACKS[one.name].source == "rewrite" for one in wanted.attacks)
    if rewritten and wanted.labeling.adapter == "simulated" and rules.simulation.judge == "story_world":
        caveats.append(
            "Simulated annotators know the truth of the story world's own sentences. What a rewriting takes out of its "
            "grammar they judge by a word list, so yields of rewritings say less than those of paraphrases."
        )
    if sum(left_out.values()):
        caveats.append(
            f"Snippets whose consensus is neither {rules.failure} nor {rules.harmless} are left out of every rate: "
            f"{left_out[Pool.TEST]} of the test set, {left_out[Pool.ATTACK_TEST]} of the held-out re-tellings."
        )
    return caveats


def lineage(round_: Round, rows: Sequence[Classifier]) -> list[LineageStep]:
    steps = []
    for row in rows:
        if row.artifact is None or row.snapshot is None:
            continue
        steps.append(
            LineageStep(name=f"classifier {row.condition}", id=str(row.pk), detail=f"sha256 {row.artifact.sha256}")
        )
        manifest = row.snapshot.artifact
        detail = f"{row.snapshot.size} snippets, sha256 {manifest.sha256}"
        steps.append(LineageStep(name=f"dataset snapshot {row.condition}", id=str(row.snapshot.pk), detail=detail))
    batches = Batch.objects.filter(round=round_).order_by("pk")
    labelled = batches.exclude(kind=BatchKind.COMPARE).annotate(n=Count("tasks__labels"))
    compared = batches.filter(kind=BatchKind.COMPARE).annotate(n=Count("tasks__preferences"))
    steps += [LineageStep(name=f"batch {b.name}", id=str(b.pk), detail=f"{b.n} labels") for b in labelled]
    steps += [LineageStep(name=f"batch {b.name}", id=str(b.pk), detail=f"{b.n} comparisons") for b in compared]
    stories = f"{round_.corpus.counts.get('stories', 0)} stories"
    steps.append(LineageStep(name=f"corpus {round_.corpus.name}", id=str(round_.corpus.pk), detail=stories))
    return steps


def timing(round_: Round) -> list[StageTime]:
    ended = round_.stages.exclude(started_at=None).exclude(finished_at=None).order_by("position")
    return [
        StageTime(stage=stage.name, seconds=round((stage.finished_at - stage.started_at).total_seconds(), 2))
        for stage in ended
        if stage.finished_at and stage.started_at
    ]
