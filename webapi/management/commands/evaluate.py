"""Measures how often a classifier's filter lets a failure through, by labels that are planned before they are bought.

--plan prints what each design of buying labels would take (outputs, labels, the floor that no method without
assumptions can beat, money, annotators' hours) and buys nothing. Without it the labels are bought through the queue,
every failure is confirmed before it counts, and the answer is printed in three tiers: a certificate that assumes
nothing, an estimate by the design, a forecast by a model. Stopped or killed, the same command goes on.

With --judgements DIR (comments.csv and annotations.csv, as `import_judgements` reads them): a classifier is trained on
a part of what the crowd judged, its filter is evaluated on held-out comments, and the answers bought are those that
the crowd gave then, one by one. A failure is a comment of which the crowd says Yes; Unsure and No are none.

With --against ID the difference of two filters is measured: both are given the same proposals, and labels are bought
only where they answer differently: both outputs of a prompt or, with --design stratified, each output by both filters'
scores. With --parent ID, an evaluation of that other classifier's filter, its certificate is carried over. The plan
says what finds an --improvement with a chance of --power.

With --quality what filtering costs is measured: of fresh prompts people compare the filter's completion with one that
was not filtered, where the two can differ.

--diff A B prints where the reports of two evaluations differ.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from engine.errors import EngineError
from engine.evaluation.bought_report import answer_text, changes, headline, plan_text
from engine.evaluation.designs import DESIGNS
from labeling_adapters.base import AdapterError
from webapi.errors import DomainError
from webapi.management.asked_evaluation import asked_evaluation, row_named
from webapi.management.embedded import worker_at_hand
from webapi.management.judged_evaluation import TRAINED_ON, compare, render_comparison
from webapi.management.progress import FORMAT, REFRESH_SECONDS
from webapi.management.readiness import ready_broker, ready_database
from webapi.models import Evaluation, EvaluationState
from webapi.models.evaluations import UNFINISHED
from webapi.services.evaluations import evaluation_file, evaluation_report

GO_ON = "the same command"
STATES = {
    EvaluationState.PLANNING: "Outputs drawn",
    EvaluationState.PLANNED: "Planned",
    EvaluationState.LABELLING: "Labels bought",
}

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py evaluate`."""

    help = ABOUT

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Paragraphs stay paragraphs."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--plan", action="store_true", help="print what each design would take, and buy nothing")
        parser.add_argument(
            "--quality", action="store_true", help="measure what filtering costs, by people's comparisons"
        )
        parser.add_argument(
            "--prompts", type=int, metavar="N", help="at most so many of the round's test prompts (default: all)"
        )
        parser.add_argument("--round", metavar="ID", help="whose classifier, generator and prompts (default: newest)")
        parser.add_argument("--classifier", metavar="ID", help="another classifier of the round's policy")
        parser.add_argument("--second", metavar="ID", help="a classifier as second opinion")
        parser.add_argument("--against", metavar="ID", help="measure the difference to the filter of this classifier")
        parser.add_argument(
            "--parent", metavar="ID", help="with --against: the evaluation of it whose certificate goes on"
        )
        parser.add_argument(
            "--improvement", type=float, metavar="SHARE", help="with --against: that is to be found (default: 0.5)"
        )
        parser.add_argument(
            "--power", type=float, metavar="CHANCE", help="with --against: of finding it (default: 0.8)"
        )
        parser.add_argument("--judgements", type=Path, metavar="DIR", help="evaluate on a crowd's judgements instead")
        parser.add_argument(
            "--design",
            metavar="NAME",
            help=f"one of {', '.join(DESIGNS)} (default: simple_random)",
        )
        parser.add_argument(
            "--precision",
            type=float,
            metavar="SHARE",
            help="half-width wanted, relative to the rate (default: 0.5; with --judgements 0.15); with --quality in "
            "shares of comparisons (default: 0.02)",
        )
        parser.add_argument(
            "--guess", type=float, metavar="RATE", help="the failure rate to plan for (default: the mean of the scores)"
        )
        parser.add_argument(
            "--interval",
            choices=("estimate", "certificate"),
            default="estimate",
            help="whose half-width is meant (default: estimate)",
        )
        parser.add_argument(
            "--copies", type=int, default=1, metavar="N", help="outputs drawn for each prompt (default: 1)"
        )
        parser.add_argument("--pilot", type=int, default=0, metavar="N", help="outputs labelled before planning")
        parser.add_argument("--price", type=float, metavar="USD", help="of a label")
        parser.add_argument("--seconds", type=float, metavar="S", help="of an annotator's time, for a label")
        parser.add_argument("--labels-each", type=int, default=1, metavar="N", help="labels an output gets at first")
        parser.add_argument("--confirmations", type=int, default=2, metavar="N", help="labels that a failure gets more")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides what is drawn")
        crowd = parser.add_argument_group("with --judgements")
        crowd.add_argument(
            "--accept",
            type=float,
            default=0.3,
            metavar="SHARE",
            help="of what does not fail, the share that the threshold accepts (default: 0.3)",
        )
        crowd.add_argument(
            "--train", type=int, default=TRAINED_ON, metavar="N", help=f"comments trained on (default: {TRAINED_ON:,})"
        )
        crowd.add_argument("--encoder", default="minilm", metavar="NAME", help="default: minilm")
        crowd.add_argument(
            "--second-encoder", metavar="NAME", help="of the second opinion (default: the same, by another seed)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--diff", nargs=2, metavar="ID", help="compare the reports of two evaluations")

    def handle(self, *args: Any, **options: Any) -> None:
        """Plans, or buys and answers."""
        ready_broker_if_any()
        ready_database()
        try:
            if options["diff"]:
                self._diff(*options["diff"])
                return
            folder = _folder(options["judgements"])
            evaluation = asked_evaluation(folder, options)
            against = f" against {evaluation.against}" if evaluation.against else ""
            how = evaluation.design or evaluation.get_kind_display()
            self.stderr.write(f"{evaluation.name}: {evaluation.classifier}{against}, {how}")
            evaluation = _watched(evaluation, plan_only=options["plan"])
            self._show(evaluation, folder, options)
        except (EngineError, DomainError, AdapterError) as error:
            raise CommandError(str(error)) from error

    def _show(self, evaluation: Evaluation, folder: Path | None, options: dict[str, Any]) -> None:
        if evaluation.state not in (EvaluationState.PLANNED, EvaluationState.SUCCEEDED):
            raise CommandError(f"the evaluation {evaluation.state}: {evaluation.error}\nWhat was bought is kept.")
        told: dict[str, Any] = {"evaluation": str(evaluation.pk), "plan": evaluation.plan}
        shown = [f"Evaluation {evaluation.pk}: {evaluation.name}", "", plan_text(evaluation.plan)]
        if evaluation.state == EvaluationState.SUCCEEDED and not options["plan"]:
            report = evaluation_report(evaluation)
            told["report"] = report
            shown += ["", answer_text(report)]
            if folder:
                told["compared"] = compare(evaluation, folder)
                shown += ["", render_comparison(told["compared"])]
            shown += [*([f"\n{report['notice']}"] if report["notice"] else []), ""]
            shown.append(f"Report: {evaluation_file(evaluation, 'report.html')}")
        self.stdout.write(json.dumps(told, indent=1) if options["json"] else "\n".join(shown))

    def _diff(self, first: str, second: str) -> None:
        before, after = (evaluation_report(row_named(Evaluation, key, "evaluation")) for key in (first, second))
        rows = changes(before, after)
        self.stdout.write(f"A: {before['name']}. {headline(before)}\nB: {after['name']}. {headline(after)}\n")
        for row in rows or ():
            self.stdout.write(f"{row.name:<32}{row.before}\n{'':<30}→ {row.after}")
        if not rows:
            self.stdout.write("The two reports say the same.")


def ready_broker_if_any() -> None:
    """Raises CommandError where a broker is set and does not answer."""
    from django.conf import settings

    if not settings.EMBEDDED:
        ready_broker()


def _folder(path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise CommandError(f"{path}: no such folder")
    return path.resolve() if path else None


def _watched(evaluation: Evaluation, *, plan_only: bool, poll_seconds: float = 0.25) -> Evaluation:
    """Shows one bar a step until the evaluation ends, or has its plan; returns it as it then is."""
    with worker_at_hand(go_on=GO_ON), tqdm(total=1, bar_format=FORMAT, mininterval=REFRESH_SECONDS, miniters=0) as bar:
        while True:
            evaluation = Evaluation.objects.select_related("classifier__policy", "report", "pool").get(pk=evaluation.pk)
            done, total = _counts(evaluation)
            bar.set_description_str(STATES.get(EvaluationState(evaluation.state), "Done"), refresh=False)
            bar.total, bar.n = max(total, done, 1), done
            bar.update(0)
            if evaluation.state not in UNFINISHED or (plan_only and evaluation.plan):
                return evaluation
            time.sleep(poll_seconds)


def _counts(evaluation: Evaluation) -> tuple[int, int]:
    """How far the step at hand is, over all its shards; a shard that nobody has begun counts what it is to look at."""
    rows = list(evaluation.jobs.order_by("pk").values_list("kind", "done", "total", "args"))
    mine = [row for row in rows if row[0] == rows[-1][0]]
    places = [total or max(0, int(args.get("end", 0)) - int(args.get("first", 0))) for _, _, total, args in mine]
    return sum(done for _, done, _, _ in mine), sum(places)
