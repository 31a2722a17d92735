"""Comparing in a browser: by keys, with undo, side by side or one below the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from tests.browser.test_label import wait_for
from webapi.models import Batch, Lease, Policy, Preference, Snippet, Task, User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
MakePairs = Callable[[int], Batch]


@pytest.fixture
def make_pairs(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> MakePairs:
    """`make_pairs(3)`: a batch of that many comparisons."""

    def make(count: int) -> Batch:
        batch = Batch.objects.create(policy=policy, name="quality", kind="compare", adapter="pull")
        rows = make_snippets(2 * count)
        pairs = zip(rows[:count], rows[count:], strict=True)
        Task.objects.bulk_create([Task(batch=batch, snippet=one, rival=other) for one, other in pairs])
        return batch

    return make


def begin(page: Page) -> None:
    page.goto("/compare/")
    expect(page.locator("#rival")).not_to_be_empty()


def test_four_comparisons_by_keys_alone(
    alice: User, signed_in: NewContext, make_pairs: MakePairs, faults: Callable[[Page], list[str]]
) -> None:
    make_pairs(6)
    page = signed_in(alice).new_page()
    heard = faults(page)
    begin(page)
    expect(page.get_by_role("navigation", name="Main").get_by_role("link", name="Compare")).to_be_visible()
    shown = []
    for key in ("1", "ArrowRight", "3", "4"):
        left = page.locator("#completion").inner_text()
        shown.append((left, page.locator("#rival").inner_text()))
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator("#completion")).not_to_have_text(left)
    wait_for(lambda: Preference.objects.count() == 4, page)
    given = [
        (row.rival if row.flipped else row.snippet, row.snippet if row.flipped else row.rival, row)
        for row in Preference.objects.order_by("pk")
    ]
    assert [(left.completion, right.completion) for left, right, _ in given] == shown
    first, second = given[0][2], given[1][2]
    assert first.choice == ("second" if first.flipped else "first")
    assert second.choice == ("first" if second.flipped else "second")
    assert [row.choice for _, _, row in given[2:]] == ["equally_good", "equally_bad"]
    expect(page.locator("#count-session")).to_have_text("4")
    assert heard == []


def test_undo_and_flag(alice: User, signed_in: NewContext, make_pairs: MakePairs) -> None:
    make_pairs(3)
    page = signed_in(alice).new_page()
    begin(page)
    first = page.locator("#completion").inner_text()
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("#completion")).not_to_have_text(first)
    page.keyboard.press("z")
    expect(page.locator("#completion")).to_have_text(first)
    expect(page.get_by_role("radio", name="Equally good")).to_be_checked()
    page.keyboard.press("4")
    page.keyboard.press("f")
    page.keyboard.type("both break off")
    page.keyboard.press("Enter")
    wait_for(lambda: Preference.objects.count() == 2, page)
    rows = Preference.objects.order_by("revision").values_list("choice", "revision", "flagged", "note")
    assert list(rows) == [("equally_good", 0, False, ""), ("equally_bad", 1, True, "both break off")]


def test_on_a_phone_they_stand_one_below_the_other(alice: User, signed_in: NewContext, make_pairs: MakePairs) -> None:
    make_pairs(2)
    page = signed_in(alice, viewport=PHONE, has_touch=True).new_page()
    begin(page)
    upper, lower = page.locator("#completion").bounding_box(), page.locator("#rival").bounding_box()
    assert upper["x"] == lower["x"]
    assert upper["y"] + upper["height"] <= lower["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("label.choice", has_text="Lower").tap()
    page.get_by_role("button", name="Submit").tap()
    wait_for(lambda: Preference.objects.count() == 1, page)
    expected = "first" if Lease.objects.get(state="answered").flipped else "second"
    assert Preference.objects.get().choice == expected
