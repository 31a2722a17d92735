"""Labeling in a browser: by keyboard, with undo, through a lost connection, on a narrow screen."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, NewContext
from webapi.models import Batch, Label, Lease, LeaseState, Task, User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
MakeBatch = Callable[..., Batch]


def begin(page: Page) -> None:
    """The page with its first task."""
    page.goto("/label/")
    expect(page.locator("#completion")).not_to_be_empty()


def texts(page: Page) -> str:
    return page.locator("#completion").inner_text()


def answers() -> list[tuple[str, str, int]]:
    """What the database holds, in the order it came."""
    rows = Label.objects.order_by("pk").values_list("snippet__completion", "choice", "revision")
    return [(text, choice, revision) for text, choice, revision in rows]


def wait_for(condition: Callable[[], bool], page: Page, seconds: float = 10) -> None:
    """Lets the page work until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        page.wait_for_timeout(50)


def test_three_tasks_by_keyboard_alone(
    alice: User, signed_in: NewContext, make_batch: MakeBatch, faults: Callable[[Page], list[str]]
) -> None:
    make_batch(5)
    page = signed_in(alice).new_page()
    heard = faults(page)
    begin(page)
    seen = []
    for key in ("y", "2", "n"):
        seen.append(texts(page))
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator("#completion")).not_to_have_text(seen[-1])
    wait_for(lambda: Label.objects.count() == 3, page)
    assert answers() == [(text, choice, 0) for text, choice in zip(seen, ("Yes", "Unsure", "No"), strict=True)]
    assert len(set(seen)) == 3
    expect(page.locator("#count-session")).to_have_text("3")
    expect(page.locator("#count-all")).to_have_text("3")
    assert all(row.seconds is not None and row.seconds < 60 for row in Label.objects.all())
    assert heard == []


def test_the_next_task_is_there_at_once(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(5)
    page = signed_in(alice).new_page()
    begin(page)
    page.wait_for_function("performance.getEntriesByName(location.origin + '/api/v1/tasks/lease').length > 0")
    page.keyboard.press("y")
    milliseconds = page.evaluate(
        """() => new Promise((resolve) => {
            const begun = performance.now();
            const done = () => resolve(performance.now() - begun);
            new MutationObserver(done).observe(document.getElementById("completion"), {childList: true});
            document.getElementById("answer").requestSubmit();
        })"""
    )
    assert milliseconds < 100


def test_enter_without_an_answer_sends_nothing(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(2)
    page = signed_in(alice).new_page()
    begin(page)
    first = texts(page)
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("Choose an answer first.")
    assert texts(page) == first
    assert not Label.objects.exists()


def test_a_screen_reader_is_told_and_the_focus_stays_on_the_text(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    make_batch(3)
    page = signed_in(alice).new_page()
    begin(page)
    expect(page.locator("#text")).to_be_focused()
    first = texts(page)
    page.keyboard.press("u")
    expect(page.get_by_role("radio", name="Unsure")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#completion")).not_to_have_text(first)
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#said")).to_have_text("Unsure. Next text.")
    page.keyboard.press("g")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("n")  # keys do nothing to what is behind the guidelines
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("input[name=choice]:checked").count() == 0
    page.keyboard.press("f")
    expect(page.get_by_label("What should somebody look at?")).to_be_focused()


def test_undo_goes_back_and_a_new_answer_is_a_revision(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    make_batch(4)
    page = signed_in(alice).new_page()
    begin(page)
    first = texts(page)
    page.keyboard.press("y")
    page.keyboard.press("Enter")
    expect(page.locator("#completion")).not_to_have_text(first)
    second = texts(page)
    wait_for(lambda: Label.objects.count() == 1, page)
    page.keyboard.press("z")
    expect(page.locator("#completion")).to_have_text(first)
    expect(page.get_by_role("radio", name="Yes")).to_be_checked()
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    expect(page.locator("#completion")).to_have_text(second)
    wait_for(lambda: Label.objects.count() == 2, page)
    assert answers() == [(first, "Yes", 0), (first, "No", 1)]
    expect(page.locator("#count-session")).to_have_text("1")


def test_an_answer_given_without_a_connection_is_kept_and_sent_once(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    make_batch(5)
    context = signed_in(alice)
    page = context.new_page()
    begin(page)
    page.wait_for_load_state("networkidle")
    context.set_offline(True)
    first = texts(page)
    page.keyboard.press("u")
    page.keyboard.press("Enter")
    expect(page.locator("#sending")).to_contain_text("1 answer kept on this device: no connection")
    expect(page.locator("#completion")).not_to_have_text(first)
    assert not Label.objects.exists()
    page.close()

    context.set_offline(False)
    again = context.new_page()
    begin(again)
    wait_for(lambda: Label.objects.count() == 1, again)
    assert answers() == [(first, "Unsure", 0)]
    wait_for(lambda: again.evaluate("Object.values(localStorage).join('')") == "[]", again)


def test_a_chosen_answer_survives_a_reload(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(1)
    page = signed_in(alice).new_page()
    begin(page)
    page.keyboard.press("n")
    page.reload()
    expect(page.locator("#completion")).not_to_be_empty()
    expect(page.get_by_role("radio", name="No")).to_be_checked()


def test_skipping_and_leaving_give_tasks_back(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(5)
    page = signed_in(alice).new_page()
    begin(page)
    first = texts(page)
    page.keyboard.press("s")
    expect(page.locator("#completion")).not_to_have_text(first)
    wait_for(lambda: Lease.objects.filter(state=LeaseState.RELEASED).count() == 1, page)
    page.goto("/me/")
    wait_for(lambda: not Lease.objects.filter(state=LeaseState.LIVE).exists(), page)
    assert not Label.objects.exists()


def test_when_all_is_done_it_says_so(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    batch = make_batch(1)
    page = signed_in(alice).new_page()
    begin(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_contain_text("Nothing waits for you right now")
    wait_for(lambda: Batch.objects.get().state == "done", page)
    batch.refresh_from_db()
    assert batch.state == "done"


def test_a_thumb_reaches_everything_on_a_narrow_screen(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    make_batch(3)
    page = signed_in(alice, viewport=PHONE, has_touch=True).new_page()
    begin(page)
    first = texts(page)
    for name in ("Submit", "Skip", "Undo", "Flag"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    place = page.locator("#submit").bounding_box()
    page.locator("label.choice", has_text="Yes").tap()
    page.get_by_role("button", name="Submit").tap()
    expect(page.locator("#completion")).not_to_have_text(first)
    assert page.locator("#submit").bounding_box() == place
    page.get_by_role("button", name="Guidelines").tap()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_flag_with_its_note_goes_with_the_answer(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(1)
    page = signed_in(alice).new_page()
    begin(page)
    place = page.locator("#submit").bounding_box()
    page.keyboard.press("n")
    page.keyboard.press("f")
    page.keyboard.type("ends in mid-sentence")
    assert page.locator("#submit").bounding_box() == place
    page.reload()
    expect(page.locator("#note")).to_have_value("ends in mid-sentence")
    page.locator("#flag").click()
    expect(page.locator("#note")).to_be_hidden()
    page.keyboard.press("f")
    expect(page.locator("#note")).to_have_value("ends in mid-sentence")
    page.keyboard.press("Escape")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Enter")
    wait_for(lambda: Label.objects.count() == 1, page)
    assert list(Label.objects.values_list("choice", "flagged", "note")) == [("No", True, "ends in mid-sentence")]


def test_a_note_without_its_flag_is_not_sent(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(3)
    page = signed_in(alice).new_page()
    begin(page)
    page.keyboard.press("y")
    page.keyboard.press("f")
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.locator("#submit").click()
    wait_for(lambda: Label.objects.count() == 1, page)
    assert list(Label.objects.values_list("choice", "flagged", "note")) == [("Yes", False, "")]


def test_leaving_gives_back_what_is_still_being_leased(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    """The browser drops the answer to a request of a page that has gone: its tasks must not stay held."""
    make_batch(9)
    page = signed_in(alice).new_page()
    begin(page)
    wait_for(lambda: Lease.objects.filter(state=LeaseState.LIVE).count() == 3, page)
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.fetch = (url, options) => {
                const answer = send(url, options);
                // The answer to the next lease is not read before the page goes.
                return url.endsWith("/tasks/lease") ? answer.then(() => new Promise(() => {})) : answer;
            };
        }"""
    )
    page.keyboard.press("y")
    page.keyboard.press("Enter")
    wait_for(lambda: Lease.objects.count() == 4, page)
    page.goto("/me/")
    wait_for(lambda: not Lease.objects.filter(state=LeaseState.LIVE).exists(), page)
    assert Lease.objects.filter(state=LeaseState.RELEASED).count() == 3
    assert Label.objects.count() == 1


def test_no_more_than_two_tasks_are_held_ahead(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(9)
    page = signed_in(alice).new_page()
    begin(page)
    for done in range(1, 4):
        live = Lease.objects.filter(state=LeaseState.LIVE)
        wait_for(lambda live=live: live.count() >= 3, page)
        page.wait_for_timeout(300)  # the next would be asked for within this
        assert live.count() == 3
        page.keyboard.press("y")
        page.keyboard.press("Enter")
        wait_for(lambda done=done: Label.objects.count() == done, page)


def test_an_answer_that_came_too_late_is_said(alice: User, signed_in: NewContext, make_batch: MakeBatch) -> None:
    make_batch(3)
    page = signed_in(alice).new_page()
    begin(page)
    Lease.objects.update(state=LeaseState.EXPIRED)
    Task.objects.update(state="done")
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    expect(page.locator("#sending")).to_contain_text("came too late")
    assert list(Label.objects.values_list("choice", "counted")) == [("No", False)]


def test_signed_out_meanwhile_answers_wait_for_the_next_sign_in(
    alice: User, signed_in: NewContext, make_batch: MakeBatch
) -> None:
    make_batch(5)
    context = signed_in(alice)
    page = context.new_page()
    begin(page)
    page.wait_for_load_state("networkidle")
    session = [cookie for cookie in context.cookies() if cookie["name"] == "sessionid"]
    context.clear_cookies(name="sessionid")
    page.keyboard.press("y")
    page.keyboard.press("Enter")
    expect(page.locator("#sending")).to_contain_text("you are signed out")
    assert not Label.objects.exists()
    context.add_cookies(session)
    wait_for(lambda: Label.objects.count() == 1, page)
    expect(page.locator("#sending")).to_be_empty()
