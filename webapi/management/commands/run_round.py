"""One adversarial round, end to end: the main job.

Reads stories, generates completions, labels a first set, trains a baseline, attacks it, labels what the attack found,
retrains, and measures both classifiers on held-out data. Ends with a table and an HTML report.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from engine.errors import EngineError, UnknownName
from engine.evaluation.report import render_table
from engine.policies import Policy as PolicySpec
from engine.policies import load_policy
from engine.simulation import SIMULATED_NOTICE, StoryWorld
from webapi.errors import DomainError
from webapi.management.embedded import worker_at_hand
from webapi.management.progress import watch
from webapi.management.readiness import ready_broker, ready_database
from webapi.models import Corpus, Policy, Round, RoundState
from webapi.services.corpora import corpus_create
from webapi.services.policies import policy_create
from webapi.services.rounds import round_create, round_resume, round_retry
from workers.artifacts import at_hand, round_path
from workers.round_settings import PRESETS, policy_suits, round_settings, trains_without_validation

WORLD_STORIES = 4000
GO_ON = "make demo RESUME=1 (manage.py run_round --resume)"
MAX_SEED = 2**31 - 1

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py run_round`."""

    help = ABOUT

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
            "--preset",
            default="demo",
            metavar="NAME",
            help="sizes: tiny takes a minute and shows nothing but the way, demo minutes, full an hour",
        )
        parser.add_argument(
            "--full", action="store_const", const="full", dest="preset", help="the same as --preset full"
        )
        parser.add_argument("--seed", default="0", metavar="N", help="decides every random choice (default: 0)")
        parser.add_argument("--name", default="", help="name of the round")
        parser.add_argument(
            "--detach", action="store_true", help="start the round and return; workers do the rest (needs BROKER_URL)"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on with the newest unfinished round instead of starting one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs the round and prints its table."""
        if settings.EMBEDDED and options["detach"]:
            raise CommandError("--detach needs workers: set BROKER_URL and start `manage.py worker`")
        if not settings.EMBEDDED:
            ready_broker()
        ready_database()
        try:
            round_ = self._resumed() if options["resume"] else self._created(options)
        except (EngineError, DomainError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        if options["detach"]:
            self.stdout.write(str(round_.pk))
        else:
            self._run(round_)

    def _resumed(self) -> Round:
        unfinished = Round.objects.exclude(state__in=[RoundState.SUCCEEDED, RoundState.CANCELLED])
        round_ = unfinished.order_by("-pk").first()
        if round_ is None:
            raise CommandError("no round waits to go on; start one without RESUME=1 (--resume)")
        if round_.state == RoundState.PAUSED:
            return round_resume(round_=round_)
        return round_retry(round_=round_) if round_.state == RoundState.FAILED else round_

    def _created(self, options: dict[str, Any]) -> Round:
        stories, seed = options["stories"], _seed(options["seed"])
        spec, wanted = load_policy(options["policy"]), _preset(options["preset"])
        if stories is None:
            spec = _judged_by(spec, "story_world")
            wanted = _told_by_the_world(wanted)
        wanted = _merged(wanted, _overrides(options["config"]))
        # All that needs no corpus is checked before one is written.
        where = str(options["config"] or "settings")
        checked = round_settings(wanted, where=where)
        policy_suits(spec, checked)
        trains_without_validation(checked.training, where=where)
        corpus = self._world(seed) if stories is None else _corpus_of(stories.resolve())
        policy: Policy = policy_create(spec=spec)
        return round_create(policy=policy, corpus=corpus, settings=wanted, seed=seed, name=options["name"])

    def _world(self, seed: int) -> Corpus:
        folder = Path(settings.GAUNTLET_HOME) / "stories" / f"world-{seed}"
        there = folder.is_dir()
        self.stdout.write("Writing a simulated story world ...")
        try:
            StoryWorld(seed).write_stories(folder, WORLD_STORIES)
        except OSError as error:
            if not there:
                shutil.rmtree(folder, ignore_errors=True)
            raise CommandError(f"the story world cannot be written to {folder}: {error.strerror}") from error
        return corpus_create(name=f"story world {seed} (simulated)", path=str(folder), simulated=True)

    def _run(self, round_: Round) -> None:
        self.stdout.write(f"{round_.name}: {round_.policy.name} on {round_.corpus.name}, seed {round_.seed}")
        with worker_at_hand(go_on=GO_ON):
            round_ = watch(round_)
        if round_.state != RoundState.SUCCEEDED:
            raise CommandError(_how_to_go_on(round_))
        self._conclude(round_)

    def _conclude(self, round_: Round) -> None:
        report = json.loads(at_hand(round_path(round_, "report.json")).read_text(encoding="utf-8"))
        self.stdout.write("\n" + render_table(report))
        if report["round"]["simulated"]:
            self.stdout.write(SIMULATED_NOTICE)
        self.stdout.write(f"\nReport: {round_path(round_, 'report.html')}")
        self.stdout.write(f"Pages:  `make serve`, then http://127.0.0.1:8000/rounds/{round_.pk}/")


def _how_to_go_on(round_: Round) -> str:
    if round_.state == RoundState.CANCELLED:
        return "the round was cancelled; what was done is kept, but it does not go on"
    return (
        f"the round failed: {round_.error}\nWhat was done is kept. Once that is mended (a story, a key, a model, room "
        f"on the disk), go on with: {GO_ON}\nThe policy and the settings of this round stay as they are: with others "
        "start a new one, without RESUME=1 (--resume)."
    )


def _corpus_of(folder: Path) -> Corpus:
    """By the folder's name, or by its whole path where another folder has that name already."""
    taken = Corpus.objects.filter(name=folder.name).exclude(path=str(folder)).exists()
    return corpus_create(name=str(folder) if taken else folder.name, path=str(folder))


def _seed(given: str | int) -> int:
    """Checked here, for a refusal of argparse is a page of usage."""
    with suppress(ValueError):
        if 0 <= (seed := int(given)) <= MAX_SEED:
            return seed
    raise CommandError(f"seed: {str(given)!r} is no whole number from 0 to {MAX_SEED}")


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]


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


def _told_by_the_world(preset: dict[str, Any]) -> dict[str, Any]:
    """The preset with the story world's own paraphraser."""
    world = {"paraphraser": {"name": "story_world"}}
    attacks = [
        {**one, "config": {**one["config"], **world}} if one["name"] == "paraphrase" else one
        for one in round_settings(preset).model_dump(mode="json")["attacks"]
    ]
    return _merged(preset, {"attacks": attacks, "held_out": world})


def _judged_by(spec: PolicySpec, judge: str) -> PolicySpec:
    return spec.model_copy(update={"simulation": spec.simulation.model_copy(update={"judge": judge})})
