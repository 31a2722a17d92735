"""Who serves: promoted, rolled back, two at once, and what became of promotions from before there were rows of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from engine.errors import Damaged
from tests.people import weights
from tests.webapi.attack_rows import classifier_of
from tests.webapi.test_migrations import migrated  # noqa: F401
from webapi.errors import DomainError
from webapi.models import Classifier, Policy, Promotion, User
from webapi.selectors.classifiers import serving_classifier
from webapi.services import promotions
from webapi.services.policies import policy_create
from webapi.services.promotions import classifier_promote, policy_roll_back

Api = Callable[..., APIClient]


@pytest.fixture
def three(policy: Policy) -> list[Classifier]:
    return [classifier_of(policy, name, condition=name) for name in ("one", "two", "three")]


def serving(policy: Policy) -> str | None:
    """By the rows, after a look that everything else says the same."""
    found = serving_classifier(policy.pk)
    promoted = Classifier.objects.filter(policy=policy, promoted_at__isnull=False).order_by("-promoted_at").first()
    assert promoted == found, "of a policy's classifiers the one with the latest `promoted_at` serves"
    return None if found is None else found.name


def test_promoted_and_rolled_back_step_by_step(three: list[Classifier], policy: Policy, rita: User) -> None:
    assert serving(policy) is None
    for row in three:
        classifier_promote(classifier=row, by=rita, note=f"as {row.name}")
        assert serving(policy) == row.name
    assert policy_roll_back(policy=policy, by=rita, wanted=three[2]).classifier == three[1]
    assert serving(policy) == "two"
    three[2].refresh_from_db()
    assert three[2].promoted_at is None
    assert policy_roll_back(policy=policy).classifier == three[0]
    with pytest.raises(DomainError) as refused:
        policy_roll_back(policy=policy)
    assert refused.value.code == "nothing_before"
    assert serving(policy) == "one"
    kept = Promotion.objects.order_by("pk").values_list("classifier__name", "serving", "note", "rolled_back_by")
    assert list(kept) == [
        ("one", True, "as one", None),
        ("two", False, "as two", None),
        ("three", False, "as three", rita.pk),
    ]
    assert list(Promotion.objects.filter(rolled_back_at=None).values_list("classifier__name", flat=True)) == ["one"]


def test_what_was_rolled_back_is_skipped_afterwards(three: list[Classifier], policy: Policy) -> None:
    one, two, three_ = three
    for row in (one, two):
        classifier_promote(classifier=row)
    policy_roll_back(policy=policy)
    classifier_promote(classifier=three_)
    classifier_promote(classifier=two)
    assert [policy_roll_back(policy=policy).classifier.name for _ in range(2)] == ["three", "one"]
    assert serving(policy) == "one"


def test_a_classifier_promoted_twice_keeps_the_earlier_time(three: list[Classifier], policy: Policy) -> None:
    one, two, _ = three
    first = classifier_promote(classifier=one).promoted_at
    classifier_promote(classifier=two)
    classifier_promote(classifier=one)
    assert serving(policy) == "one"
    policy_roll_back(policy=policy)
    one.refresh_from_db()
    assert (serving(policy), one.promoted_at) == ("two", first)


def test_damaged_weights_are_not_promoted(policy: Policy, three: list[Classifier]) -> None:
    sound, damaged = three[0], classifier_of(policy, "damaged", condition="damaged", artifact=weights("damaged"))
    classifier_promote(classifier=sound)
    (damaged.artifact.file / "model.safetensors").write_bytes(b"other")
    with pytest.raises(Damaged, match="damaged"):
        classifier_promote(classifier=damaged)
    assert serving(policy) == "one"


def test_promoting_the_serving_one_again_adds_no_row(three: list[Classifier], policy: Policy) -> None:
    for _ in range(2):
        classifier_promote(classifier=three[0])
    assert Promotion.objects.count() == 1


def test_policies_are_apart(three: list[Classifier], policy: Policy) -> None:
    other = policy_create(spec={**policy.spec, "name": "other"})
    theirs = classifier_of(other, "theirs", condition="theirs")
    classifier_promote(classifier=theirs)
    for row in three[:2]:
        classifier_promote(classifier=row)
    policy_roll_back(policy=policy)
    assert (serving(policy), serving(other)) == ("one", "theirs")
    with pytest.raises(DomainError) as refused:
        policy_roll_back(policy=other)
    assert refused.value.code == "nothing_before"


def test_rolling_back_what_does_not_serve_changes_nothing(three: list[Classifier], policy: Policy) -> None:
    for row in three[:2]:
        classifier_promote(classifier=row)
    with pytest.raises(DomainError) as refused:
        policy_roll_back(policy=policy, wanted=three[0])
    assert refused.value.code == "not_serving"
    assert "two does" in refused.value.message
    assert serving(policy) == "two"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("move", ["roll back", "promote"])
def test_of_two_at_once_one_wins(
    three: list[Classifier], policy: Policy, move: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for row in three[:2]:
        classifier_promote(classifier=row)
    both_have_looked, look = threading.Barrier(2), promotions.serving_promotion

    def look_together(policy_id: Any) -> Any:
        found = look(policy_id)
        both_have_looked.wait(10)
        return found

    monkeypatch.setattr(promotions, "serving_promotion", look_together)
    codes: list[str] = []

    def one() -> None:
        try:
            if move == "promote":
                classifier_promote(classifier=three[2])
            else:
                policy_roll_back(policy=policy)
            codes.append("done")
        except DomainError as error:
            codes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(codes) == ["conflict", "done"]
    assert serving(policy) == ("three" if move == "promote" else "one")
    assert Promotion.objects.filter(serving=True).count() == 1


def test_over_the_api(three: list[Classifier], policy: Policy, rita: User, vera: User, alice: User, api: Api) -> None:
    client, at = api(rita), f"/api/v1/policies/{policy.pk}/rollback"
    nothing = client.post(at)
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_before")
    for row in three[:2]:
        assert client.post(f"/api/v1/classifiers/{row.pk}/promote", {"note": "better"}).status_code == 200
    for user in (vera, alice):
        assert api(user).post(at).status_code == 403
    wrong = client.post(at, {"classifier": str(three[0].pk)})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "not_serving")
    key = {"HTTP_IDEMPOTENCY_KEY": "once"}
    answers = [client.post(at, {"classifier": str(three[1].pk)}, **key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["classifier"] for answer in answers} == {str(three[0].pk)}
    (history,) = client.get(f"/api/v1/classifiers/{three[1].pk}/promotions").json()["results"]
    assert (history["note"], history["by"], history["serving"]) == ("better", str(rita.pk), False)
    assert history["rolled_back_by"] == str(rita.pk)
    assert serving(policy) == "one"


def test_promotions_from_before_there_were_rows(migrated: Any) -> None:  # noqa: F811
    old = migrated("0010_rounds_that_had_one_attack")
    policies = [old.get_model("webapi", "Policy").objects.create(name=name, spec={}) for name in ("a", "b")]
    classifiers = old.get_model("webapi", "Classifier").objects
    times = {("a", "first"): 3, ("a", "second"): 5, ("a", "never"): None, ("b", "only"): 4}
    for (policy, name), day in times.items():
        at = None if day is None else datetime(2026, 1, day, tzinfo=UTC)
        owner = policies[policy == "b"]
        classifiers.create(policy=owner, name=name, condition=name, encoder="e", promoted_at=at)
    migrated("0012_sweeps")
    rows = Promotion.objects.order_by("policy__name", "pk")
    assert list(rows.values_list("policy__name", "classifier__name", "serving", "created_at__day")) == [
        ("a", "first", False, 3),
        ("a", "second", True, 5),
        ("b", "only", True, 4),
    ]
