"""Where a round stands: its stages with counts, rates and times to go, one sentence in words, and its funnel."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Q, Sum
from django.utils import timezone

from webapi.models import (
    Batch,
    Job,
    JobState,
    Label,
    Pool,
    Round,
    RoundSnippet,
    RoundState,
    Snippet,
    Source,
    Stage,
    StageState,
    TaskState,
)
from webapi.models.queue import BATCHES
from webapi.selectors.round_words import duration, stage_words

RATE_WINDOW = timedelta(minutes=10)
"""How far back a labelling rate looks: people pause, so the last minute says little."""
BIG = 1_000_000
"""From here on a share says more than two counts."""


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One stage as a watcher sees it. `rate` is in `unit`s a second; `eta` is when it ends at that rate."""

    name: str
    title: str
    state: str
    unit: str
    done: int
    total: int
    rate: float | None
    eta: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    runs: int
    error: str

    @property
    def live(self) -> bool:
        """Whether something, or somebody, is at work on it."""
        return self.state in {StageState.RUNNING, StageState.WAITING}


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """Where a round stands now."""

    id: str
    name: str
    state: str
    headline: str
    eta: datetime | None
    """When the stage under way ends."""
    current: str | None
    stages: tuple[StageProgress, ...]
    finished_stages: int
    error: str

    @property
    def moving(self) -> bool:
        """Whether looking again in a second may show something new."""
        return self.state in {RoundState.PENDING, RoundState.RUNNING, RoundState.PAUSED}

    def as_json(self) -> dict[str, Any]:
        """The same as plain data, for the API and its events."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One step of a round's funnel: how many snippets got this far, and which filter of the snippet list shows them."""

    key: str
    label: str
    count: int
    query: str


class _Counted(NamedTuple):
    done: int
    total: int
    rate: float | None


def round_progress(round_: Round) -> RoundProgress:
    """Where `round_` stands now. Four queries, whatever its size."""
    now = timezone.now()
    stages = list(round_.stages.all())
    jobs = _jobs_by_stage(round_)
    batches = _labels_by_batch(round_, now)
    moving = round_.state == RoundState.RUNNING
    seen = tuple(_stage_progress(stage, jobs, batches, now, moving=moving) for stage in stages)
    current = _current(seen, round_.state)
    return RoundProgress(
        id=str(round_.pk),
        name=round_.name,
        state=round_.state,
        headline=_headline(round_, current, now),
        eta=current.eta if current else None,
        current=current.name if current else None,
        stages=seen,
        finished_stages=sum(stage.state == StageState.SUCCEEDED for stage in seen),
        error=round_.error or next((stage.error for stage in seen if stage.error), ""),
    )


def ended_headline(round_: Round) -> str | None:
    """The sentence of a round that has ended, from its row alone; None for one that may still move."""
    ended = round_.state in {RoundState.SUCCEEDED, RoundState.CANCELLED}
    return _headline(round_, None, timezone.now()) if ended else None


def round_funnel(round_: Round) -> tuple[FunnelStep, ...]:
    """How many snippets of `round_` got how far, from its corpus to the failures found. Two queries.

    A failure is a find that the attacked classifier accepts and that is labelled with the policy's first choice.
    """
    failure = round_.policy.rules.failure
    attack = Q(pool=Pool.ATTACK)
    steps: dict[str, tuple[str, Q, str]] = {
        "generated": ("Completions", Q(snippet__source=Source.GENERATED), "source=generated"),
        "labelled": ("Labelled", Q(snippet__consensus__isnull=False), "consensus=any"),
        "attack": (f"Accepted {finds_word(round_)}", attack, "pool=attack"),
        "selected": ("Selected", Q(selected=True), "selected=1"),
        "failures": (
            f"Failures, labelled {failure}",
            attack & Q(snippet__consensus__choice=failure),
            f"pool=attack&consensus={failure}",
        ),
    }
    counts = RoundSnippet.objects.filter(round=round_).aggregate(
        **{key: Count("pk", filter=condition) for key, (_, condition, _) in steps.items()}
    )
    in_round = f"round={round_.pk}"
    return (
        FunnelStep("corpus", "Corpus", _corpus_snippets(round_), f"source=corpus&corpus={round_.corpus_id}"),
        *(FunnelStep(key, label, counts[key], f"{in_round}&{query}") for key, (label, _, query) in steps.items()),
    )


def finds_word(round_: Round) -> str:
    """What is trained on of the round's attacks: paraphrases, or finds where other attacks bring some too."""
    training = [one for one in round_.config.get("attacks", ()) if one.get("seeds")]
    return "paraphrases" if all(one.get("name") == "paraphrase" for one in training) else "finds"


def _corpus_snippets(round_: Round) -> int:
    """Snippets drawn from the round's corpus: what its prompts come from. They are no members of the round."""
    drawn = Snippet.objects.filter(policy=round_.policy, source=Source.CORPUS, story__corpus=round_.corpus)
    return drawn.count()


def _jobs_by_stage(round_: Round) -> dict[str, list[Job]]:
    jobs: dict[str, list[Job]] = {}
    for job in Job.objects.filter(stage__round=round_).select_related("stage").exclude(state=JobState.CANCELLED):
        if job.stage is not None:
            jobs.setdefault(job.stage.name, []).append(job)
    return jobs


def _labels_by_batch(round_: Round, now: datetime) -> dict[str, _Counted]:
    """Labels given and wanted in the batches of each labeling stage, and the recent rate, by the stage's name."""
    recent = _recent_labels(round_, now)
    rows = (
        Batch.objects.filter(round=round_)
        .annotate(
            given=Sum("tasks__labelled", filter=~Q(tasks__state=TaskState.CANCELLED), default=0),
            total=Sum("tasks__wanted", filter=~Q(tasks__state=TaskState.CANCELLED), default=0),
        )
        .values_list("pk", "name", "given", "total", "created_at")
    )
    stage_of = {batch: stage for stage, names in BATCHES.items() for batch in names}
    counted: dict[str, _Counted] = {}
    for pk, name, given, total, created_at in rows:
        stage = stage_of.get(name, name)
        seconds = min((now - created_at).total_seconds(), RATE_WINDOW.total_seconds())
        rate = recent.get(pk, 0) / seconds if seconds > 1 else 0.0
        before = counted.get(stage, _Counted(0, 0, None))
        counted[stage] = _Counted(before.done + given, before.total + total, (before.rate or 0.0) + rate or None)
    return counted


def _recent_labels(round_: Round, now: datetime) -> dict[object, int]:
    recent = Label.objects.filter(task__batch__round=round_, created_at__gt=now - RATE_WINDOW, revision=0)
    return dict(recent.values_list("task__batch").annotate(n=Count("pk")).order_by())


def _stage_progress(
    stage: Stage, jobs: dict[str, list[Job]], batches: dict[str, _Counted], now: datetime, *, moving: bool
) -> StageProgress:
    words = stage_words(stage.name)
    counted = batches.get(stage.name) or _count_jobs(jobs.get(stage.name, []), now)
    live = moving and stage.state in {StageState.RUNNING, StageState.WAITING}
    rate = counted.rate if live and counted.rate else None
    left = max(counted.total - counted.done, 0)
    return StageProgress(
        name=stage.name,
        title=words.title,
        state=stage.state,
        unit=words.unit,
        done=counted.done,
        total=counted.total,
        rate=rate,
        eta=now + timedelta(seconds=left / rate) if rate and left else None,
        started_at=stage.started_at,
        finished_at=stage.finished_at,
        seconds=((stage.finished_at or now) - stage.started_at).total_seconds() if stage.started_at else None,
        runs=stage.runs,
        error=stage.error,
    )


def _count_jobs(jobs: list[Job], now: datetime) -> _Counted:
    """Jobs under way say how fast it goes; a stage whose jobs are all short goes by those that ended."""
    done, total = sum(job.done for job in jobs), sum(job.total for job in jobs)
    running = [job for job in jobs if job.state == JobState.RUNNING and job.started_at]
    rate = sum(job.done / max((now - job.started_at).total_seconds(), 1) for job in running if job.started_at)
    begun = [job.started_at for job in jobs if job.started_at]
    if not rate and running and begun:
        rate = done / max((now - min(begun)).total_seconds(), 1)
    return _Counted(done, total, rate or None)


def _current(stages: tuple[StageProgress, ...], state: str) -> StageProgress | None:
    """The stage under way, else the one that failed, else (in a round that goes on) the next."""
    for wanted in ({StageState.RUNNING, StageState.WAITING}, {StageState.FAILED}):
        for stage in stages:
            if stage.state in wanted:
                return stage
    if state in {RoundState.RUNNING, RoundState.PAUSED}:
        return next((stage for stage in stages if stage.state == StageState.PENDING), None)
    return None


def _how_far(stage: StageProgress) -> str:
    if stage.total >= BIG:
        return f": {100 * stage.done / stage.total:.0f} %"
    return f": {stage.done:,} of {stage.total:,}"


def _headline(round_: Round, current: StageProgress | None, now: datetime) -> str:
    """One sentence: what the round does, how far it is. When it will be done is `eta`, for the reader's own clock."""
    doing = stage_words(current.name).doing if current else ""
    count = _how_far(current) if current and current.total and current.unit else ""
    if round_.state == RoundState.RUNNING:
        return f"{round_.name} is {doing}{count}" if current else f"{round_.name} is about to go on"
    if round_.state == RoundState.PAUSED:
        return f"{round_.name} is paused while {doing}{count}" if current else f"{round_.name} is paused"
    if round_.state == RoundState.FAILED:
        return f"{round_.name} stopped while {doing}" if current else f"{round_.name} stopped"
    if round_.state == RoundState.CANCELLED:
        return f"{round_.name} was cancelled"
    if round_.state == RoundState.SUCCEEDED:
        end, begin = round_.finished_at or now, round_.started_at or round_.created_at
        return f"{round_.name} is finished, after {duration((end - begin).total_seconds())}"
    return f"{round_.name} has not started yet"
