"""Results of jobs: added up, and what the jobs paid to endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from engine.attacks import Budget
from engine.endpoints.ledger import Ledger, Spending
from engine.endpoints.settings import Account
from webapi.models import Job, JobState
from workers.jobs import JobRun


def total(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers added up, tables entry by entry, what was spent by its own rule; of anything else the last stands."""
    added: dict[str, Any] = {}
    for result in results:
        for key, value in result.items():
            before = added.get(key)
            if key == "spending":
                added[key] = Spending.from_dict(before or {}).plus(Spending.from_dict(value)).as_dict()
            elif isinstance(value, Mapping):
                added[key] = total([before or {}, value])
            elif isinstance(value, int | float) and isinstance(before, int | float) and not isinstance(value, bool):
                added[key] = before + value
            else:
                added[key] = value
    return added


def account_of(run: JobRun, budget: Budget | None = None) -> Account:
    """The job's own account for requests to endpoints; every attempt of it has the same, and so pays nothing twice."""
    limit = budget or Budget()
    ledger = Ledger(owner=str(run.job.pk), tokens=limit.tokens, money=limit.money)
    return Account(ledger, Path(settings.GAUNTLET_HOME) / "requests")


@contextmanager
def kept_in_any_case(run: JobRun, account: Account) -> Iterator[None]:
    """What was paid is told of a job that fails or is cancelled, too."""
    try:
        yield
    except Exception:
        if paid := spent(account):
            Job.objects.filter(pk=run.job.pk).exclude(state=JobState.SUCCEEDED).update(result=paid)
        raise


def spent(account: Account) -> dict[str, Any]:
    """What a job paid, as part of its result; nothing where no endpoint was asked."""
    spending = account.ledger.spending if account.ledger else Spending()
    return {"spending": spending.as_dict()} if spending.by_model else {}
