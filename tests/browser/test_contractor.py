"""A contractor's path: the entrance test, twenty labels by keys alone, one taken back, two comparisons, feedback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.test_label import wait_for
from webapi.models import Batch, Gold, Label, Lease, Policy, Preference, Snippet, Standing, Task, User
from webapi.services.policies import policy_create

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
MakeBatch = Callable[..., Batch]
MakeSnippets = Callable[..., list[Snippet]]
TEST = 4
WORK = 20


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """The policy of the other tests with an entrance test."""
    quality = {"qualification": TEST, "qualification_right": TEST - 1}
    return policy_create(spec={**policy.spec, "name": "tested", "quality": quality})


@pytest.fixture
def gold(policy: Policy, make_snippets: MakeSnippets) -> list[Gold]:
    """Texts whose right answer is No."""
    rows = make_snippets(TEST, first=500)
    return [
        Gold.objects.create(policy=policy, snippet=row, choice="No", explanation="Nobody was hurt.") for row in rows
    ]


def press(page: Page, *keys: str) -> None:
    """Keys for the text on show, which then makes room for another or for a message."""
    before = page.locator("#prompt").text_content()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function(
        "before => document.getElementById('text').hidden || document.getElementById('prompt').textContent !== before",
        arg=before,
    )


def test_from_the_entrance_test_to_feedback(
    alice: User,
    signed_in: NewContext,
    policy: Policy,
    gold: list[Gold],
    make_batch: MakeBatch,
    make_snippets: MakeSnippets,
    faults: Callable[[Page], list[str]],
) -> None:
    make_batch(WORK + 5)
    compare = Batch.objects.create(policy=policy, name="quality", kind="compare", adapter="pull")
    rows = make_snippets(4, first=900)
    Task.objects.bulk_create([Task(batch=compare, snippet=rows[n], rival=rows[n + 2]) for n in range(2)])
    page = signed_in(alice).new_page()
    heard = faults(page)

    # The entrance test, with one mistake.
    page.goto("/label/")
    expect(page.locator("#test")).to_have_text(f"Entrance test: 1 of {TEST}")
    press(page, "y", "Enter")
    for number in range(2, TEST + 1):
        expect(page.locator("#test")).to_have_text(f"Entrance test: {number} of {TEST}")
        press(page, "n", "Enter")
    expect(page.locator("#message-text")).to_have_text(
        f"Entrance test passed. {TEST - 1} of {TEST} gold answers right. Real work follows."
    )
    expect(page.locator("#test")).to_be_empty()

    # Twenty by keys alone, the fifth of them taken back and changed.
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_be_visible()
    for number in range(1, WORK + 1):
        press(page, "yun"[number % 3], "Enter")
        if number == 5:
            wait_for(lambda: Label.objects.count() == TEST + 5, page)  # what is not sent yet is just replaced
            press(page, "z")
            press(page, "y", "Enter")
    wait_for(lambda: Label.objects.count() == TEST + WORK + 1, page)
    work = Label.objects.filter(task__gold=None)
    assert work.filter(revision=0).count() == WORK
    assert list(work.filter(revision=1).values_list("choice", flat=True)) == ["Yes"]
    expect(page.locator("#count-session")).to_have_text(str(TEST + WORK))

    # Two comparisons.
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Compare").click()
    expect(page.locator("#rival")).not_to_be_empty()
    press(page, "ArrowLeft", "Enter")
    press(page, "4", "Enter")
    wait_for(lambda: Preference.objects.count() == 2, page)
    expect(page.locator("#message-text")).to_contain_text("Nothing waits for you right now")

    # Feedback.
    page.get_by_role("navigation", name="Main").get_by_role("link", name="My figures").click()
    expect(page.get_by_role("heading", name=f"{TEST - 1} of {TEST} gold answers right")).to_be_visible()
    expect(page.locator(".learn li")).to_have_count(1)
    expect(page.locator(".learn li")).to_contain_text("You answered Yes; right is No. Nobody was hurt.")
    wait_for(lambda: not Lease.objects.filter(state="live").exists(), page)
    assert heard == []


def test_who_does_not_pass_is_told_whom_to_ask(
    alice: User, signed_in: NewContext, gold: list[Gold], make_batch: MakeBatch
) -> None:
    make_batch(3)
    page = signed_in(alice).new_page()
    page.goto("/label/")
    expect(page.locator("#completion")).not_to_be_empty()
    for _ in range(TEST):
        press(page, "y", "Enter")
    expect(page.locator("#message-text")).to_have_text(
        f"Entrance test not passed. 0 of {TEST} gold answers right. "
        "To try again, ask the researchers who run this project."
    )
    expect(page.locator("#submit")).to_be_disabled()
    page.reload()
    expect(page.locator("#message-text")).to_contain_text("Your work here is paused.")
    page.get_by_role("link", name="See your answers, with the right ones").click()
    expect(page.locator(".learn li")).to_have_count(TEST)


def test_who_is_paused_at_work_is_told_why(
    alice: User, signed_in: NewContext, gold: list[Gold], make_batch: MakeBatch
) -> None:
    make_batch(3)
    Gold.objects.update(active=False)
    page = signed_in(alice).new_page()
    page.goto("/label/")
    expect(page.locator("#completion")).not_to_be_empty()
    Standing.objects.get().pause("Answers came faster than one can read")
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=1), state="expired")
    for _ in range(3):
        press(page, "n", "Enter")
    expect(page.locator("#message-text")).to_have_text(
        "Your work here is paused. Answers came faster than one can read. What you have answered so far is kept. "
        "To go on, ask the researchers who run this project."
    )
