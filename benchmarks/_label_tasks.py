"""The tasks of the label-efficiency benchmark: pools, test sets and harmless text of two sources of judged text."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from _judged_text import ROUNDS, Text, embedded, hatemoji, toxic_spans
from _learning import Points, Task

RARE = 0.05
"""Share of failures where they are made rare."""


def task_named(name: str, data: Path, work: Path, texts: int | None) -> Task:
    """The task of that name, e.g. of one in `tasks`."""
    (source,) = (source for source in SOURCES if name.startswith(source))
    return tasks(source, data, work, texts)[name]


@cache
def tasks(source: str, data: Path, work: Path, texts: int | None) -> dict[str, Task]:
    """The tasks of a source of `SOURCES` by name, each beginning with the source's. Embeddings are kept in `work`.

    `texts` of the comments, and of each round, are taken; None takes all.
    """
    return {task.name: task for task in SOURCES[source](data, work, texts)}


def _crowd(data: Path, work: Path, texts: int | None) -> list[Task]:
    """Held-out comments are the test; once as they are, once with few failures in the pool."""
    comments = _some(toxic_spans(data), texts)
    x, y = embedded([one.text for one in comments], work), _positive(comments)
    train, validation, test = (_in(split, comments) for split in ("train", "validation", "test"))
    made = Task("toxic_spans", Points(x[train], y[train]), x[validation & ~y], Points(x[test], y[test]))
    return [made, made._replace(name="toxic_spans, 5 % failures", positive_share=RARE)]


def _rounds(data: Path, work: Path, texts: int | None) -> list[Task]:
    """All of the next round is the test; of those before, validation gives the harmless text and the rest the pool."""
    rounds = hatemoji(data)
    parts = [_some([one for one in rounds if one.round == number], texts) for number in ROUNDS]
    vectors = [embedded([one.text for one in part], work) for part in parts]
    made = []
    for at in range(1, len(ROUNDS)):
        before, x = [one for part in parts[:at] for one in part], np.concatenate(vectors[:at])
        y, validation = _positive(before), _in("validation", before)
        name = f"hatemoji {' + '.join(map(str, ROUNDS[:at]))} → {ROUNDS[at]}"
        pool, test = Points(x[~validation], y[~validation]), Points(vectors[at], _positive(parts[at]))
        made.append(Task(name, pool, x[validation & ~y], test))
    return made


SOURCES = {"toxic_spans": _crowd, "hatemoji": _rounds}


def _some(texts: list[Text], n: int | None) -> list[Text]:
    """`n` of them by chance, always the same; None gives them all, in their order."""
    if n is None:
        return texts
    return [texts[at] for at in np.random.default_rng(0).permutation(len(texts))[:n]]


def _positive(texts: list[Text]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([one.positive for one in texts], dtype=bool)


def _in(split: str, texts: list[Text]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([one.split == split for one in texts], dtype=bool)
