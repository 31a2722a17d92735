"""Attacks in words and figures: what each does, how far it is, its yields with their intervals, how its seeds ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.attacks import ATTACKS
from engine.evaluation.attack_wording import finds, per_unit
from engine.evaluation.rates import Rate
from engine.evaluation.yields import Yield
from webapi.models import Attack, AttackState
from webapi.pages.figures import rate_words, thousands
from webapi.selectors.attacks import TITLES, AttackProgress, attack_title

WHAT_THEY_DO: Mapping[str, str] = {
    "filler": "Puts innocuous clauses of time, place or weather beside the sentence and leaves its words as they are.",
    "paraphrase": "Has a paraphraser tell each seed anew, many times over, and keeps what the classifier accepts.",
    "rewrite": "Searches over replaced, inserted and deleted words and clauses, as its recipe says.",
    "substitution": "Replaces one word after the other, where the classifier's score falls most.",
}
STOPS: Mapping[str, str] = {
    "enough": "enough was found",
    "accepted_already": "accepted as it stands",
    "searched": "nothing more to try",
    "low_yield": "hardly anything was accepted",
    "query_budget": "queries used up",
    "time_budget": "time used up",
    "token_budget": "tokens used up",
    "money_budget": "money used up",
}
"""Why the attack on a seed ended."""
SHARES = frozenset({"seeds_broken", "per_candidate"})
YIELDS: Mapping[str, tuple[str, str]] = {
    "seeds_broken": ("Seeds broken", "Of the seeds known: with a candidate labelled a failure, or accepted unedited"),
    "per_candidate": ("Failures among labelled", "Failures among the candidates that are labelled"),
    "per_1000_queries": ("Per 1,000 queries", "Failures per 1,000 texts that the classifier scored"),
    "per_minute": ("Per labeler minute", "Failures per minute of labelling"),
}
"""Field of `Yield` -> its title, and what it means."""


class YieldWords(NamedTuple):
    """One yield as a page writes it, with its interval and count; `rate` is None while there is nothing to say."""

    name: str
    title: str
    meaning: str
    value: str
    detail: str
    note: str
    rate: Rate | None

    @property
    def details(self) -> list[str]:
        """Interval and count, each to stand on one line."""
        return self.detail.split("; ")


def attack_choices() -> list[tuple[str, str, str]]:
    """Name, title and a sentence on each attack in the registry."""
    return [(name, TITLES.get(name, name), WHAT_THEY_DO.get(name, "")) for name in ATTACKS]


def yields_in_words(found: Yield) -> tuple[YieldWords, ...]:
    """The four yields. Where nothing is labelled they say so: no rate is shown, least of all one of zero."""
    return tuple(_in_words(name, found) for name in YIELDS)


def under_way(row: Attack, progress: AttackProgress, choosing: AttackProgress | None) -> str:
    """One sentence on what an attack does now; empty once it has ended. `choosing`: how far its seeds are chosen."""
    title, target = attack_title(row), row.classifier.name
    if row.state == AttackState.PENDING:
        scored = f": {choosing.done:,} of {choosing.total:,} failures scored" if choosing and choosing.total else ""
        return f"{title} on {target} is choosing its seeds{scored}."
    if row.state == AttackState.RUNNING:
        return f"{title} is attacking {target}: {progress.done:,} of {progress.total:,} seeds."
    return ""


def outcome(row: Attack, found: Yield) -> str:
    """One sentence on how an attack ended, or what it came to."""
    title, target = attack_title(row), row.classifier.name
    if row.state == AttackState.FAILED:
        return f"{title} on {target} stopped by an error."
    if row.state == AttackState.CANCELLED:
        return f"{title} on {target} was cancelled."
    return _came_to(title, target, found)


def found_words(row: Attack, found: Yield) -> str:
    """How many candidates there are, and what became of them: `12 candidates; 10 labelled, 4 of them Yes`."""
    if not found.candidates:
        return "No candidate yet" if row.state in (AttackState.PENDING, AttackState.RUNNING) else "No candidate"
    labelled = f"{found.labelled:,} labelled, {found.failures:,} of them {row.policy.rules.failure}"
    return f"{_count(found.candidates, 'candidate')}; {labelled if found.labelled else 'none labelled yet'}"


def stops_in_words(stops: Mapping[str, int]) -> list[tuple[str, int]]:
    """How seeds ended, the most frequent first."""
    by_count = sorted(stops.items(), key=lambda one: (-one[1], one[0]))
    return [(STOPS.get(name, name.replace("_", " ") or "not said"), count) for name, count in by_count]


def rate_data(one: YieldWords) -> dict[str, Any]:
    """A yield as a chart draws it; no finds are a limit and no point."""
    assert one.rate is not None
    return {
        "estimate": one.rate.estimate,
        "low": one.rate.low,
        "high": one.rate.high,
        "limit": not one.rate.failures,
        "words": f"{one.value} ({one.detail})",
    }


def _in_words(name: str, found: Yield) -> YieldWords:
    title, meaning = YIELDS[name]
    rate: Rate | None = getattr(found, name)
    note = _note(found) if name == "seeds_broken" else ""
    if found.candidates and not found.labelled:
        return YieldWords(name, title, meaning, "nothing labelled yet", "", note, None)
    if rate is None or rate.estimate is None:
        return YieldWords(name, title, meaning, _why_none(name, found), "", note, None)
    plain = rate.as_dict()
    if name in SHARES:
        words = rate_words({**plain})
        detail = f"{words.interval}; {words.counted}" if words.interval else words.counted
        return YieldWords(name, title, meaning, words.estimate, detail, note, rate)
    return YieldWords(name, title, meaning, per_unit(plain), finds(plain), note, rate)


def _why_none(name: str, found: Yield) -> str:
    if name == "per_1000_queries":
        return "no queries"
    if name == "seeds_broken":
        return "no seed done"
    return "time not measured" if found.candidates else "no candidates"


def _note(found: Yield) -> str:
    parts = []
    if found.accepted_unedited:
        parts.append(f"{found.accepted_unedited:,} accepted unedited")
    if found.open_seeds:
        parts.append(f"{found.open_seeds:,} left out: not labelled yet")
    if found.unreached:
        parts.append(f"{found.unreached:,} left out: the budget ended before them")
    return "; ".join(parts)


def _came_to(title: str, target: str, found: Yield) -> str:
    unedited = ""
    if found.accepted_unedited:
        unedited = f", which accepts {found.accepted_unedited:,} of the {_count(found.seeds, 'seed')} unedited"
    if not found.candidates:
        return f"{title} found nothing against {target}{unedited}."
    if not found.labelled:
        some = _count(found.candidates, "candidate")
        return f"{title} found {some} against {target}{unedited}; none is labelled yet."
    words = rate_words({**found.seeds_broken.as_dict()})
    if not found.seeds_broken.failures:
        return f"{title} broke none of {_count(found.seeds_broken.n, 'seed')} of {target}: {words.estimate}."
    return f"{title} broke {words.counted} seeds of {target}: {words.estimate}, {words.interval}."


def _count(number: float, noun: str) -> str:
    return f"{thousands(number)} {noun}{'' if number == 1 else 's'}"
