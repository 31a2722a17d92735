"""Progress bars of a round, or of one job, in the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from webapi.models import Job, JobState, Round, RoundState
from webapi.selectors.round_progress import StageProgress, round_progress

ENDED = (RoundState.SUCCEEDED, RoundState.FAILED, RoundState.CANCELLED)
REFRESH_SECONDS = 0.2 if sys.stderr.isatty() else 20.0
"""How often a bar is drawn anew: in a file or a CI log each drawing is a line."""
FORMAT = "{desc:<26}{percentage:3.0f}% |{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"


def watch(round_: Round, *, poll_seconds: float = 0.25) -> Round:
    """Shows one bar a stage, as the database tells it, until the round ends; returns it as it then is."""
    bars: dict[str, Any] = {}
    while True:
        round_ = Round.objects.select_related("policy", "corpus").get(pk=round_.pk)
        for stage in round_progress(round_).stages:
            _show(bars, stage)
        if round_.state in ENDED:
            break
        time.sleep(poll_seconds)
    for bar in bars.values():
        bar.close()
    return round_


def watch_job(job: Job, title: str, *, poll_seconds: float = 0.25) -> Job:
    """Shows one bar for a job that belongs to no round, until it ends; returns it as it then is."""
    with _bar(title) as bar:
        while True:
            job = Job.objects.get(pk=job.pk)
            bar.total = max(job.total, job.done, 1)
            _move(bar, bar.total if job.state == JobState.SUCCEEDED else job.done)
            if job.state not in (JobState.QUEUED, JobState.RUNNING):
                return job
            time.sleep(poll_seconds)


def _bar(title: str) -> Any:
    return tqdm(desc=title, total=1, bar_format=FORMAT, file=sys.stderr, mininterval=REFRESH_SECONDS, miniters=0)


def _show(bars: dict[str, Any], stage: StageProgress) -> None:
    if stage.started_at is None or (stage.name in bars and bars[stage.name].disable):
        return
    if stage.name not in bars:
        bars[stage.name] = tqdm(
            desc=stage.title, total=1, bar_format=FORMAT, file=sys.stderr, mininterval=REFRESH_SECONDS, miniters=0
        )
        bars[stage.name].start_t = bars[stage.name].start_t - (stage.seconds or 0)
    bar = bars[stage.name]
    bar.total = max(stage.total, stage.done, 1)
    _move(bar, bar.total if stage.state == "succeeded" else stage.done)
    if stage.state == "succeeded":
        bar.close()


def _move(bar: Any, done: int) -> None:
    # An update of nothing still lets the bar draw its time, no oftener than its interval.
    bar.n = done
    bar.update(0)
