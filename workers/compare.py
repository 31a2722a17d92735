"""Stages `compare` and `quality`: unfiltered completions are compared in pairs, which tells what filtering costs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db import transaction
from numpy.typing import NDArray
from scipy.special import logit

from engine.evaluation.quality import Compared, compared
from engine.evaluation.quality_choice import quality_at, threshold_at_quality
from engine.evaluation.report_data import QualityBasis, QualityFigures, QualityReport
from webapi.models import Batch, BatchKind, BatchState, Preference, Round, Snippet, SplitName, Stage, Task
from webapi.models.queue import BATCHES, new_place
from workers.compared_pairs import CHUNK, Keys, Pair, given_to, pairs_of, wins_of
from workers.generate import Drawn, add_snippets, generated_row
from workers.generators import chosen
from workers.jobs import JobRun, chunked
from workers.label import send_out
from workers.round_settings import comparing_adapter, round_settings
from workers.scoring import kept_alternate_logits, threshold_of
from workers.train import BASELINE, classifier_of, retrained_of

SIMULATED = "Simulated annotators compared, by plain signs in the text: it says nothing of what people prefer."


def send(run: JobRun) -> dict[str, Any]:
    """Stage `compare`: asks for the comparisons. Run again it adds what is missing."""
    wanted = round_settings(run.round.config)
    adapter = comparing_adapter(wanted)
    if adapter is None:
        return {"comparisons": 0}
    run.progress(0, 2)
    asked = [pair for pair in pairs_of(run.round, run.progress) if pair.decided is None]
    known = _snippets(run.round, asked)
    run.progress(1, 2)
    (name,) = BATCHES["compare"]
    config = wanted.labeling.config if adapter == wanted.labeling.adapter else {}
    kind = {"policy": run.round.policy, "kind": BatchKind.COMPARE, "adapter": adapter, "config": config}
    with transaction.atomic():  # a sweep in between would find a batch without open tasks, and end it
        batch, _ = Batch.objects.get_or_create(round=run.round, name=name, defaults=kind)
        made = _make_tasks(batch, sorted({(known[pair.key[0]], known[pair.key[1]]) for pair in asked}))
    send_out(batch, run)
    run.progress(2, 2)
    return {"comparisons": made}


def settle(stage: Stage) -> dict[str, Any] | None:
    """Ends the stage once the comparisons are there; until then it waits."""
    batches = Batch.objects.filter(round=stage.round, name__in=BATCHES[stage.name])
    if batches.filter(state=BatchState.OPEN).exists():
        return None
    return {"comparisons": Preference.objects.filter(task__batch__in=batches).count()}


def measure(run: JobRun) -> dict[str, Any]:
    """Stage `quality`: what each classifier's thresholds cost in quality, by the same comparisons.

    Nothing where none were asked for, or answered of fewer than two prompts.
    """
    round_, adapter = run.round, comparing_adapter(round_settings(run.round.config))
    if adapter is None:
        return {"comparisons": 0}
    pairs = pairs_of(round_, run.progress)
    wins = wins_of(round_, pairs)
    won = [(pair, win) for pair, win in zip(pairs, wins, strict=True) if win is not None]
    if len({pair.prompt for pair, _ in won}) < 2:
        return {"comparisons": len(won)}
    conditions = [BASELINE, retrained_of(round_)]
    for done, condition in enumerate(conditions):
        run.progress(done, len(conditions))
        row = classifier_of(round_, condition)
        logits = kept_alternate_logits(round_, row, SplitName.VALIDATION, run.progress)
        found = _quality(_compared(logits, won), threshold_of(row), round_.seed)
        about = _rests_on(pairs, wins, simulated=adapter == "simulated")
        row.metrics = {**row.metrics, "quality": QualityReport(**found, **about)}
        row.save(update_fields=["metrics"])
    run.progress(len(conditions), len(conditions))
    return {"comparisons": len(won)}


def _snippets(round_: Round, pairs: Sequence[Pair]) -> dict[str, uuid.UUID]:
    """Rows of the completions that are compared, by content hash. They are no members of the round: nobody labels them,
    and nothing is trained on them."""
    source = chosen(round_settings(round_.config).generator)
    prompts = Snippet.objects.in_bulk({pair.prompt for pair in pairs})
    drawn = {text.content_hash: Drawn(prompts[pair.prompt], text) for pair in pairs for text in pair.texts}
    known = add_snippets(round_.policy_id, [generated_row(round_, one, source) for one in drawn.values()])
    return {digest: row.pk for digest, row in known.items()}


def _make_tasks(batch: Batch, pairs: Sequence[Keys]) -> int:
    """A task for each pair that nobody compared yet. Running it again adds what is missing."""
    made = 0
    for chunk in chunked(pairs, CHUNK):
        have = given_to({first for first, _ in chunk})
        rows = [
            Task(batch=batch, snippet_id=first, rival_id=second, place=new_place(batch.priority))
            for first, second in chunk
            if (first, second) not in have
        ]
        Task.objects.bulk_create(rows, ignore_conflicts=True)
        made += len(rows)
    return made


def _compared(logits: NDArray[np.float32], won: Sequence[tuple[Pair, float]]) -> Compared:
    first, second = logits[[pair.first for pair, _ in won]], logits[[pair.second for pair, _ in won]]
    return compared([str(pair.prompt) for pair, _ in won], first, second, [win for _, win in won])


def _quality(data: Compared, threshold: float, seed: int) -> QualityFigures:
    choice = threshold_at_quality(data, seed=seed)
    in_use = quality_at(data, float(logit(threshold)), seed=seed)
    return QualityFigures(**choice.as_dict(), in_use=in_use.as_dict())


def _rests_on(pairs: Sequence[Pair], wins: Sequence[float | None], *, simulated: bool) -> QualityBasis:
    """How many pairs somebody compared, how many needed nobody, and how many were left."""
    decided = sum(pair.decided is not None for pair in pairs)
    unanswered = sum(win is None for win in wins)
    asked = len(pairs) - decided - unanswered
    note = SIMULATED if simulated else ""
    return QualityBasis(asked=asked, decided=decided, unanswered=unanswered, note=note)
