"""The list of tuned generators, and one of them: its curve, and samples of it with the filter on and off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from engine.errors import EngineError
from engine.snippets import Snippet as SnippetText
from webapi.errors import DomainError
from webapi.models import Classifier, Generator, JobState, Policy
from webapi.pages.access import PageRequest, is_open_to, page, require
from webapi.pages.figures import rows_of, thousands
from webapi.pages.paging import page_of
from webapi.services.classifiers import classifier_score
from webapi.services.generators import SampledText, filter_of, generator_sample

RELATED = ("corpus", "job", "artifact", "created_by")
MOVING = (JobState.QUEUED, JobState.RUNNING)
COPIES, TRIES = 4, 25
"""Samples that the page shows, and proposals for each."""


class SampleForm(forms.Form):
    """What is completed, and whose filter."""

    policy = forms.ModelChoiceField(
        label="Policy",
        queryset=Policy.objects.order_by("-pk"),
        empty_label=None,
        error_messages={"required": "Choose a policy.", "invalid_choice": "There is no such policy."},
    )
    prompt = forms.CharField(
        label="Prompt",
        max_length=10_000,
        error_messages={"required": "Write what is to be completed.", "max_length": "At most 10,000 characters."},
    )
    seed = forms.IntegerField(label="Random seed", min_value=0, max_value=2**31 - 1, required=False)


class Shown(NamedTuple):
    """A sample as the page shows it."""

    completion: str | None
    tries: int
    score: float | None


class Samples(NamedTuple):
    """The same prompt without and with the filter."""

    plain: list[Shown]
    filtered: list[Shown]
    classifier: Classifier


@page("generators")
@require_GET
def generators(request: PageRequest) -> HttpResponse:
    """Generators, newest first."""
    found = page_of(Generator.objects.select_related(*RELATED), request.GET.dict())
    context = {
        "rows": found.rows,
        "pager": found.pager,
        "headline": _list_headline(found.rows),
        "moving": any(row.state in MOVING for row in found.rows),
    }
    return render(request, "pages/generators.html", context)


@page("generators")
def generator(request: PageRequest, key: UUID) -> HttpResponse:
    """One generator; a form sent to it is answered with samples, and nothing is kept."""
    row = get_object_or_404(Generator.objects.select_related(*RELATED), pk=key)
    if request.method == "POST":
        require(request.user, "generators", "sample")
    form = SampleForm(request.POST if request.method == "POST" else None)
    samples = _samples(row, form) if form.is_valid() else None
    metrics: Mapping[str, Any] = row.metrics
    curve = metrics.get("curve", [])
    context = {
        "row": row,
        "headline": _headline(row),
        "moving": row.state in MOVING,
        "metrics": metrics,
        "curve": _curve(row),
        "first": curve[0] if curve else None,
        "last": curve[-1] if curve else None,
        "recipe": list(rows_of(row.recipe)),
        "environment": list(rows_of(row.environment)),
        "form": form,
        "samples": samples,
        "may_sample": row.ready and is_open_to(request.user, "generators", "sample"),
        "policies": Policy.objects.exists(),
        "tries": TRIES,
    }
    return render(request, "pages/generator.html", context, status=400 if form.errors else 200)


def _samples(row: Generator, form: SampleForm) -> Samples | None:
    """Samples, or None where the form was told why there are none."""
    policy, prompt, seed = form.cleaned_data["policy"], form.cleaned_data["prompt"], form.cleaned_data["seed"] or 0
    asked: dict[str, Any] = {"generator": row, "policy": policy, "prompts": [prompt], "copies": COPIES, "seed": seed}
    try:
        classifier = filter_of(policy, None)
        (plain,) = generator_sample(**asked, classifier=None)
        (filtered,) = generator_sample(**asked, classifier=classifier, tries=TRIES)
        scores = classifier_score(
            classifier=classifier, snippets=[SnippetText(prompt, one.completion or "") for one in plain]
        )
    except DomainError as error:
        form.add_error("policy" if error.code == "no_serving_classifier" else None, error.message)
        return None
    except EngineError as error:
        form.add_error(None, str(error))
        return None
    unfiltered = [Shown(one.completion, 1, said.score) for one, said in zip(plain, scores, strict=True)]
    return Samples(unfiltered, [_shown(one) for one in filtered], classifier)


def _shown(one: SampledText) -> Shown:
    return Shown(one.completion, one.tries, one.score)


def _list_headline(rows: list[Generator]) -> str:
    under_way = [row for row in rows if row.state == JobState.RUNNING]
    if under_way:
        return f"{under_way[0].name} is being tuned: {_far(under_way[0])}."
    ready = [row for row in rows if row.ready]
    if not ready:
        return "No generator has been tuned yet."
    if len(ready) == 1:
        return f"{ready[0].name} is tuned."
    return f"{ready[0].name} is the newest of the tuned generators."


def _headline(row: Generator) -> str:
    if row.ready:
        before, after = row.metrics["before"]["estimate"], row.metrics["after"]["estimate"]
        return f"{row.name} was at a perplexity of {before:.1f} before tuning and is at {after:.1f} after it."
    said = {
        JobState.QUEUED: "waits for a worker",
        JobState.RUNNING: f"is being tuned: {_far(row)}",
        JobState.FAILED: "could not be tuned",
        JobState.CANCELLED: "was cancelled",
    }
    return f"{row.name} {said.get(JobState(row.state), 'is not ready')}."


def _far(row: Generator) -> str:
    job = row.job
    return f"{thousands(job.done)} of {thousands(job.total)} blocks" if job.total > 1 else "it is reading its stories"


def _curve(row: Generator) -> dict[str, Any] | None:
    """The losses by step, for the chart; None where there is nothing to draw."""
    points = row.metrics.get("curve", [])
    if len(points) < 2:
        return None
    validation = [(one["step"], one["validation_loss"]) for one in points]
    training = [(one["step"], one["loss"]) for one in points if one["loss"] is not None]
    series = [
        {"name": name, "x": [x for x, _ in line], "y": [y for _, y in line]}
        for name, line in (("training", training), ("validation", validation))
    ]
    return {"series": series, "mark": row.metrics["best_step"], "axis": "step", "unit": "loss, nats a token"}
