"""Tunes a generator on a folder of stories, or trains a small one from nothing. A round may ask it for completions.

Killed or stopped, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import tomllib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from engine.config import checked
from engine.errors import BadInput, EngineError
from engine.generation.tuning import TuningRecipe
from webapi.errors import DomainError
from webapi.management.embedded import worker_at_hand
from webapi.management.progress import watch_job
from webapi.management.readiness import ready_broker, ready_database
from webapi.models import Generator, JobState
from webapi.services.corpora import corpus_create
from webapi.services.generators import generator_create

OPTIONS = ("base", "steps", "epochs", "learning_rate", "block_tokens", "batch_size", "seed")
"""Fields of the recipe that have an option of their own."""

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py tune_generator`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("name", help="what rounds call it, as generator:NAME")
        parser.add_argument("stories", type=Path, metavar="DIR", help="folder of .txt stories")
        parser.add_argument(
            "--base", metavar="MODEL", help="causal LM to go on from: hub name or folder; default: a small new one"
        )
        parser.add_argument(
            "--config", type=Path, metavar="FILE", help="TOML file of the recipe; options here override it"
        )
        parser.add_argument("--steps", type=int, metavar="N", help="steps of the optimizer, instead of whole epochs")
        parser.add_argument("--epochs", type=int, metavar="N", help="passes over the stories (default: 1)")
        parser.add_argument(
            "--learning-rate",
            type=float,
            metavar="RATE",
            help="default: 5e-6 for a base, as the paper, 2e-3 for a new one",
        )
        parser.add_argument("--block-tokens", type=int, metavar="N", help="tokens read at once (default: 256)")
        parser.add_argument("--batch-size", type=int, metavar="N", help="blocks in one forward pass (default: 16)")
        parser.add_argument("--seed", type=int, metavar="N", help="decides every random choice (default: 0)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Queues the job, waits for it and prints what it gained."""
        name, stories = options["name"], options["stories"].expanduser().resolve()
        if not settings.EMBEDDED:
            ready_broker()
        ready_database()
        try:
            recipe = _recipe(options)
            corpus = corpus_create(name=stories.name, path=str(stories))
            row = generator_create(name=name, corpus=corpus, recipe=recipe)
        except (EngineError, DomainError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        with worker_at_hand(go_on=f"manage.py tune_generator {name} {stories} (with the same options)"):
            job = watch_job(row.job, f"Tuning {name}"[:26])
        if job.state != JobState.SUCCEEDED:
            raise CommandError(job.error or f"the job was {job.state}")
        self._tell(Generator.objects.select_related("artifact").get(pk=row.pk))

    def _tell(self, row: Generator) -> None:
        found = row.metrics
        before, after = (_words(found[name]) for name in ("before", "after"))
        stopped = " It stopped early." if found["stopped_early"] else ""
        self.stdout.write(
            f"Perplexity of {found['measured_stories']:,} held-out stories ({found['measured_on']}): "
            f"{before} before, {after} after {found['best_step']:,} steps.{stopped}"
        )
        assert row.artifact is not None
        self.stdout.write(f"Weights: {row.artifact.file} (SHA-256 {row.artifact.sha256[:16]}…)")
        self.stdout.write(f'In a round: generator = {{ name = "causal_lm", config = {{ model = "generator:{row}" }} }}')


def _words(value: dict[str, Any]) -> str:
    interval = "" if value["low"] is None else f" ({value['low']:.2f} to {value['high']:.2f})"
    return f"{value['estimate']:.2f}{interval}"


def _recipe(options: dict[str, Any]) -> TuningRecipe:
    """From the file and the options. Raises BadInput naming each wrong field."""
    file: Path | None = options["config"]
    given: dict[str, Any] = {}
    if file is not None:
        try:
            given = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(str(error), where=str(file)) from error
    given |= {name: options[name] for name in OPTIONS if options[name] is not None}
    return checked(TuningRecipe, given, where=str(file or "recipe"))
