"""Watching in a browser: a round moves by itself, its buttons follow its state, every page fits a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from webapi.models import (
    Annotator,
    Batch,
    Classifier,
    Corpus,
    Job,
    Label,
    Policy,
    Round,
    RoundSnippet,
    Score,
    Snippet,
    Stage,
    User,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def running(policy: Policy) -> Round:
    corpus = Corpus.objects.create(name="books", simulated=True)
    round_ = Round.objects.create(name="Round 4", policy=policy, corpus=corpus, state="running")
    for position, (name, state) in enumerate({"ingest": "succeeded", "attack": "running", "train": "pending"}.items()):
        Stage.objects.create(round=round_, name=name, position=position, state=state)
    Job.objects.create(kind="stage", stage=round_.stages.get(name="attack"), state="running", done=12, total=600)
    return round_


def test_a_round_moves_by_itself(
    rita: User, running: Round, signed_in: NewContext, faults: Callable[[Page], list[str]]
) -> None:
    page = signed_in(rita).new_page()
    heard = faults(page)
    page.goto(f"/rounds/{running.pk}/")
    expect(page.locator("h1")).to_have_text("Round 4 is attacking the baseline: 12 of 600.")
    expect(page.locator(".chart .main-svg").first).to_be_visible()
    Job.objects.update(done=412)
    expect(page.locator("h1")).to_have_text("Round 4 is attacking the baseline: 412 of 600.")
    expect(page.locator("tr[data-live] progress")).to_have_attribute("value", "412")

    running.stages.filter(name="attack").update(state="failed", error="no memory")
    Round.objects.update(state="failed", error="attack: no memory")
    expect(page.locator("h1")).to_have_text("Round 4 stopped while attacking the baseline.")
    expect(page.get_by_role("button", name="Retry the failed stage")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("attack: no memory")
    expect(page.locator("#announce")).to_have_text("Round 4 stopped while attacking the baseline.")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1500)
    assert [url for url in asked if url.endswith("/progress")] == []
    assert heard == []


def test_pausing_and_resuming_by_button(rita: User, running: Round, signed_in: NewContext) -> None:
    page = signed_in(rita).new_page()
    page.goto(f"/rounds/{running.pk}/")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1")).to_have_text("Round 4 is paused while attacking the baseline: 12 of 600.")
    assert Round.objects.get().state == "paused"
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert Round.objects.get().state == "running"


def test_agreement_comes_when_it_is_counted(
    rita: User, policy: Policy, make_snippets: Callable[..., list[Snippet]], signed_in: NewContext
) -> None:
    for name, choices in {"ann": ("Yes", "No"), "ben": ("Yes", "Yes")}.items():
        annotator = Annotator.objects.create(name=name)
        rows = make_snippets(2) if name == "ann" else list(Snippet.objects.order_by("pk"))
        for row, choice in zip(rows, choices, strict=True):
            Label.objects.create(snippet=row, annotator=annotator, choice=choice)
    page = signed_in(rita).new_page()
    page.goto("/labeling/agreement/")
    expect(page.locator("h1")).to_contain_text("agree on 50.0 % of 2 snippets judged twice or more")
    expect(page.locator(".disputes li")).to_have_count(1)


def test_figures_that_do_not_come_are_said_to_be_missing(
    rita: User, policy: Policy, make_snippets: Callable[..., list[Snippet]], signed_in: NewContext
) -> None:
    Label.objects.create(snippet=make_snippets(1)[0], annotator=Annotator.objects.create(name="ann"), choice="Yes")
    page = signed_in(rita).new_page()
    page.route("**/agreement/figures*", lambda route: route.fulfill(status=500, body="no"))
    page.goto("/labeling/agreement/")
    expect(page.get_by_role("alert")).to_contain_text("The figures did not come.")
    expect(page.locator("#figures")).to_be_hidden()


def test_a_trend_is_drawn_and_more_disagreements_come_on_demand(
    rita: User, policy: Policy, make_snippets: Callable[..., list[Snippet]], signed_in: NewContext
) -> None:
    rows = make_snippets(12)
    for name, choice in {"ann": "Yes", "ben": "No"}.items():
        annotator = Annotator.objects.create(name=name)
        Label.objects.bulk_create(Label(snippet=row, annotator=annotator, choice=choice) for row in rows)
    Label.objects.filter(snippet__in=rows[:6]).update(created_at=timezone.now() - timedelta(days=2))
    page = signed_in(rita).new_page()
    page.goto("/labeling/agreement/")
    expect(page.locator(".chart .main-svg").first).to_be_visible()
    expect(page.locator(".chart .annotation-text").filter(has_text="alpha")).to_be_visible()
    expect(page.locator(".disputes li")).to_have_count(10)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".disputes li")).to_have_count(12)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
def test_annotators_of_one_name_and_of_a_long_one_are_drawn_apart_and_no_word_is_cut(
    rita: User, make_snippets: Callable[..., list[Snippet]], signed_in: NewContext, width: int
) -> None:
    rows = make_snippets(2)
    for name in ("ann", "ann", "a worker whose vendor gave them a very long name " * 3):
        annotator = Annotator.objects.create(name=name)
        Label.objects.bulk_create(Label(snippet=row, annotator=annotator, choice="Yes") for row in rows)
    page = signed_in(rita, viewport={"width": width, "height": 740}).new_page()
    page.goto("/labeling/annotators/")
    title = page.locator(".chart .annotation-text")
    expect(title).to_have_text("share answered as most of the others")
    chart, words = page.locator(".chart").bounding_box(), title.bounding_box()
    assert chart["x"] <= words["x"]
    assert words["x"] + words["width"] <= chart["x"] + chart["width"]
    assert words["y"] + words["height"] <= chart["y"] + chart["height"]
    expect(page.locator(".chart .point")).to_have_count(3)
    heights = {round(point.bounding_box()["y"]) for point in page.locator(".chart .point").all()}
    assert len(heights) == 3
    plot = page.locator(".chart .nsewdrag").bounding_box()
    assert plot["width"] >= 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_narrow_screen_and_complains_of_nothing(
    ada: User,
    running: Round,
    policy: Policy,
    make_snippets: Callable[..., list[Snippet]],
    make_batch: Callable[..., Batch],
    signed_in: NewContext,
    faults: Callable[[Page], list[str]],
    scheme: str,
) -> None:
    (snippet,) = make_snippets(1, first=50, completion="A word as long as this one: " + "a" * 200)
    make_batch(2, round=running, name="selected")
    RoundSnippet.objects.create(round=running, snippet=snippet, pool="attack")
    classifier = Classifier.objects.create(
        policy=policy, name="baseline", condition="baseline", encoder="minilm", threshold=0.01, round=running
    )
    Score.objects.create(classifier=classifier, snippet=snippet, logit=-3)
    annotator = Annotator.objects.create(name="ann")
    Label.objects.create(snippet=snippet, annotator=annotator, choice="Yes")
    page = signed_in(ada, viewport=PHONE, color_scheme=scheme).new_page()
    heard = faults(page)
    for address in (
        f"/labeling/annotators/?policy={policy.pk}",
        f"/labeling/annotators/{annotator.pk}/?policy={policy.pk}",
        f"/labeling/annotators/{annotator.pk}/put_back/?policy={policy.pk}",
        "/rounds/",
        f"/rounds/{running.pk}/",
        f"/rounds/{running.pk}/cancel/",
        "/snippets/",
        f"/snippets/{snippet.pk}/",
        "/labeling/queue/",
        "/labeling/agreement/",
        "/label/",
        "/me/",
        "/classifiers/",
        f"/classifiers/{classifier.pk}/",
        "/settings/tokens/",
    ):
        page.goto(address)
        expect(page.locator("h1").first).to_be_attached()
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], address
    assert heard == []


def test_lists_renew_themselves_and_keep_the_focus(rita: User, running: Round, signed_in: NewContext) -> None:
    page = signed_in(rita).new_page()
    page.goto("/rounds/")
    page.locator(".row-link").focus()
    Job.objects.update(done=300)
    expect(page.locator(".row-link")).to_contain_text("is attacking the baseline: 300 of 600")
    expect(page.locator(".row-link")).to_be_focused()
