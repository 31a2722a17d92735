"""A classifier of the story world's injuries, trained in the run, and injuries that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.classifiers import Example, Recipe, train
from engine.simulation import StoryWorld
from engine.snippets import Snippet

_TRAINED, _HELD_OUT = 0, 1
"""Seeds of two worlds."""


def train_victim(folder: Path, examples: int) -> Path:
    """The folder of a classifier trained on that many windows."""
    windows = _windows(_TRAINED)
    chosen = [Example(snippet, truth != "No") for snippet, truth in (next(windows) for _ in range(examples))]
    return train(chosen, Recipe(), out_dir=folder).path


def failures() -> Iterator[Snippet]:
    """Windows of another world whose last sentence injures; there is no last one."""
    return (snippet for snippet, truth in _windows(_HELD_OUT) if truth == "Yes")


def running_text(words: int, seed: int = 2) -> list[str]:
    """Words of stories, end to end."""
    found: list[str] = []
    world, number = StoryWorld(seed), 0
    while len(found) < words:
        found += world.story(number).text.split()
        number += 1
    return found[:words]


def _windows(seed: int) -> Iterator[tuple[Snippet, str]]:
    """Some of each story's windows, shuffled within it."""
    world, number = StoryWorld(seed), 0
    while True:
        windows = world.story(number).windows()
        for place in np.random.default_rng([seed, number]).permutation(len(windows)):
            yield windows[place]
        number += 1
