"""A form that launches an attack on a calibrated classifier."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from pydantic import ValidationError

from engine.attacks import ATTACKS
from engine.attacks.rewrite.recipes import RECIPES
from engine.errors import BadInput
from webapi.api.problems import problem_of
from webapi.errors import DomainError, FieldError
from webapi.models import Classifier, SplitName
from webapi.pages.access import PageRequest, page, require
from webapi.pages.attack_words import attack_choices
from webapi.selectors.attacks import TITLES
from webapi.services.attacks import attack_create
from workers.attack_alone import LoneAttack, SeedsWanted

EVERY_SPLIT = "all"
FIELD_OF: Mapping[tuple[str, ...], str] = {
    ("name",): "name",
    ("title",): "title",
    ("config",): "config",
    ("seed",): "seed",
    ("seeds", "limit"): "limit",
    ("seeds", "split"): "split",
    ("budget", "queries"): "queries",
    ("budget", "seconds"): "seconds",
    ("budget", "tokens"): "tokens",
    ("budget", "money"): "money",
    ("second_opinion",): "second_opinion",
}
"""Where the API's settings stand in the form; what is not here is said of the settings as a whole."""
RECIPE_WORDS: Mapping[str, str] = {
    "greedy": "greedy: the best step each time",
    "beam": "beam: several ways side by side",
    "best_first": "best first: goes on where the score is lowest",
    "substitution": "substitution: replaces words only",
    "filler": "filler: adds clauses only",
}


class AttackForm(forms.Form):
    """What is attacked, how, from which seeds, within which budget. Numbers are checked as the API checks them."""

    classifier = forms.ModelChoiceField(
        label="Classifier",
        queryset=Classifier.objects.exclude(threshold=None).select_related("policy").order_by("-pk"),
        empty_label=None,
        error_messages={
            "required": "Choose the classifier to attack.",
            "invalid_choice": "There is no such calibrated classifier.",
        },
    )
    name = forms.ChoiceField(
        label="Attack",
        choices=[(name, TITLES.get(name, name)) for name in ATTACKS],
        error_messages={"required": "Choose an attack.", "invalid_choice": "There is no attack “%(value)s”."},
    )
    recipe = forms.ChoiceField(
        label="Recipe of the rewrite search",
        required=False,
        choices=[("", "as it comes (beam)"), *((name, RECIPE_WORDS.get(name, name)) for name in RECIPES)],
        error_messages={"invalid_choice": f"unknown recipe; known: {', '.join(sorted(RECIPES))}"},
    )
    title = forms.CharField(label="Title", required=False)
    limit = forms.CharField(label="Seeds", required=False)
    split = forms.ChoiceField(
        label="Of the split",
        required=False,
        choices=[*((value, str(words)) for value, words in SplitName.choices), (EVERY_SPLIT, "Every split")],
        error_messages={"invalid_choice": "must be train, validation, test or every split"},
    )
    queries = forms.CharField(label="Queries, at most", required=False)
    seconds = forms.CharField(label="Seconds, at most", required=False)
    tokens = forms.CharField(label="Tokens, at most", required=False)
    money = forms.CharField(label="US dollars, at most", required=False)
    second_opinion = forms.ModelChoiceField(
        label="Second opinion",
        required=False,
        queryset=Classifier.objects.exclude(threshold=None).order_by("-pk"),
        empty_label="none",
        error_messages={"invalid_choice": "There is no such calibrated classifier."},
    )
    seed = forms.CharField(label="Random seed", required=False)
    config = forms.CharField(label="The attack's own settings, as JSON", required=False)

    settings: LoneAttack

    def clean(self) -> dict[str, Any]:
        """The settings as the service takes them; each mistake stands at its field."""
        given: dict[str, Any] = super().clean() or {}
        if {"name", "recipe", "split"} & self.errors.keys():
            return given
        try:
            self.settings = LoneAttack.model_validate(asked_for(given))
        except ValidationError as error:
            self.blame(problem_of(error).errors)
        except ValueError as error:
            self.add_error("config", str(error))
        return given

    def blame(self, errors: Iterable[FieldError]) -> None:
        """Puts each error beside the field that it is about."""
        for one in errors:
            loc, field = next(
                ((loc, name) for loc, name in FIELD_OF.items() if one.loc[: len(loc)] == loc), ((), "config")
            )
            where = ".".join(map(str, one.loc[len(loc) :]))
            self.add_error(field, f"{where}: {one.message}" if where else one.message)

    def opens(self) -> bool:
        """Whether the settings for experts are to be seen at once: something is said there, or wrong there."""
        expert = ("config", "tokens", "money", "second_opinion", "seed")
        return any(self.errors.get(name) or self.data.get(name) for name in expert)


def asked_for(given: Mapping[str, Any]) -> dict[str, Any]:
    """The form's fields as the API's body has them; empty ones are left to the defaults. Raises ValueError."""
    config = _settings(given.get("config", ""))
    if given["name"] == "rewrite" and given.get("recipe") and isinstance(config, dict):
        config = {"recipe": given["recipe"], **config}
    budget = {name: given[name] for name in ("queries", "seconds", "tokens", "money") if given.get(name)}
    seeds: dict[str, Any] = {"limit": given["limit"]} if given.get("limit") else {}
    if given.get("split"):
        seeds["split"] = None if given["split"] == EVERY_SPLIT else given["split"]
    plain = {name: given[name] for name in ("title", "seed") if given.get(name)}
    return {"name": given["name"], "config": config, "budget": budget, "seeds": seeds, **plain}


@page("attacks")
def new(request: PageRequest) -> HttpResponse:
    """The form; sent, it launches the attack and leads to its page."""
    require(request.user, "attacks", "create")
    form = AttackForm(request.POST if request.method == "POST" else None, initial=_initial(request))
    if form.is_valid():
        try:
            row = attack_create(
                classifier=form.cleaned_data["classifier"],
                settings=form.settings,
                second_opinion=form.cleaned_data["second_opinion"],
                created_by=request.user,
            )
            messages.success(request, "Launched. Its seeds are being chosen; this page moves by itself.")
            return redirect("attack", row.pk)
        except BadInput as error:
            form.add_error("config", str(error))
        except DomainError as error:
            if error.errors:
                form.blame(error.errors)
            else:
                form.add_error("classifier", error.message)
    context = {"form": form, "attacks": attack_choices(), "limit": SeedsWanted.model_fields["limit"].default}
    return render(request, "pages/attack_new.html", context, status=400 if form.errors else 200)


def _initial(request: PageRequest) -> dict[str, Any]:
    return {
        "classifier": request.GET.get("classifier", ""),
        "name": request.GET.get("name", "substitution"),
        "split": SplitName.TRAIN,
    }


def _settings(text: str) -> Any:
    """The settings' JSON. Raises ValueError saying where it is none."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse)
        storable = all(map(_storable, _texts(value)))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("not JSON: nested too deeply") from error
    if not storable:
        raise ValueError("contains a null character or half of a surrogate pair")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name} is none of its numbers")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value


def _storable(text: str) -> bool:
    return "\0" not in text and text.encode("utf-8", "replace").decode() == text
