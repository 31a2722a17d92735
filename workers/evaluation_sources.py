"""Where an evaluation's outputs come from: a round's generator through the filter, or texts that are there already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.classifiers import Classifier as Scorer
from engine.errors import BadInput
from engine.generation import Filter, Sampled, accepts, shared_sample
from engine.generation.chance import child_seed
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Evaluation, Round, Snippet, SplitName
from workers.evaluation_pool import SIDES, Drawing
from workers.evaluation_settings import EvaluationSettings, OutputsWanted
from workers.generate import corpus_of, generator_of
from workers.jobs import JobRun, chunked
from workers.results import account_of
from workers.scoring import load_classifier, threshold_of

SHARD = 2048
"""Outputs that a job draws."""
AT_ONCE = 256
"""Prompts that share the models' batches."""


class Shard(NamedTuple):
    """A shard's outputs as rows of the file, and what else it saw."""

    rows: list[dict[str, Any]]
    drawing: Drawing


class OutputSource(NamedTuple):
    """A way to outputs. The number of places is settled by the rows, so that a shard drawn again is the same."""

    places: Callable[[Evaluation, EvaluationSettings], int]
    """Places to be looked at: prompts times copies, or texts."""
    draw: Callable[[JobRun, Evaluation, EvaluationSettings, int, int], Shard]
    """The outputs of the places from the first number to before the second."""


class Filters(NamedTuple):
    """The filter measured and, in a difference, the one before; else the second opinion, where there is one."""

    filters: list[Filter]
    second: Scorer | None


def filters_of(evaluation: Evaluation) -> Filters:
    """The classifier at the threshold it had when the evaluation was begun, and the others with it."""
    rows = [evaluation.classifier, *([evaluation.against] if evaluation.against else [])]
    thresholds = [evaluation.threshold, *([threshold_of(evaluation.against)] if evaluation.against else [])]
    filters = [
        Filter(load_classifier(row), threshold_of(row) if at is None else at)
        for row, at in zip(rows, thresholds, strict=True)
    ]
    return Filters(filters, load_classifier(evaluation.second) if evaluation.second else None)


def round_of(classifier: Classifier, wanted: OutputsWanted) -> Round:
    """The round that lends generator and prompts. Raises BadInput where there is none."""
    row = Round.objects.filter(pk=wanted.round).first() if wanted.round else classifier.round
    if row is None or row.policy_id != classifier.policy_id:
        raise BadInput("name a round of the classifier's policy: it lends the generator and the prompts", where="round")
    return row


def prompts_of(evaluation: Evaluation, wanted: EvaluationSettings) -> list[Snippet]:
    """In random order by the evaluation's seed: other prompts than the round measured on come as often."""
    rows = corpus_of(round_of(evaluation.classifier, wanted.outputs), wanted.outputs.split)
    return _by_chance(rows, wanted)


def _by_chance(rows: Sequence[Snippet], wanted: EvaluationSettings) -> list[Snippet]:
    def place(row: Snippet) -> bytes:
        return hashlib.sha256(f"evaluation:{wanted.seed}:{row.content_hash}".encode()).digest()

    return sorted(rows, key=place)[: wanted.outputs.limit]


def _count_prompts(evaluation: Evaluation, wanted: EvaluationSettings) -> int:
    return len(prompts_of(evaluation, wanted)) * wanted.outputs.copies


def _draw_completions(run: JobRun, evaluation: Evaluation, wanted: EvaluationSettings, first: int, end: int) -> Shard:
    """First accepted proposals; in a difference of both filters on one stream, and only where they differ."""
    round_, found = round_of(evaluation.classifier, wanted.outputs), filters_of(evaluation)
    learnt = corpus_of(round_, SplitName(wanted.outputs.split))
    generator, prompts = generator_of(round_, learnt, account_of(run)), prompts_of(evaluation, wanted)
    rows: list[dict[str, Any]] = []
    without = alike = 0
    places = range(first, end)
    for chunk in chunked(places, AT_ONCE):
        # Prompt by prompt, and the copies last: neighbours in the file are of different prompts.
        asked = [prompts[place % len(prompts)] for place in chunk]

        def tick(done: int, total: int, before: int = chunk[0] - first) -> None:
            run.progress(before + done, len(places))

        seed = child_seed(wanted.seed, "evaluation", chunk[0])
        answers = shared_sample(
            [row.prompt for row in asked], generator, found.filters,
            seed=seed, max_draws=wanted.outputs.tries, progress=tick,
        )  # fmt: skip
        for place, row, *ones in zip(chunk, asked, *answers, strict=True):
            without += ones[0].completion is None
            if len(ones) > 1 and ones[0].completion == ones[1].completion:
                alike += 1
                continue
            rows += _rows(place, place % len(prompts), row, ones)
    _add_seconds(rows, found)
    return Shard(rows, Drawing(len(places), without, alike))


def _rows(place: int, prompt: int, row: Snippet, ones: Sequence[Sampled]) -> Iterator[dict[str, Any]]:
    sides = SIDES if len(ones) > 1 else ("",)
    for side, one in zip(sides, ones, strict=True):
        if one.completion is not None:
            yield {
                "prompt": prompt,
                "origin": str(row.pk),
                "text": row.prompt,
                "completion": one.completion,
                "logit": one.logit,
                "side": side,
                "place": place,
            }


def _add_seconds(rows: list[dict[str, Any]], found: Filters) -> None:
    """Of a difference the other filter's logit: that it refused this, or was never asked, its answer does not tell."""
    if len(found.filters) == 1:
        _add_second(rows, found.second)
        return
    for side, other in zip(SIDES, reversed(found.filters), strict=True):
        _add_second([row for row in rows if row["side"] == side], other.classifier)


def _add_second(rows: Sequence[dict[str, Any]], second: Scorer | None) -> None:
    if second is None or not rows:
        return
    logits = second.logits([SnippetText(row["text"], row["completion"]) for row in rows])
    for row, logit in zip(rows, logits, strict=True):
        row["second"] = float(logit)


def _texts(evaluation: Evaluation, wanted: EvaluationSettings) -> list[Snippet]:
    rows = Snippet.objects.filter(policy=evaluation.classifier.policy_id, split=wanted.outputs.split)
    if wanted.outputs.kinds:
        rows = rows.filter(source__in=wanted.outputs.kinds)
    if wanted.outputs.round:
        rows = rows.filter(memberships__round=wanted.outputs.round)
    return _by_chance(list(rows.only("pk", "content_hash").order_by("pk")), wanted)


def _count_texts(evaluation: Evaluation, wanted: EvaluationSettings) -> int:
    return len(_texts(evaluation, wanted))


def _draw_texts(run: JobRun, evaluation: Evaluation, wanted: EvaluationSettings, first: int, end: int) -> Shard:
    """Those of the texts that the filter accepts; in a difference those that only one of the two does."""
    found, keys = filters_of(evaluation), [row.pk for row in _texts(evaluation, wanted)[first:end]]
    rows: list[dict[str, Any]] = []
    without = alike = 0
    for done, chunk in enumerate(chunked(keys, AT_ONCE)):
        run.progress(done * AT_ONCE, len(keys))
        by_key = Snippet.objects.in_bulk(chunk)
        texts = [by_key[pk] for pk in chunk]
        logits = np.stack([one.classifier.logits([row.text for row in texts]) for one in found.filters])
        start = first + done * AT_ONCE
        let_in = np.stack([accepts(each, one.threshold) for each, one in zip(logits, found.filters, strict=True)])
        same = let_in.all(axis=0) | ~let_in.any(axis=0) if len(let_in) > 1 else np.zeros(len(texts), dtype=bool)
        without, alike = without + int((~let_in[0]).sum()), alike + int(same.sum())
        for filter_, place in np.argwhere(let_in & ~same).tolist():
            side = SIDES[filter_] if len(let_in) > 1 else ""
            rows.append(_row_of_text(start + place, texts[place], float(logits[filter_, place]), side))
    _add_seconds(rows, found)
    return Shard(rows, Drawing(len(keys), without, alike))


def _row_of_text(place: int, row: Snippet, logit: float, side: str) -> dict[str, Any]:
    """Texts of one root belong together as completions of one prompt do."""
    root = int.from_bytes(hashlib.blake2b(row.root_hash.encode(), digest_size=7).digest(), "big")
    about = {"place": place, "prompt": root, "origin": str(row.pk), "text": row.prompt}
    return {**about, "completion": row.completion, "logit": logit, "side": side}


SOURCES: dict[str, OutputSource] = {
    "round": OutputSource(_count_prompts, _draw_completions),
    "texts": OutputSource(_count_texts, _draw_texts),
}
"""By the name that settings have it under."""
