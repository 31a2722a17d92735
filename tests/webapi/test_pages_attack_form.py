"""The form that launches an attack: what is asked is launched, and what is wrong stands beside its field."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from django.test import Client

from tests.page_text import text_of
from tests.webapi.attack_rows import classifier_of
from webapi.models import (
    Attack,
    Classifier,
    Job,
    Policy,
    User,
)

pytestmark = pytest.mark.django_db
AT = "/attacks/"


ASKED = {"name": "substitution", "split": "train"}


def test_an_attack_is_launched_from_the_form(reader: Client, classifier: Classifier, rita: User) -> None:
    other = classifier_of(classifier.policy, "another")
    page = reader.get(f"{AT}new/?classifier={classifier.pk}").content.decode()
    assert f'<option value="{classifier.pk}" selected>baseline</option>' in page
    asked = {
        "classifier": classifier.pk,
        "name": "rewrite",
        "recipe": "greedy",
        "title": "Greedy one",
        "limit": "12",
        "split": "all",
        "queries": "3000",
        "seconds": "90.5",
        "tokens": "100",
        "money": "2",
        "second_opinion": other.pk,
        "seed": "5",
        "config": '{"wanted": 2}',
    }
    sent = reader.post(f"{AT}new/", asked)
    row = Attack.objects.get()
    assert (sent.status_code, sent.url) == (302, f"{AT}{row.pk}/")
    assert (row.classifier, row.second_opinion, row.created_by) == (classifier, other, rita)
    assert (row.name, row.title, row.seed, row.state) == ("rewrite", "Greedy one", 5, "pending")
    assert row.config == {"recipe": "greedy", "wanted": 2}
    assert row.budget == {"queries": 3000, "seconds": 90.5, "tokens": 100, "money": 2.0}
    assert (row.wanted["limit"], row.wanted["split"]) == (12, None)
    assert Job.objects.get().kind == "choose_seeds"
    assert "Launched." in text_of(reader.get(sent.url))


def test_what_is_left_empty_is_as_the_api_has_it(reader: Client, classifier: Classifier) -> None:
    reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "recipe": "greedy"})
    row = Attack.objects.get()
    assert (row.title, row.config, row.budget) == ("substitution", {}, {})
    assert (row.wanted["limit"], row.wanted["split"]) == (50, "train")


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"classifier": ""}, "classifier", "Choose the classifier to attack."),
        ({"classifier": str(uuid.uuid4())}, "classifier", "There is no such calibrated classifier."),
        ({"name": ""}, "name", "Choose an attack."),
        ({"name": "telepathy"}, "name", "There is no attack “telepathy”."),
        ({"limit": "0"}, "limit", "must be at least 1"),
        ({"limit": "some"}, "limit", "must be a whole number"),
        ({"limit": "100001"}, "limit", "must be at most 100000"),
        ({"split": "secret"}, "split", "must be train, validation, test or every split"),
        ({"queries": "-1"}, "queries", "must be at least 0"),
        ({"queries": "1.5"}, "queries", "must be a whole number"),
        ({"seconds": "soon"}, "seconds", "must be a number"),
        ({"seconds": "1e999"}, "seconds", "must be a number"),
        ({"money": "nan"}, "money", "must be a number"),
        ({"seed": "-2"}, "seed", "must be at least 0"),
        ({"title": "x" * 33}, "title", "must have at most 32 characters"),
        ({"name": "rewrite", "recipe": "stew"}, "recipe", "unknown recipe; known: beam, best_first, filler, greedy"),
        ({"config": "{"}, "config", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ({"config": "[" * 100_000}, "config", "not JSON: nested too deeply"),
        ({"config": "[" * 900 + "]" * 900}, "config", ""),
        ({"config": '{"tried": NaN}'}, "config", "not JSON: NaN is none of its numbers"),
        ({"config": "[1]"}, "config", "must be a table of fields"),
        ({"config": '{"tried": 0}'}, "config", "attack substitution: tried: must be at least 1"),
        ({"config": '{"recipe": "stew"}'}, "config", "unknown recipe &#x27;stew&#x27;; known: beam"),
        ({"config": r'{"words": {"name": "\u0000"}}'}, "config", "contains a null character"),
        ({"config": r'{"words": {"\ud800": 1}}'}, "config", "half of a surrogate pair"),
        ({"config": '{"cook": 1}'}, "config", "cook: there is no such field; known: at_once"),
    ],
)
def test_errors_stand_beside_their_fields_and_nothing_is_launched(
    reader: Client, classifier: Classifier, wrong: dict[str, str], field: str, says: str
) -> None:
    page = reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "title": "Kept", **wrong})
    html = page.content.decode()
    assert page.status_code == 400
    listed = re.search(rf'<ul class="errorlist" id="e-{field}">(.*?)</ul>', html, re.S).group(1)
    assert says in listed
    assert f'<a href="#id_{field}">' in html
    assert wrong.get("title", "Kept") in html
    assert (Attack.objects.count(), Job.objects.count()) == (0, 0)


def test_what_the_service_refuses_is_said_beside_the_field(reader: Client, classifier: Classifier) -> None:
    foreign = Policy.objects.create(name="other", version=1, spec=classifier.policy.spec, digest="0" * 64)
    second = classifier_of(foreign, "foreign")
    page = reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "second_opinion": second.pk})
    assert page.status_code == 400
    listed = re.search(r'id="e-second_opinion">(.*?)</ul>', page.content.decode()).group(1)
    assert listed == "<li>is of another policy than the classifier</li>"
    assert Attack.objects.count() == 0


def test_the_servers_own_secrets_are_not_named_as_keys(reader: Client, classifier: Classifier) -> None:
    endpoint = {"name": "openai", "config": {"model": "m", "key_variable": "DATABASE_URL"}}
    asked = {"name": "paraphrase", "classifier": classifier.pk, "config": json.dumps({"paraphraser": endpoint})}
    page = reader.post(f"{AT}new/", asked)
    assert page.status_code == 400
    assert "config.paraphraser.config.key_variable: only variables whose names end in" in text_of(page)
    assert Attack.objects.count() == 0


def test_numbers_that_are_too_large_to_be_meant_are_shown_all_the_same(reader: Client, classifier: Classifier) -> None:
    many = "1" + "0" * 400
    sent = reader.post(
        f"{AT}new/", {**ASKED, "classifier": classifier.pk, "queries": many, "config": f'{{"wanted": {many}}}'}
    )
    page = text_of(reader.get(sent.url))
    assert page.count(f"{int(many):,}") == 2


def test_without_a_calibrated_classifier_there_is_nothing_to_launch(reader: Client, policy: Policy) -> None:
    classifier_of(policy, threshold=None)
    assert "There is no calibrated classifier to attack." in text_of(reader.get(f"{AT}new/"))
