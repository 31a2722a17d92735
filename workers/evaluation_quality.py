"""Evaluations of kind `quality`: the filtered generator against the unfiltered one on fresh prompts (paper, A.7).

Of each prompt the pool holds one unfiltered completion, drawn independently, and what the filter lets through. Only
pairs whose unfiltered completion is rejected are put to people.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from django.db import transaction

from engine.errors import BadInput
from engine.evaluation.quality_check import QualityCheck, check_quality, worth_asking
from engine.evaluation.quality_plan import plan_quality
from engine.generation import Filter, Sampled, rejection_sample
from engine.generation.chance import child_seed
from engine.generation.rejection import logit_cutoff
from engine.snippets import Snippet as SnippetText
from webapi.models import Batch, BatchKind, BatchState, Evaluation, EvaluationState, Policy, SplitName, Task, TaskState
from webapi.models.base import locked
from webapi.models.queue import new_place
from workers.compared_pairs import CHUNK, Keys, can_be_shown, given_to
from workers.evaluation_pool import SIDES, Drawing, Outputs
from workers.evaluation_purchase import (
    WITH_PEOPLE,
    Purchase,
    await_batches,
    config_of,
    held_of_cancelled,
    launch,
    note_bought,
    purchase_of,
    snippets_of,
)
from workers.evaluation_settings import EvaluationSettings
from workers.evaluation_sources import AT_ONCE, Shard, filters_of, prompts_of, round_of
from workers.generate import corpus_of, generator_of
from workers.jobs import JobEnded, JobRun, Later, chunked
from workers.results import account_of

FILTERED, UNFILTERED = SIDES
EVERYTHING = 1.0
"""The threshold that accepts whatever is said."""


def draw(run: JobRun, evaluation: Evaluation, wanted: EvaluationSettings, first: int, end: int) -> Shard:
    """A row for each prompt's unfiltered completion, and one for its filtered, where there is one."""
    round_, (filter_,) = round_of(evaluation.classifier, wanted.outputs), filters_of(evaluation).filters
    generator = generator_of(round_, corpus_of(round_, SplitName(wanted.outputs.split)), account_of(run))
    prompts, rows, without = prompts_of(evaluation, wanted), list[dict[str, Any]](), 0
    for chunk in chunked(range(first, end), AT_ONCE):
        asked = [prompts[place] for place in chunk]
        texts = [row.prompt for row in asked]
        free, kept = (
            rejection_sample(
                texts, generator, one.classifier, one.threshold,
                seed=child_seed(wanted.seed, "quality", side, chunk[0]), max_draws=most,
            )
            for side, one, most in (
                (UNFILTERED, Filter(filter_.classifier, EVERYTHING), 1),
                (FILTERED, filter_, wanted.outputs.tries),
            )
        )  # fmt: skip
        for place, row, *pair in zip(chunk, asked, free, kept, strict=True):
            without += pair[1].completion is None
            about = {"prompt": place, "origin": str(row.pk), "text": row.prompt, "place": place}
            rows += [{**about, **_said(one), "side": side} for side, one in _sides(*pair)]
        run.progress(chunk[-1] + 1 - first, end - first)
    return Shard(rows, Drawing(end - first, without))


def _sides(free: Sampled, kept: Sampled) -> list[tuple[str, Sampled]]:
    """Of the unfiltered there is a row even where it is silence: it stands for the prompt."""
    return [(UNFILTERED, free), *([(FILTERED, kept)] if kept.completion is not None else [])]


def _said(one: Sampled) -> dict[str, Any]:
    silent = one.completion is None
    return {"completion": one.completion or "", "logit": math.inf if silent else one.logit}


class Pairs(NamedTuple):
    """Each prompt's two completions, by their rows in the pool, in the order of prompts."""

    free: list[int]
    kept: list[int | None]
    """None where the filter accepted nothing."""
    free_logits: np.ndarray[Any, np.dtype[np.float32]]
    kept_logits: np.ndarray[Any, np.dtype[np.float32]]
    """NaN where the filter accepted nothing."""
    cutoff: float
    ask: list[int]
    """Prompts, by place, that people compare."""
    decided: dict[int, float]
    """What the filtered one won where people would be asked, but one is silence or cannot be shown."""
    equal: int
    """Prompts whose two completions are the same text: ties."""
    texts: list[SnippetText]
    """Of the pool's rows."""


def pairs_of(evaluation: Evaluation, outputs: Outputs) -> Pairs:
    """Raises BadInput without a threshold. O(outputs)."""
    if evaluation.threshold is None:
        raise BadInput("the classifier had no threshold", where=str(evaluation))
    sides: dict[int, dict[bool, int]] = {}
    for at, (place, filtered) in enumerate(zip(outputs.sides.places, outputs.sides.later, strict=True)):
        sides.setdefault(int(place), {})[bool(filtered)] = at
    each = [sides[place] for place in sorted(sides)]
    free, kept = [one[False] for one in each], [one.get(True) for one in each]
    texts = [SnippetText(*pair) for pair in zip(outputs.texts, outputs.completions, strict=True)]
    logits = outputs.pool.logits
    kept_logits = np.array([np.nan if at is None else logits[at] for at in kept], dtype=np.float32)
    free_logits = logits[free].copy()
    equal = 0
    for place, (one, other) in enumerate(zip(free, kept, strict=True)):
        if other is not None and texts[one].content_hash == texts[other].content_hash:
            # Batches of other sizes may score one text a last bit apart.
            free_logits[place], equal = kept_logits[place], equal + 1
    cutoff = float(logit_cutoff(evaluation.threshold))
    worth = np.flatnonzero(worth_asking(kept_logits, free_logits, cutoff)).tolist()
    decided = {}
    for place in worth:
        shown = [can_be_shown(texts[at]) for at in (kept[place], free[place]) if at is not None]
        if not all(shown):
            decided[place] = 0.5 if shown[0] == shown[1] else float(shown[0])
    ask = [place for place in worth if place not in decided]
    return Pairs(free, kept, free_logits, kept_logits, cutoff, ask, decided, equal, texts)


def plan(evaluation: Evaluation, wanted: EvaluationSettings, outputs: Outputs) -> dict[str, object]:
    """What is to be compared, what it costs and how sure it makes."""
    pairs = pairs_of(evaluation, outputs)
    found = plan_quality(
        len(pairs.free), len(pairs.ask), sum(at is None for at in pairs.kept),
        half_width=wanted.quality.half_width, level=wanted.level, labels_each=wanted.labels_each,
        price=wanted.price, seconds=wanted.seconds,
    )  # fmt: skip
    return {"quality": found.as_dict(), "chosen": {"labels": found.labels, "outputs": found.asked}}


class Question(NamedTuple):
    """Two snippets to compare, the one of the lower content hash first, so that the order tells nothing."""

    keys: Keys
    filtered_first: bool


def questions_of(buying: Purchase, pairs: Pairs) -> list[Question]:
    """What is asked of each of `pairs.ask`; completions become snippets here, once."""
    rows = np.array([at for place in pairs.ask for at in (pairs.kept[place], pairs.free[place])], dtype=np.int64)
    keys = snippets_of(buying, rows)
    found = []
    for number in range(len(pairs.ask)):
        kept, free = keys[2 * number], keys[2 * number + 1]
        hashes = [pairs.texts[int(rows[2 * number + side])].content_hash for side in (0, 1)]
        first = hashes[0] < hashes[1]
        found.append(Question((kept, free) if first else (free, kept), first))
    return found


def buy(run: JobRun, evaluation: Evaluation, wanted: EvaluationSettings, outputs: Outputs) -> dict[str, Any]:
    """Sends out the comparisons that lack answers, and comes back until they are there."""
    if evaluation.state != EvaluationState.LABELLING:
        raise JobEnded
    await_batches(run, evaluation)
    buying = purchase_of(evaluation, wanted, outputs)
    questions = questions_of(buying, pairs_of(evaluation, outputs))
    step = wanted.at_once or len(questions)
    while True:
        before = evaluation.bought
        run.progress(before, len(questions))
        lacking = _lacking(questions[:before], wanted.labels_each)
        if not lacking and before >= len(questions):
            return {"comparisons": before}
        if not lacking:
            evaluation.bought = min(before + step, len(questions))
            lacking = _lacking(questions[: evaluation.bought], wanted.labels_each)
        _send(buying, lacking, before=before, now=evaluation.bought)
        await_batches(run, evaluation)


def _lacking(questions: list[Question], labels_each: int) -> dict[Keys, int]:
    have = _given(questions)
    wanted = {one.keys: labels_each - len(have.get(one.keys, ())) for one in questions}
    return {keys: number for keys, number in wanted.items() if number > 0}


def _given(questions: list[Question]) -> dict[Keys, list[float]]:
    found: dict[Keys, list[float]] = {}
    for chunk in chunked(sorted({one.keys[0] for one in questions}), CHUNK):
        found |= given_to(chunk)
    return found


def _send(buying: Purchase, lacking: Mapping[Keys, int], *, before: int, now: int) -> None:
    """All or nothing. What is being compared is waited for, not asked again."""
    evaluation, wanted = buying.evaluation, buying.wanted
    with transaction.atomic():
        list(locked(Policy.objects.filter(pk=evaluation.classifier.policy_id)).values_list("pk"))
        note_bought(evaluation, before=before, now=now)
        coming = _coming(lacking)
        left = {keys: number - coming[keys] for keys, number in lacking.items()}
        left = {keys: number for keys, number in left.items() if number > 0}
        if left:
            batch = Batch.objects.create(
                policy=evaluation.classifier.policy,
                evaluation=evaluation,
                kind=BatchKind.COMPARE,
                name=f"comparisons {evaluation.batches.count() + 1:03d} of {evaluation.name}",
                adapter=wanted.adapter,
                config=config_of(evaluation, wanted),
                priority=wanted.priority,
            )
            Task.objects.bulk_create(
                Task(batch=batch, snippet_id=a, rival_id=b, wanted=number, place=new_place(batch.priority))
                for (a, b), number in left.items()
            )
            launch(batch, buying.adapter)
    if lacking and not left:
        raise Later(buying.adapter.poll_seconds or WITH_PEOPLE)


def _coming(lacking: Mapping[Keys, int]) -> Counter[Keys]:
    """Answers that open tasks will bring, and those that may still be given to cancelled ones."""
    found: Counter[Keys] = Counter()
    asked = Task.objects.filter(state=TaskState.OPEN, batch__state=BatchState.OPEN)
    for chunk in chunked(sorted({first for first, _ in lacking}), CHUNK):
        rows = asked.filter(snippet__in=chunk).exclude(rival=None)
        for first, second, wanted, given in rows.values_list("snippet", "rival", "wanted", "labelled"):
            found[first, second] += wanted - given
        held = held_of_cancelled(chunk).exclude(task__rival=None)
        found.update(held.values_list("task__snippet", "task__rival"))
    return found


class Answered(NamedTuple):
    """The answer, and what it was taken from."""

    check: QualityCheck
    pairs: Pairs
    undecided: int
    """Comparisons of which people said neither was better."""
    asked: set[Keys]
    """The pairs that people compared."""


def answer(buying: Purchase) -> Answered:
    """Raises BadInput where a comparison has no answer."""
    pairs = pairs_of(buying.evaluation, buying.outputs)
    questions = questions_of(buying, pairs)
    given, wins = _given(questions), np.full(len(pairs.free), np.nan)
    for place, won in pairs.decided.items():
        wins[place] = won
    for place, one in zip(pairs.ask, questions, strict=True):
        if given.get(one.keys):
            mean = sum(given[one.keys]) / len(given[one.keys])
            wins[place] = mean if one.filtered_first else 1 - mean
    check = check_quality(pairs.kept_logits, pairs.free_logits, wins, pairs.cutoff, level=buying.wanted.level)
    undecided = int((wins[pairs.ask] == 0.5).sum())
    return Answered(check, pairs, undecided, {one.keys for one in questions})
