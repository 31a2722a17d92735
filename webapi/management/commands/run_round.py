"""One adversarial round, end to end: the main job.

Reads stories, generates completions, labels a first set, trains a baseline, attacks it, labels what the attack found,
retrains, and measures both classifiers on held-out data. Ends with a table and an HTML report.
"""

from __future__ import annotations

import json
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from engine.errors import EngineError
from engine.evaluation.report import render_table
from engine.policies import Policy as PolicySpec
from engine.policies import load_policy
from engine.simulation import SIMULATED_NOTICE, StoryWorld
from webapi.errors import DomainError
from webapi.management.progress import watch
from webapi.models import Corpus, Policy, Round, RoundState
from webapi.services.corpora import corpus_create
from webapi.services.policies import policy_create
from webapi.services.rounds import round_create, round_resume, round_retry
from workers.artifacts import round_path
from workers.round_settings import PRESETS
from workers.sweep import start_embedded_worker, stop_sweeper

WORLD_STORIES = 4000


class Command(BaseCommand):
    """`manage.py run_round`."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument(
            "--stories", type=Path, metavar="DIR", help="folder of .txt stories; default: a simulated story world"
        )
        parser.add_argument(
            "--policy", default="injury", metavar="FILE", help="policy name or TOML file (default: injury)"
        )
        parser.add_argument(
            "--config", type=Path, metavar="FILE", help="TOML file of round settings that override the preset's"
        )
        parser.add_argument(
            "--preset", choices=sorted(PRESETS), default="demo", help="sizes: demo takes minutes, full an hour"
        )
        parser.add_argument(
            "--full", action="store_const", const="full", dest="preset", help="the same as --preset full"
        )
        parser.add_argument("--seed", type=int, default=0, help="decides every random choice (default: 0)")
        parser.add_argument("--name", default="", help="name of the round")
        parser.add_argument(
            "--detach", action="store_true", help="start the round and return; workers do the rest (needs BROKER_URL)"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on with the newest unfinished round instead of starting one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs the round and prints its table."""
        if settings.EMBEDDED:
            call_command("migrate", verbosity=0)
            if options["detach"]:
                raise CommandError("--detach needs workers: set BROKER_URL and start `manage.py worker`")
        try:
            round_ = self._resumed() if options["resume"] else self._created(options)
        except (EngineError, DomainError) as error:
            raise CommandError(str(error)) from error
        if options["detach"]:
            self.stdout.write(str(round_.pk))
        else:
            self._run(round_)

    def _resumed(self) -> Round:
        unfinished = Round.objects.exclude(state__in=[RoundState.SUCCEEDED, RoundState.CANCELLED])
        round_ = unfinished.order_by("-pk").first()
        if round_ is None:
            raise CommandError("there is no unfinished round to resume; start one without --resume")
        if round_.state == RoundState.PAUSED:
            return round_resume(round_=round_)
        return round_retry(round_=round_) if round_.state == RoundState.FAILED else round_

    def _created(self, options: dict[str, Any]) -> Round:
        spec = load_policy(options["policy"])
        wanted = _merged(PRESETS[options["preset"]], _overrides(options["config"]))
        corpus = self._corpus(options["stories"], options["seed"])
        if corpus.simulated:
            spec = _judged_by(spec, "story_world")
            wanted = _merged({"attack": {"paraphraser": {"name": "story_world"}}}, wanted)
        policy: Policy = policy_create(spec=spec.model_dump(mode="json"))
        return round_create(policy=policy, corpus=corpus, settings=wanted, seed=options["seed"], name=options["name"])

    def _corpus(self, stories: Path | None, seed: int) -> Corpus:
        if stories is not None:
            return corpus_create(name=stories.resolve().name, path=str(stories.resolve()))
        folder = Path(settings.GAUNTLET_HOME) / "stories" / f"world-{seed}"
        self.stdout.write("Writing a simulated story world ...")
        StoryWorld(seed).write_stories(folder, WORLD_STORIES)
        return corpus_create(name=f"story world {seed} (simulated)", path=str(folder), simulated=True)

    def _run(self, round_: Round) -> None:
        self.stdout.write(f"{round_.name}: {round_.policy.name} on {round_.corpus.name}, seed {round_.seed}")
        if settings.EMBEDDED:
            start_embedded_worker()
        try:
            round_ = watch(round_)
        except KeyboardInterrupt:
            raise CommandError("stopped; go on with: manage.py run_round --resume") from None
        finally:
            stop_sweeper()
        if round_.state != RoundState.SUCCEEDED:
            raise CommandError(
                f"the round {round_.state}: {round_.error}. What was done is kept; "
                "go on with: manage.py run_round --resume"
            )
        self._conclude(round_)

    def _conclude(self, round_: Round) -> None:
        report = json.loads(round_path(round_, "report.json").read_text(encoding="utf-8"))
        self.stdout.write("\n" + render_table(report))
        if report["round"]["simulated"]:
            self.stdout.write(SIMULATED_NOTICE)
        self.stdout.write(f"\nReport: {round_path(round_, 'report.html')}")
        self.stdout.write(f"Pages:  `make serve`, then http://127.0.0.1:8000/rounds/{round_.pk}/")


def _overrides(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: not a TOML file: {error}") from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _judged_by(spec: PolicySpec, judge: str) -> PolicySpec:
    return spec.model_copy(update={"simulation": spec.simulation.model_copy(update={"judge": judge})})
