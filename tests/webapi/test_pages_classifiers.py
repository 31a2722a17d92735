"""Classifiers on pages: promoted and rolled back by hand, compared, traced back to who labelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from tests.page_text import text_of
from tests.sweeping import sweepable
from tests.webapi.attack_rows import classifier_of
from webapi.models import Annotator, Classifier, DatasetSnapshot, Label, Policy, Promotion, Score, Snippet, User


@pytest.fixture
def snapshot(policy: Policy, gauntlet_home: Path) -> DatasetSnapshot:
    return sweepable(policy, gauntlet_home, gauntlet_home / "no encoder")


@pytest.fixture
def two(policy: Policy, snapshot: DatasetSnapshot) -> list[Classifier]:
    fields = {"snapshot": snapshot, "environment": {"python": "3.11.9", "accelerators": []}}
    return [classifier_of(policy, name, condition=name, recipe={"epochs": n}, **fields) for n, name in enumerate("ab")]


def test_promoted_and_rolled_back_on_pages(two: list[Classifier], rita: User, vera: User, client: Client) -> None:
    first, second = two
    client.force_login(vera)
    assert "Promote…" not in text_of(client.get(f"/classifiers/{first.pk}/"))
    assert client.get(f"/classifiers/{first.pk}/promote/").status_code == 403
    assert client.post(f"/classifiers/{first.pk}/rollback/").status_code == 403
    client.force_login(rita)
    assert "Nothing serves yet." in text_of(client.get(f"/classifiers/{first.pk}/promote/"))
    for row in two:
        client.post(f"/classifiers/{row.pk}/promote/", {"note": f"because of {row.name}"})
    page = text_of(client.get(f"/classifiers/{second.pk}/"))
    assert "It serves harm v1; it was promoted" in page
    assert "because of b" in page
    assert "by rita" in page
    assert "b serves harm v1." in text_of(client.get(f"/classifiers/{first.pk}/"))
    assert "Take b back?" in text_of(client.get(f"/classifiers/{second.pk}/rollback/"))
    moved = client.post(f"/classifiers/{second.pk}/rollback/")
    assert moved["Location"] == f"/classifiers/{first.pk}/"
    assert "a serves harm v1." in text_of(client.get("/classifiers/"))
    assert "rolled back" in text_of(client.get(f"/classifiers/{second.pk}/"))
    again = text_of(client.post(f"/classifiers/{second.pk}/rollback/", follow=True))
    assert "Nothing was changed: b does not serve" in again
    assert Promotion.objects.count() == 2


def test_a_classifier_leads_back_to_who_labelled(
    two: list[Classifier], snapshot: DatasetSnapshot, vera: User, client: Client
) -> None:
    ann, sim = Annotator.objects.create(name="ann"), Annotator.objects.create(name="sim", simulated=True)
    trained_on = list(Snippet.objects.filter(split="train")[:3])
    for snippet in trained_on:
        Label.objects.create(snippet=snippet, annotator=ann, choice="No")
    Label.objects.create(snippet=trained_on[0], annotator=sim, choice="No")
    elsewhere = Snippet.objects.filter(split="validation").first()
    assert elsewhere is not None
    Label.objects.create(snippet=elsewhere, annotator=Annotator.objects.create(name="other"), choice="No")
    client.force_login(vera)
    behind = text_of(client.get(f"/classifiers/{two[0].pk}/lineage"))
    assert "4 labels by 2 annotators (1 simulated)" in behind
    assert "16 No, 8 Yes" in behind
    file = snapshot.artifact.file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert "its SHA-256 should be" in text_of(client.get(f"/classifiers/{two[0].pk}/lineage"))


def test_two_beside_one_another(two: list[Classifier], vera: User, client: Client) -> None:
    client.force_login(vera)
    assert "Which two classifiers?" in text_of(client.get("/classifiers/compare/"))
    at = f"/classifiers/compare/?a={two[0].pk}&b={two[1].pk}"
    page = text_of(client.get(at))
    assert "a and b: no snippet was scored by both yet." in page
    assert "epochs 0 1" in page
    assert "No evaluation of both on the same held-out sets" in page
    snippets = Snippet.objects.filter(split="train")[:4]
    for row, logits in zip(two, ([-1, 1, 1, 1], [-1, -1, 1, 1]), strict=True):
        for snippet, logit in zip(snippets, logits, strict=True):
            Score.objects.create(classifier=row, snippet=snippet, logit=logit)
    page = text_of(client.get(at))
    assert "a and b decide alike on 75.0 % of 4 snippets that both scored." in page
    assert "Both 24 snippets" in page
    assert client.get(f"/classifiers/compare/?a={two[0].pk}&b={two[0].policy_id}").status_code == 404
