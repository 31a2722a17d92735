"""Searches a round's filtered generator for rare failures that a judge finds: machine-scored, for people to look at.

Multilevel splitting estimates how often the filter accepts what the judge, another classifier, finds at or above its
own threshold, and writes such texts as JSON lines. It runs here, in minutes; the same seed writes the same. Stopped or
killed, the same command goes on: what was scored lies beside the output until it is written.
"""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from engine.errors import EngineError
from engine.evaluation.splitting import Settings
from webapi.management.readiness import ready_database
from webapi.models import Classifier, Round
from workers.artifacts import round_path
from workers.search_failures import MACHINE_SCORED, Searched, search, write_candidates
from workers.train import BASELINE, classifier_of, retrained_of

ABOUT = __doc__ or ""  # inside the class that name is the class' own

FEWEST = 200
"""Particles a run below which intervals were seen to cover too seldom (docs/rare-failures.md)."""


class Command(BaseCommand):
    """`manage.py search_failures`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--round", required=True, metavar="ROUND", help="key of a round, or its name")
        parser.add_argument("--filter", metavar="CLASSIFIER", help="key or name (default: the round's retrained one)")
        parser.add_argument("--judge", metavar="CLASSIFIER", help="key or name (default: the round's baseline)")
        parser.add_argument("--particles", type=int, default=1000, metavar="N", help="in all runs together (1,000)")
        parser.add_argument("--moves", type=int, default=5, metavar="N", help="proposals a particle and level (5)")
        parser.add_argument("--runs", type=int, default=5, metavar="N", help="independent runs for the interval (5)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides every random choice (0)")
        parser.add_argument("--out", type=Path, metavar="FILE", help="JSON lines (default: beside the round's report)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Searches, writes and tells."""
        ready_database()
        row = _round(options["round"])
        try:
            guard = _classifier(row, options["filter"]) or classifier_of(row, retrained_of(row))
            judge = _classifier(row, options["judge"]) or classifier_of(row, BASELINE)
        except Classifier.DoesNotExist as error:
            raise CommandError(f"{row} has not trained its classifiers yet; name them") from error
        wanted = Settings(particles=options["particles"], moves=options["moves"], runs=options["runs"])
        if wanted.particles < FEWEST * wanted.runs:
            self.stderr.write(f"Fewer than {FEWEST} particles a run: the interval covers less often than it says.")
        out: Path = options["out"] or round_path(row, f"searched/{options['seed']}.jsonl")
        try:
            kept = out.with_name(f"{out.name}.scored")
            found = search(row, guard, judge, settings=wanted, seed=_seed(options), progress=self._progress, keep=kept)
            write_candidates(found, out)
            kept.unlink(missing_ok=True)  # of two searches one after the other the first may have
        except (EngineError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self._tell(found, guard, judge, out)

    def _progress(self, done: int, total: int) -> None:
        self.stderr.write(f"{done} of {total} runs, the first of which sets the levels")

    def _tell(self, found: Searched, guard: Classifier, judge: Classifier, out: Path) -> None:
        told, rate = found.splitting, found.splitting.probability
        event = f"a proposal that {guard} accepts and {judge} finds a failure"
        self.stdout.write(f"Machine-scored. Probability of {event}, over {found.prompts:,} prompts of the test split:")
        if told.reached and rate.estimate:
            self.stdout.write(
                f"{rate.estimate:.2e}, {100 * rate.level:.0f} % interval {rate.low:.2e} to {rate.high:.2e} "
                f"({rate.method}; {len(told.levels)} levels, {told.effective:.0f} independent ancestors)"
            )
        else:
            self.stdout.write(f"not reached: below {rate.high:.2e} ({rate.method})")
        self.stdout.write(f"{told.score_calls:,} states were scored; a move changes {found.kernel}.")
        self.stdout.write(f"{len(found.rows):,} candidates ({MACHINE_SCORED}): {out}")


def _seed(options: dict[str, Any]) -> int:
    if options["seed"] < 0:
        raise CommandError("--seed: must be at least 0")
    return int(options["seed"])


def _round(text: str) -> Round:
    rows = Round.objects.select_related("policy", "corpus")
    row = rows.filter(_named(text)).order_by("-pk").first()
    if row is None:
        raise CommandError(f"there is no round {text!r}")
    return row


def _classifier(round_: Round, text: str | None) -> Classifier | None:
    if text is None:
        return None
    rows = Classifier.objects.select_related("artifact", "policy").filter(policy=round_.policy)
    row = rows.filter(_named(text)).order_by("-pk").first()
    if row is None or row.threshold is None:
        raise CommandError(f"the round's policy has no calibrated classifier {text!r}")
    return row


def _named(text: str) -> Q:
    try:
        return Q(pk=uuid.UUID(text))
    except ValueError:
        return Q(name=text)
