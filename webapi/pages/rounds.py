"""The list of rounds."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render

from webapi.models import Round, RoundState
from webapi.pages.access import PageRequest, page
from webapi.pages.outcomes import round_outcome
from webapi.pages.paging import page_of
from webapi.selectors.round_progress import ended_headline, round_progress


class RoundRow(NamedTuple):
    """A round in the list: its sentence, and when its stage will be done."""

    round: Round
    line: str
    eta: datetime | None


@page("rounds")
def rounds(request: PageRequest) -> HttpResponse:
    """The rounds, newest first, each with its sentence."""
    found = page_of(Round.objects.select_related("policy", "corpus"), request.GET.dict(), size=25)
    rows = [_row(round_) for round_ in found.rows]
    moving = any(row.round.state in {RoundState.PENDING, RoundState.RUNNING} for row in rows)
    context = {"rounds": rows, "pager": found.pager, "headline": _headline(), "moving": moving}
    return render(request, "pages/rounds.html", context)


def _row(round_: Round) -> RoundRow:
    ended = ended_headline(round_)
    if ended is not None:
        outcome = round_outcome(round_)
        told = f"{ended}. {outcome.sentence}" if outcome else ended
        return RoundRow(round_, told.removeprefix(round_.name).strip(), None)
    progress = round_progress(round_)
    return RoundRow(round_, progress.headline.removeprefix(round_.name).strip(), progress.eta)


def _headline() -> str:
    counts: dict[str, int] = dict(Round.objects.order_by().values_list("state").annotate(n=Count("pk")))
    if not counts:
        return "No round has run yet."
    under_way = counts.get(RoundState.RUNNING, 0) + counts.get(RoundState.PENDING, 0)
    words = {
        RoundState.PAUSED: "paused",
        RoundState.FAILED: "stopped by an error",
        RoundState.SUCCEEDED: "finished",
        RoundState.CANCELLED: "cancelled",
    }
    others = [f"{counts[state]} {said}" for state, said in words.items() if state in counts]
    return f"{'; '.join([_under_way(under_way), *([', '.join(others)] if others else [])])}."


def _under_way(count: int) -> str:
    if not count:
        return "No round is under way"
    return "1 round is under way" if count == 1 else f"{count} rounds are under way"
