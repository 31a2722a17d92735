"""Trains the conditions of the paper's table 3 beside a finished round, and prints tables 3 and 4 as far as they need
no people: what each classifier is trained on, its threshold, what it rejects, and its errors on held-out data.

The conditions are baseline (the round's first labels), +manual (adversarial examples written from scratch),
+paraphrases (those that the round had labelled) and +tool-assisted (known failures rewritten with a tool). Manual
examples and rewrites are written by SIMULATED contractors, rewrites also by automatic attacks, and labelled by the
round's simulated annotators; none of it counts in the round's own figures. Everything follows from the round's seed.
Stopped or killed, the same command goes on: what is trained is not trained again.

With --hatemoji DIR: the same on adversarial rounds written by people, training on round 5, 5+6, 5+6+7.
"""

from __future__ import annotations

import json
import tomllib
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from engine.errors import BadInput, EngineError, UnknownName
from engine.evaluation.condition_tables import render_hatemoji, render_table_3
from engine.policies import load_policy
from engine.simulation import SIMULATED_NOTICE
from webapi.management.one_job import run_jobs
from webapi.management.readiness import ready_database
from webapi.models import Job, Policy, Round, RoundState
from webapi.selectors.conditions import conditions_found
from webapi.services.policies import policy_create
from workers.condition_data import check_round
from workers.condition_settings import PRESETS, ConditionSettings, condition_settings
from workers.condition_steps import Step, Steps
from workers.import_hatemoji import conditions_by_round
from workers.jobs import enqueue

GO_ON = "the same command"
ROUNDS = [5, 6, 7]

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py run_conditions`."""

    help = ABOUT

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Paragraphs stay paragraphs."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--round", metavar="ID", help="a finished round (default: the latest of the policy)")
        parser.add_argument("--policy", default="injury", metavar="NAME", help="whose rounds (default: injury)")
        parser.add_argument(
            "--hatemoji", type=Path, metavar="DIR", help="folder with HatemojiBuild's train, validation and test.csv"
        )
        parser.add_argument(
            "--preset",
            default="demo",
            metavar="NAME",
            help="how much is written and sampled: tiny shows nothing but the way, demo takes minutes, full an hour",
        )
        parser.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="TOML file of settings over the preset's: sizes, composing (equal_sizes, oversample, "
            "near_duplicates), training, or conditions of your own as lists of datasets",
        )
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --hatemoji: decides every choice")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
        parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write training curves there")

    def handle(self, *args: Any, **options: Any) -> None:
        """Does the steps and prints the tables."""
        ready_database()
        try:
            wanted = _settings(options["preset"], options["config"])
            logs = _logs(options["tensorboard"])
            if options["hatemoji"]:
                self._hatemoji(options["hatemoji"].resolve(), wanted, options["seed"], logs, options["json"])
            else:
                self._beside_a_round(_round(options["round"], options["policy"]), wanted, logs, options["json"])
        except EngineError as error:
            raise CommandError(str(error)) from error

    def _beside_a_round(self, round_: Round, wanted: ConditionSettings, logs: str, as_json: bool) -> None:
        steps = Steps(round_.policy, wanted, round_.seed, round_, logs)
        own = wanted.conditions
        if not own:
            check_round(round_)
        self.stderr.write(f"Conditions beside {round_.name} ({round_.policy}, seed {round_.seed})")
        _do(steps.own(own) if own else steps.table_3())
        found = conditions_found(steps.trained)
        facts = {"round": str(round_.pk), "round_name": round_.name, "policy": str(round_.policy), "seed": round_.seed}
        told = {**facts, "simulated": SIMULATED_NOTICE if _simulated(round_) else None, "conditions": found}
        self.stdout.write(json.dumps(told, indent=1) if as_json else render_table_3(told))

    def _hatemoji(self, folder: Path, wanted: ConditionSettings, seed: int, logs: str, as_json: bool) -> None:
        if not folder.is_dir():
            raise CommandError(f"{folder}: no such folder")
        policy = policy_create(spec=load_policy("hateful"))
        job = enqueue("import_hatemoji", {"path": str(folder), "policy": str(policy.pk)})
        run_jobs([job], "Import the rounds", go_on=GO_ON)
        if not wanted.conditions:  # later rounds add to the earlier ones, and replace none
            wanted = wanted.model_copy(update={"composing": wanted.composing.model_copy(update={"equal_sizes": False})})
        steps = Steps(policy, wanted, seed, None, logs)
        _do(steps.own(wanted.conditions or conditions_by_round(ROUNDS)))
        told = {"policy": str(policy), "seed": seed, "conditions": conditions_found(steps.trained)}
        self.stdout.write(json.dumps(told, indent=1) if as_json else render_hatemoji(told))


def _logs(folder: Path | None) -> str:
    """The folder's path, made: one that cannot be written is told before anything is trained. Raises CommandError."""
    if folder is None:
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--tensorboard: {folder} cannot be made: {error.strerror}") from error
    return str(folder.resolve())


def _do(steps: Iterable[Step]) -> None:
    for step in steps:
        jobs: list[Job] = step.queue()
        step.take(run_jobs(jobs, step.title, go_on=GO_ON))


def _simulated(round_: Round) -> bool:
    return round_.corpus.simulated or bool(round_.config.get("labeling", {}).get("adapter", "simulated") == "simulated")


def _round(key: str | None, policy: str) -> Round:
    """The round asked for, or the latest finished one of the policy. Raises CommandError."""
    rounds = Round.objects.select_related("policy", "corpus")
    try:
        found = rounds.filter(pk=key).first() if key else None
    except ValidationError:
        raise CommandError(f"--round: {key!r} is no round's id") from None
    if key and found is None:
        raise CommandError(f"there is no round {key}")
    if found is not None and found.state != RoundState.SUCCEEDED:
        raise CommandError(f"{found.name} is {found.state}; conditions are trained beside a finished round")
    if found is None:
        found = rounds.filter(policy__name=policy, state=RoundState.SUCCEEDED).order_by("-pk").first()
    if found is None:
        others = Policy.objects.filter(rounds__state=RoundState.SUCCEEDED).values_list("name", flat=True)
        known = ", ".join(sorted(set(others)))
        raise CommandError(
            f"no finished round of the policy {policy}{f' (there are some of {known})' if known else ''}; make one "
            "with: make demo (manage.py run_round)"
        )
    return found


def _settings(preset: str, file: Path | None) -> ConditionSettings:
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    over: dict[str, Any] = {}
    if file is not None:
        try:
            over = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(error.strerror or str(error), where=str(file)) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"not a TOML file: {error}", where=str(file)) from error
    return condition_settings({**PRESETS[preset], **over}, where=str(file or "settings"))
