"""Sweeps at work: the validation mix put together, one training a job, and the run that misses least picked.

A run that fails leaves the others alone. Killed anywhere, a run goes on from its last checkpoint, and one that has
finished is not trained again: its folder says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from engine.classifiers import Recipe, TrainingResult, load, train
from engine.classifiers.apart import train_apart
from engine.environment import environment
from engine.evaluation.mix import lowest, mix_rates
from engine.evaluation.threshold import threshold_at_kl
from webapi.models import Classifier, Evaluation, Job, JobState, Pool, RunState, SplitName, Sweep, SweepState
from webapi.models import TrainingRun as Run
from webapi.models.base import locked
from webapi.models.sweeps import PREPARE_SWEEP, TRAINING_RUN
from workers.artifacts import at_hand, register
from workers.evaluate import EVALUATION, assess_on
from workers.jobs import JobEnded, JobRun, enqueue
from workers.round_settings import round_settings
from workers.scoring import alternate_logits, load_classifier, score_alternates, score_snippets
from workers.snapshots import examples_of, training_rows
from workers.sweep_settings import SweepSettings, sweep_settings
from workers.validation_labels import label_validation
from workers.validation_mix import ReadMix, freeze_mix, read_mix, sweep_path

MEASURE_PICKED = "measure_picked"
CURSE = (
    "The run was picked for its rate on one half of the validation mix, which is therefore too low on average; the "
    "rate on the other half, which had no say, is not."
)


def prepare_sweep(run: JobRun) -> dict[str, Any]:
    """Job: has validation snippets labelled if that was asked for, freezes the mix and queues the runs."""
    sweep = run.sweep
    wanted = sweep_settings(sweep.config)
    if wanted.label is not None:
        label_validation(run, sweep, wanted.label)
    mix = freeze_mix(sweep, seed=wanted.seed)
    with transaction.atomic():
        if sweep.start(mix):
            queue_runs(sweep)
    return {"snippets": len(read_mix(mix).texts)}


def queue_runs(sweep: Sweep) -> None:
    """A job for each run that has not ended."""
    for row in sweep.runs.filter(state__in=[RunState.PENDING, RunState.RUNNING]):
        args = {"run": str(row.pk)}
        shard = f"{row.position:03d}"
        enqueue(TRAINING_RUN, args, sweep=sweep, shard=shard, queue="training", created_by=sweep.created_by)


def training_run(run: JobRun) -> dict[str, Any]:
    """Job: trains one run, sets its threshold and measures it on both halves of the mix."""
    row = Run.objects.select_related("sweep__snapshot__policy", "sweep__mix", "sweep__round").get(pk=run.args["run"])
    if row.state == RunState.SUCCEEDED:
        return {"fnr": row.fnr}
    if not row.start() or row.sweep.mix is None:
        raise JobEnded
    mix = read_mix(row.sweep.mix)
    steps = _Steps(run, more=len(mix.texts))
    trained = _trained(row, mix, steps)
    artifact = register(trained.path, "classifier")
    found = _measured(row, mix, trained, steps)
    curve = [point._asdict() for point in trained.curve]
    with_it = {"artifact": artifact, "environment": environment(), "curve": curve}
    if not row.succeed(**found, **with_it):
        raise JobEnded
    return {"fnr": found["fnr"], "examples": trained.examples}


def job_ended(job: Job) -> None:
    """What follows the end of a sweep's job, in its transaction: the last run ends the sweep."""
    if job.sweep_id is None:
        return
    sweep = locked(Sweep.objects.filter(pk=job.sweep_id)).get()  # of two that end at once, one sees the other
    if job.kind == PREPARE_SWEEP:
        if job.state == JobState.FAILED:
            sweep.fail(job.error)
        return
    if job.state == JobState.FAILED:
        Run.objects.get(pk=job.args["run"]).fail(job.error)
    conclude(sweep)


def conclude(sweep: Sweep) -> None:
    """Picks, once every run of a running sweep has ended. Any number of times."""
    if sweep.state != SweepState.RUNNING or sweep.runs.filter(state__in=[RunState.PENDING, RunState.RUNNING]).exists():
        return
    done = list(sweep.runs.filter(state=RunState.SUCCEEDED).order_by("position"))
    if not done:
        errors = sweep.runs.exclude(error="").order_by("position").values_list("error", flat=True)
        sweep.fail(f"none of {sweep.runs.count()} runs came to an end; the first: {errors.first() or 'cancelled'}")
        return
    picked = done[lowest([(row.fnr, row.log_loss) for row in done])]  # type: ignore[misc]
    classifier = _classifier(sweep, picked)
    Run.objects.filter(pk=picked.pk).update(classifier=classifier)
    sweep.succeed(picked, {**_result(sweep, picked, len(done)), "classifier": str(classifier.pk)})
    enqueue(MEASURE_PICKED, {"classifier": str(classifier.pk)}, sweep=sweep, queue="scoring")


def measure_picked(run: JobRun) -> dict[str, Any]:
    """Job: the picked classifier on its round's held-out sets, where they are labelled. It chose nothing by them."""
    row, round_ = Classifier.objects.select_related("artifact").get(pk=run.args["classifier"]), run.sweep.round
    if not Evaluation.objects.filter(round=round_, name=EVALUATION).exists():
        return {"scored": 0}
    scorer = load_classifier(row)
    members = round_.members.filter(pool__in=[Pool.TEST, Pool.ATTACK_TEST])
    ids = list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))
    scored = score_snippets(row, scorer, ids, run.progress)
    alternates = alternate_logits(round_, row, scorer, SplitName.TEST, run.progress)
    defaults = {"round": round_, "results": assess_on(round_, row, alternates)}
    Evaluation.objects.update_or_create(classifier=row, name=EVALUATION, defaults=defaults)
    return {"scored": scored + int(alternates.size)}


class _Steps:
    """One count of progress over training and scoring."""

    def __init__(self, run: JobRun, more: int) -> None:
        self.run, self.before, self.last, self.more = run, 0, 0, more
        """`more`: what is left after the step at hand, as far as that is known."""

    def __call__(self, done: int, total: int) -> None:
        self.last = total
        self.run.progress(self.before + done, self.before + total + self.more)

    def next(self, more: int = 0) -> None:
        """The step at hand is done; `more` is left after the next."""
        self.before, self.last, self.more = self.before + self.last, 0, more


def _trained(row: Run, mix: ReadMix, steps: _Steps) -> TrainingResult:
    snapshot, recipe = row.sweep.snapshot, Recipe(**row.recipe)
    examples = examples_of(snapshot.policy.rules, training_rows(snapshot))
    folder = sweep_path(row.sweep, f"runs/{row.position:03d}")
    folder.mkdir(parents=True, exist_ok=True)
    # A process of its own costs seconds: a worker takes no harm from it, a laptop's embedded worker would feel them.
    trainer = train if settings.EMBEDDED else train_apart
    return trainer(
        examples,
        recipe,
        out_dir=at_hand(folder / "classifier"),  # another machine may have finished it
        validation=mix.examples(),
        checkpoints=folder / "checkpoints",
        logs=logs_of(row),
        progress=steps,
    )


def logs_of(row: Run) -> Path:
    """The folder of a run's TensorBoard files; the folder above it shows all runs beside one another."""
    return sweep_path(row.sweep, "logs") / f"{row.position:03d} rate {row.learning_rate:g} seed {row.seed}"


def _measured(row: Run, mix: ReadMix, trained: TrainingResult, steps: _Steps) -> dict[str, Any]:
    sweep, wanted = row.sweep, sweep_settings(row.sweep.config)
    scorer = load(trained.path, precision=wanted.precision)
    steps.next(more=len(mix.texts))
    alternates = score_alternates(sweep.round, scorer, SplitName.VALIDATION, steps)
    draws = round_settings(sweep.round.config).sizes.validation_completions
    chosen = threshold_at_kl(alternates.reshape(-1, draws), target=wanted.target_kl, seed=sweep.round.seed)
    steps.next()
    logits = scorer.logits(mix.texts, progress=steps)
    choosing = mix_rates(mix.mix, logits, chosen.logit, choosing=True)
    confirming = mix_rates(mix.mix, logits, chosen.logit, choosing=False)
    training = trained.plain()
    training.pop("curve", None)
    return {
        "fnr": choosing.fnr.estimate,
        "log_loss": choosing.log_loss,
        "threshold": chosen.threshold,
        "metrics": {
            "training": {**training, "path": None},
            "calibration": chosen.as_dict(),
            "choosing": choosing.as_dict(),
            "confirming": confirming.as_dict(),
        },
    }


def _result(sweep: Sweep, picked: Run, succeeded: int) -> dict[str, Any]:
    runs = sweep.runs.count()
    return {
        "runs": runs,
        "succeeded": succeeded,
        "failed": runs - succeeded,
        "position": picked.position,
        "learning_rate": picked.learning_rate,
        "seed": picked.seed,
        "sources": list(picked.metrics["choosing"]["by_source"]),
        "fnr": picked.metrics["choosing"]["fnr"],
        "fnr_confirmed": picked.metrics["confirming"]["fnr"],
        "note": CURSE,
    }


def _classifier(sweep: Sweep, picked: Run) -> Classifier:
    """The picked run's row. Where its condition was taken meanwhile, the sweep's key tells the two apart."""
    wanted: SweepSettings = sweep_settings(sweep.config)
    taken = Classifier.objects.filter(round=sweep.round, condition=sweep.name).exists()
    condition = f"{sweep.name[:50]} {sweep.pk.hex[-8:]}" if taken else sweep.name
    metrics = {name: picked.metrics[name] for name in ("training", "calibration")}
    halves = {name: picked.metrics[name] for name in ("choosing", "confirming")}
    return Classifier.objects.create(
        policy=sweep.policy,
        round=sweep.round,
        name=f"{sweep.round.name} {condition}"[:100],
        condition=condition,
        parent=sweep.swept_from,
        snapshot=sweep.snapshot,
        artifact=picked.artifact,
        encoder=picked.recipe["encoder"],
        recipe=picked.recipe,
        precision=wanted.precision,
        threshold=picked.threshold,
        metrics={**metrics, "sweep": {**halves, "runs": sweep.runs.count()}},
        environment=picked.environment,
    )


def cancel_jobs(sweep: Sweep) -> None:
    """Takes back those that nobody has begun; one under way notices at its next heartbeat."""
    sweep.jobs.filter(state=JobState.QUEUED).update(state=JobState.CANCELLED, finished_at=timezone.now())
