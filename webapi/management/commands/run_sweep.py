"""Trains a classifier once for each learning rate and seed, and picks the one that misses least.

Every run's threshold costs the same KL divergence; what it misses is counted on labelled snippets of the validation
split, one half of which chooses while the other confirms. A round labels none of those: --label has some written and
sent out first, to whoever labels for the round (simulated annotators, where the round has them).
"""

from __future__ import annotations

import time
import uuid
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from engine.errors import EngineError
from engine.simulation import SIMULATED_NOTICE
from webapi.errors import DomainError
from webapi.management.embedded import worker_at_hand
from webapi.management.progress import FORMAT, REFRESH_SECONDS
from webapi.management.readiness import ready_broker, ready_database
from webapi.models import Classifier, Round, RunState, Sweep, SweepState
from webapi.models.sweeps import UNFINISHED
from webapi.pages.figures import percent, thousands
from webapi.selectors.sweeps import runs_ranked, sweep_progress
from webapi.services.sweeps import sweep_create, sweep_retry
from workers.round_settings import round_settings
from workers.sweep_settings import LabelWanted
from workers.validation_mix import sweep_path

GO_ON = "manage.py run_sweep --resume"
SHOWN = 10

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py run_sweep`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument(
            "--classifier", metavar="ID", help="whose snapshot and recipe are swept (default: the newest round's last)"
        )
        parser.add_argument("--name", default="sweep", help="condition of the picked classifier (default: sweep)")
        parser.add_argument("--rates", type=float, nargs="+", metavar="RATE", help="learning rates (default: five)")
        parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: 0 1 2 3 4")
        parser.add_argument(
            "--label",
            action="store_true",
            help="have validation snippets written and labelled first (default where simulated annotators label)",
        )
        parser.add_argument("--detach", action="store_true", help="start it and return (needs BROKER_URL)")
        parser.add_argument("--resume", action="store_true", help="go on with the newest sweep that has not succeeded")

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs the sweep and prints its runs."""
        if settings.EMBEDDED and options["detach"]:
            raise CommandError("--detach needs workers: set BROKER_URL and start `manage.py worker`")
        if not settings.EMBEDDED:
            ready_broker()
        ready_database()
        try:
            sweep = _resumed() if options["resume"] else _created(options)
        except (EngineError, DomainError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        if options["detach"]:
            self.stdout.write(str(sweep.pk))
            return
        self.stdout.write(f"{sweep.round.name}: {sweep.name}, {sweep.runs.count()} runs on {sweep.snapshot}")
        with worker_at_hand(go_on=GO_ON):
            sweep = _watch(sweep)
        if sweep.state != SweepState.SUCCEEDED:
            why = f": {sweep.error}" if sweep.error else ""
            raise CommandError(f"the sweep is {sweep.state}{why}\nWhat has finished is kept. Go on: {GO_ON}")
        self._conclude(sweep)

    def _conclude(self, sweep: Sweep) -> None:
        self.stdout.write(f"\n{'rate':>10} {'seed':>5} {'missed':>9} {'95 % interval':>20} {'of':>5} {'log loss':>9}")
        for run in runs_ranked(sweep)[:SHOWN]:
            self.stdout.write(_line(run))
        confirmed = sweep.result["fnr_confirmed"]
        self.stdout.write(f"\nPicked: rate {sweep.result['learning_rate']:g}, seed {sweep.result['seed']}.")
        self.stdout.write(
            f"On the half that had no say it misses {percent(confirmed['estimate']) or '0'} "
            f"({percent(confirmed['low'])} to {percent(confirmed['high'])}; {thousands(confirmed['failures'])} of "
            f"{thousands(confirmed['n'])}).\n{sweep.result['note']}"
        )
        if round_settings(sweep.round.config).labeling.adapter == "simulated":
            self.stdout.write(SIMULATED_NOTICE)
        self.stdout.write(f"\nTensorBoard: tensorboard --logdir {sweep_path(sweep, 'logs')}")
        self.stdout.write(f"Pages:       `make serve`, then http://127.0.0.1:8000/sweeps/{sweep.pk}/")


def _line(run: Any) -> str:
    if run.state != RunState.SUCCEEDED:
        return f"{run.learning_rate:>10.3g} {run.seed:>5} {run.state}: {run.error[:80]}"
    rate = run.metrics["choosing"]["fnr"]
    interval = f"{percent(rate['low'])} to {percent(rate['high'])}"
    return (
        f"{run.learning_rate:>10.3g} {run.seed:>5} {percent(rate['estimate']):>9} {interval:>20} "
        f"{rate['n']:>5.0f} {run.log_loss:>9.4f}{'  picked' if run.classifier_id else ''}"
    )


def _resumed() -> Sweep:
    sweep = Sweep.objects.exclude(state=SweepState.SUCCEEDED).order_by("-pk").first()
    if sweep is None:
        raise CommandError("no sweep waits to go on; start one without --resume")
    return sweep if sweep.state in UNFINISHED else sweep_retry(sweep=sweep)


def _created(options: dict[str, Any]) -> Sweep:
    row = _classifier(options["classifier"])
    if row.round is None:
        raise CommandError(f"{row.name} belongs to no round: its sweep is launched over the API, which may name one")
    simulated = round_settings(row.round.config).labeling.adapter == "simulated"
    asked: dict[str, Any] = {"label": LabelWanted().model_dump()} if options["label"] or simulated else {}
    asked |= {"learning_rates": options["rates"]} if options["rates"] else {}
    asked |= {"seeds": options["seeds"]} if options["seeds"] else {}
    return sweep_create(classifier=row, settings=asked, name=options["name"])


def _classifier(key: str | None) -> Classifier:
    rows = Classifier.objects.exclude(snapshot=None).exclude(artifact=None).select_related("round", "snapshot")
    if key is None:
        newest = Round.objects.filter(classifiers__in=rows).order_by("-pk").first()
        row = rows.filter(round=newest, training_run=None).order_by("-pk").first() if newest else None
        if row is None:
            raise CommandError("no round has trained a classifier yet: run one first (make demo)")
        return row
    try:
        return rows.get(pk=uuid.UUID(key))
    except (ValueError, Classifier.DoesNotExist):
        raise CommandError(f"there is no classifier {key!r} with a snapshot") from None


def _watch(sweep: Sweep, *, poll_seconds: float = 0.25) -> Sweep:
    """Shows one bar, in runs, until the sweep ends; returns it as it then is."""
    with tqdm(total=sweep.runs.count(), bar_format=FORMAT, mininterval=REFRESH_SECONDS, miniters=0) as bar:
        while True:
            sweep = Sweep.objects.select_related("round", "snapshot").get(pk=sweep.pk)
            progress = sweep_progress(sweep)
            waits = sweep.state == SweepState.PENDING
            bar.set_description_str("Validation labels" if waits else "Runs", refresh=False)
            bar.n = round(progress.done + progress.under_way, 2)
            bar.update(0)
            if sweep.state not in UNFINISHED:
                return sweep
            time.sleep(poll_seconds)
