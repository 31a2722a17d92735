"""Template tags and filters of the pages: navigation, times, rates, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django import template
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from webapi.models import Annotator, Corpus, Role, User
from webapi.pages import figures
from webapi.pages.access import is_open_to
from webapi.pages.judging import may_compare
from webapi.permissions import role_of
from webapi.selectors.round_words import duration as duration_in_words

register = template.Library()


class NavLink(NamedTuple):
    """One entry of the navigation: where it leads, what one must see (or may do) to have it, where it is current."""

    title: str
    url_name: str
    resource: str
    action: str
    pages: frozenset[str]
    hidden_from: frozenset[str] = frozenset()
    when: Callable[[User], bool] | None = None
    """Whether there is anything behind it for this reader; None: always."""


WATCHERS = frozenset({Role.ADMIN, Role.RESEARCHER, Role.VIEWER})
"""Who has the annotators under Labeling."""
NAVIGATION: tuple[NavLink, ...] = (
    NavLink(
        "Rounds",
        "rounds",
        "rounds",
        "",
        frozenset({"rounds", "round", "round-report", "round-selection", "round-cancel"}),
    ),
    NavLink("Snippets", "snippets", "snippets", "", frozenset({"snippets", "snippet"})),
    NavLink(
        "Labeling",
        "queue",
        "metrics",
        "",
        frozenset({"queue", "agreement", "annotators", "annotator", "annotator-put-back"}),
    ),
    NavLink(
        "Attacks",
        "attacks",
        "attacks",
        "",
        frozenset({"attacks", "attack", "attack-new", "attack-cancel", "attack-label"}),
    ),
    NavLink(
        "Classifiers",
        "classifiers",
        "classifiers",
        "",
        frozenset(
            {
                "classifiers",
                "classifier",
                "classifier-compare",
                "classifier-promote",
                "classifier-rollback",
                "sweeps",
                "sweep",
                "sweep-cancel",
                "generators",
                "generator",
                "evaluations",
                "evaluation",
                "evaluation-diff",
                "evaluation-cancel",
            }
        ),
    ),
    NavLink("Label", "label", "tasks", "lease", frozenset({"label"})),
    NavLink("Compare", "compare", "tasks", "lease", frozenset({"compare"}), when=may_compare),
    NavLink("My figures", "my-figures", "tasks", "lease", frozenset({"my-figures"})),
    NavLink(
        "Annotators",
        "annotators",
        "annotators",
        "",
        frozenset({"annotators", "annotator", "annotator-put-back"}),
        WATCHERS,
    ),
    NavLink(
        "Settings", "tokens", "tokens", "", frozenset({"tokens", "webhooks", "webhook"}), frozenset({Role.CONTRACTOR})
    ),
)

register.filter("amount", figures.amount)
register.filter("duration", lambda seconds: "" if seconds is None else duration_in_words(seconds))
register.filter("is_rate", figures.is_rate)
register.filter("percent", figures.percent)
register.filter("significant", figures.significant)
register.filter("speed", figures.speed)
register.filter("thousands", figures.thousands)


@register.inclusion_tag("parts/nav.html", takes_context=True)
def navigation(context: Mapping[str, Any]) -> dict[str, Any]:
    """The navigation links that the reader's role has."""
    request: HttpRequest | None = context.get("request")
    if request is None or not hasattr(request, "user") or not request.user.is_authenticated:
        return {"links": []}
    here = request.resolver_match.url_name if request.resolver_match else ""
    user = request.user
    mine = [
        link
        for link in NAVIGATION
        if is_open_to(user, link.resource, link.action) and role_of(user) not in link.hidden_from
        if here in link.pages or link.when is None or link.when(user)
    ]
    return {
        "links": [{"title": link.title, "url": reverse(link.url_name), "current": here in link.pages} for link in mine]
    }


@register.inclusion_tag("parts/settings_tabs.html", takes_context=True)
def settings_tabs(context: Mapping[str, Any], here: str) -> dict[str, Any]:
    """The pages under Settings, for those who have more than one."""
    return {"here": here, "has_webhooks": is_open_to(context["request"].user, "webhooks")}


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """A relative time, with the exact one on hover: `6 min ago`, `in 2 h`."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    words = "just now"
    if abs(seconds) >= 10:
        words = f"{duration_in_words(seconds)} ago" if seconds > 0 else f"in {duration_in_words(-seconds)}"
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, words)


@register.filter
def clock(moment: datetime | None) -> SafeString | str:
    """A time of day, with its date when that is not near; `times.js` turns it into the reader's own clock."""
    if moment is None:
        return ""
    far = abs((moment - timezone.now()).total_seconds()) > 20 * 3600
    words = f"{moment:%d %b %H:%M} UTC" if far else f"{moment:%H:%M} UTC"
    kind = "day" if far else "hour"
    return format_html('<time datetime="{}" data-clock="{}">{}</time>', moment.isoformat(), kind, words)


@register.filter
def said_simulated(row: Corpus | Annotator) -> str:
    """A corpus or annotator by name, called simulated where it is."""
    name = row.name
    return f"{name} (simulated)" if row.simulated and "simulated" not in name.lower() else name


@register.filter
def light_markup(text: str) -> SafeString:
    """Paragraphs, and `**strong**` words; everything else is text."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n") if part.strip())
    return format_html_join("", "<p>{}</p>", ((_strong(paragraph),) for paragraph in paragraphs))


def _strong(text: str) -> SafeString:
    parts = enumerate(text.split("**"))
    return format_html_join("", "{}", ((format_html("<strong>{}</strong>", p) if n % 2 else p,) for n, p in parts))


@register.inclusion_tag("parts/rate.html")
def rate(value: Mapping[str, Any], weighted: bool = False) -> dict[str, Any]:
    """A rate or statistic with its interval and count: `4.2 % (1.1 % to 8.9 %; 4 of 95)`, `0.620 (0.580 to 0.660)`."""
    words = figures.interval_words(value)
    if weighted and value["n"] and abs(value["failures"] / value["n"] - (value["estimate"] or 0)) > 1e-9:
        words = words._replace(counted="")  # a weighted rate is not this fraction
    return {"rate": words}


@register.inclusion_tag("parts/rate.html")
def points(value: Mapping[str, Any], counted: bool = True) -> dict[str, Any]:
    """A difference of rates with its interval and, unless it is of no such fraction, count: `+1.2 points (+0.4 to
    +2.0; 6 of 812)`."""
    words = figures.points_words(value)
    return {"rate": words if counted else words._replace(counted="")}


@register.inclusion_tag("parts/score.html")
def score_bar(score: float, threshold: float | None) -> dict[str, Any]:
    """A score as one number and one thin bar with the threshold marked."""
    return {
        "score": figures.significant(score),
        "at": figures.on_bar(score),
        "mark": None if threshold is None else figures.on_bar(threshold),
        "verdict": None if threshold is None else ("rejected" if score >= threshold else "accepted"),
        "threshold": figures.significant(threshold),
    }


@register.simple_tag(takes_context=True)
def query_with(context: Mapping[str, Any], **changes: object) -> str:
    """The query string of this page with some fields changed; an empty value takes the field out."""
    query = context["request"].GET.copy()
    for field, value in changes.items():
        query.pop(field, None)
        if value not in (None, ""):
            query[field] = str(value)
    return f"?{query.urlencode()}"
