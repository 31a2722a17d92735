"""Attacks in a browser: launched from the form by keyboard, followed while they run, their finds read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from tests.webapi.attack_rows import attack_of, candidate, classifier_of, label_of, seed_of, snippet_of
from webapi.models import Attack, Classifier, Job, Policy, User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def classifier(policy: Policy) -> Classifier:
    return classifier_of(policy)


def test_an_attack_is_launched_and_followed_to_its_finds(
    rita: User, classifier: Classifier, signed_in: NewContext, faults: Callable[[Page], list[str]]
) -> None:
    page = signed_in(rita).new_page()
    page.goto(f"/classifiers/{classifier.pk}/")
    page.get_by_role("link", name="Attack it").click()
    page.get_by_role("radio", name="Word substitution").focus()
    page.keyboard.press("ArrowUp")  # from the last of the attacks to the one before
    expect(page.get_by_role("radio", name="Rewrite search")).to_be_checked()
    page.get_by_label("Recipe of the rewrite search").select_option("greedy")
    page.get_by_label("Queries, at most").fill("many")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was launched. Queries, at most: must be a whole number.")
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.get_by_label("Queries, at most")).to_be_focused()
    page.get_by_label("Queries, at most").fill("500")
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_have_text("Rewrite search on baseline is choosing its seeds.")
    heard = faults(page)
    row = Attack.objects.get()
    assert (row.name, row.config, row.budget) == ("rewrite", {"recipe": "greedy"}, {"queries": 500})
    row.start(60)
    Job.objects.create(kind="attack_shard", attack=row, done=13, total=60)
    expect(page.locator("h1")).to_have_text("Rewrite search is attacking baseline: 13 of 60 seeds.")
    expect(page.locator("#announce")).to_have_text("Rewrite search: running.")
    Job.objects.filter(kind="attack_shard").update(done=31)
    expect(page.locator("progress")).to_have_attribute("value", "31")

    seed = seed_of(row, "He fell down the old stairs.")
    candidate(row, seed, snippet_of(row.policy, "He fell down the old ladder."))
    expect(page.locator(".find ins")).to_contain_text("ladder")
    expect(page.locator(".find del")).to_contain_text("stairs")
    expect(page.locator(".find")).to_contain_text("not labelled")
    row.succeed({"seconds": 3.0})
    expect(page.locator("h1")).to_have_text("Rewrite search found 1 candidate against baseline; none is labelled yet.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert [url for url in asked if url.endswith("/progress")] == []
    label_of(row.candidates.get().snippet, "Yes")
    page.reload()
    expect(page.locator("h1")).to_contain_text("Rewrite search broke 1 of 1 seeds of baseline")
    assert heard == []


def test_marks_are_seen_without_colour(rita: User, classifier: Classifier, signed_in: NewContext) -> None:
    row = attack_of(classifier)
    candidate(row, seed_of(row, "He fell off the stairs."), snippet_of(row.policy, "He fell off the ladder."))
    page = signed_in(rita, forced_colors="active").new_page()
    page.goto(f"/attacks/{row.pk}/")
    lines = "element => getComputedStyle(element).textDecorationLine"
    assert page.locator(".find ins").evaluate(lines) == "underline"
    assert page.locator(".find del").evaluate(lines) == "line-through"


def test_attacks_are_sorted_and_drawn(rita: User, classifier: Classifier, signed_in: NewContext) -> None:
    attack_of(classifier, "N", "Y", title="half")
    attack_of(classifier, "Y", "Y", title="all")
    attack_of(classifier, "N", "N", title="none")
    page = signed_in(rita).new_page()
    page.goto("/attacks/")
    page.get_by_text("All attacks.").click()
    page.get_by_label("On", exact=True).select_option("baseline")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".chart .point")).to_have_count(3)
    page.get_by_role("columnheader", name="Seeds broken").get_by_role("link").click()
    expect(page.locator("tbody th a[id]")).to_have_text(["all", "half", "none"])
    expect(page.locator(".chart .point")).to_have_count(3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_phone(
    rita: User, classifier: Classifier, signed_in: NewContext, faults: Callable[[Page], list[str]], scheme: str
) -> None:
    long = "a" * 200
    row = attack_of(classifier, "YN", "N", ".", title=long[:30], config={long: long})
    candidate(row, seed_of(row, f"He {long} fell."), snippet_of(row.policy, f"He {long} rose {long}."))
    page = signed_in(rita, viewport=PHONE, color_scheme=scheme).new_page()
    heard = faults(page)
    for address in (
        "/attacks/",
        f"/attacks/?classifier={classifier.pk}&sort=-per_minute",
        f"/attacks/{row.pk}/",
        f"/attacks/{row.pk}/label/",
        "/attacks/new/",
    ):
        page.goto(address)
        expect(page.locator("h1").first).to_be_attached()
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], address
    page.goto(f"/attacks/?classifier={classifier.pk}")
    cell = page.locator("td[data-label='Per labeler minute']").first.bounding_box()
    assert cell["x"] >= 0
    assert cell["x"] + cell["width"] <= PHONE["width"]
    assert heard == []
