"""A tiny corpus and generators tuned on it, in seconds, for tests of jobs, the API and pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.generation.tuning import TuningRecipe, tune
from webapi.models import Corpus, Generator
from webapi.services.generators import generator_create
from workers import tune as tune_job
from workers.execute import execute

PEOPLE = ["baker", "knight", "girl", "dog", "man"]
PLACES = ["hall", "yard", "barn", "road", "mill", "inn", "ford", "cave"]
RECIPE = TuningRecipe(
    fresh={"layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "context": 128},
    block_tokens=24, batch_size=4, steps=6, evaluations=2, learning_rate=1e-2, precision="fp32",
    held_out_chars=4000,
)  # fmt: skip


def story(number: int) -> str:
    """A dozen sentences."""
    chance = np.random.default_rng(number)
    sentences = [f"The {chance.choice(PEOPLE)} walked to the {chance.choice(PLACES)}." for _ in range(12)]
    return f"Story {number} was told. " + " ".join(sentences)


def small_corpus(home: Path, stories: int = 16, name: str = "small") -> Corpus:
    """That many stories on disk."""
    folder = home / "stories" / name
    folder.mkdir(parents=True)
    for number in range(stories):
        (folder / f"{number:02d}.txt").write_text(story(number))
    return Corpus.objects.create(name=name, path=str(folder))


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning jobs start no process of their own, which takes seconds."""
    monkeypatch.setattr(tune_job, "tune_apart", tune)


def tuned(corpus: Corpus, name: str = "small tales", recipe: TuningRecipe = RECIPE) -> Generator:
    """A generator whose job has run."""
    row = generator_create(name=name, corpus=corpus, recipe=recipe)
    execute(row.job_id)
    row.refresh_from_db()
    return row
