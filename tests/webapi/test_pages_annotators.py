"""The annotators' pages: figures in words, and what staff do about one."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from django.test import Client

from tests.page_text import text_of
from webapi.models import Annotator, Batch, Label, Policy, Standing, Task, User

AT = "/labeling/annotators/"


@pytest.fixture
def ann(policy: Policy, make_batch: Callable[..., Batch]) -> Annotator:
    """Ann and ben (simulated) judge two snippets, once alike."""
    batch = make_batch(2, wanted=2)
    ann, ben = Annotator.objects.create(name="ann"), Annotator.objects.create(name="ben", simulated=True)
    for task, said in zip(batch.tasks.order_by("snippet"), (("Yes", "Yes"), ("Yes", "No")), strict=True):
        for who, choice in zip((ann, ben), said, strict=True):
            Label.objects.create(task=task, snippet=task.snippet, annotator=who, choice=choice)
    return ann


def test_without_labels_it_says_where_they_come_from(client: Client, rita: User) -> None:
    client.force_login(rita)
    assert "Nobody has labelled anything yet." in text_of(client.get(AT))


def test_the_list_is_in_words_and_calls_the_simulated_so(
    client: Client, rita: User, ann: Annotator, policy: Policy
) -> None:
    client.force_login(rita)
    text = text_of(client.get(AT))
    assert f"2 annotators worked under {policy}; nobody is paused." in text
    assert "ben (simulated)" in text
    assert "50.0 % (1.3 % to 98.7 %; 1 of 2)" in text
    assert client.get(f"{AT}?policy={ann.pk}").status_code == 404
    (link,) = re.findall(r'href="([^"]+format=csv)"', client.get(AT).content.decode())
    assert client.get(html.unescape(link)).headers["Content-Type"] == "text/csv; charset=utf-8"


def test_staff_pause_with_a_reason_and_resume(client: Client, bob: User, ann: Annotator, policy: Policy) -> None:
    client.force_login(bob)
    at, query = f"{AT}{ann.pk}/", f"?policy={policy.pk}"
    assert f'href="{AT}"' in client.get(AT).content.decode()
    assert "ann is qualified and has given 2 labels that count." in text_of(client.get(at + query))
    nothing = client.post(f"{at}pause{query}", {"reason": " "})
    assert (nothing.status_code, "Say why" in text_of(nothing)) == (400, True)
    assert not Standing.objects.filter(state="paused").exists()
    done = client.post(f"{at}pause{query}", {"reason": "hurried <b>"}, follow=True)
    assert "ann is paused" in text_of(done)
    assert "hurried &lt;b&gt;" in done.content.decode()
    assert "Only" not in text_of(client.post(f"{at}resume{query}", follow=True))
    assert "ann is qualified." in text_of(client.post(f"{at}resume{query}", follow=True))
    assert Standing.objects.get(annotator=ann).state == "qualified"
    assert client.post(f"{at}dismiss{query}").status_code == 404


def test_answers_are_put_back_after_a_second_look(client: Client, bob: User, ann: Annotator, policy: Policy) -> None:
    """The page itself puts nothing back: it leads to one that says how many, and that one asks."""
    client.force_login(bob)
    at, query = f"{AT}{ann.pk}/", f"?policy={policy.pk}"
    Task.objects.filter(labels=Label.objects.filter(annotator=ann).first()).update(taken=2, labelled=2)
    page = client.get(at + query).content.decode()
    assert f'href="{at}put_back/{query}"' in page
    assert f'action="{at}put_back' not in page
    asked = client.get(f"{at}put_back/{query}")
    assert "Put 2 answers of ann back?" in text_of(asked)
    assert "They count no more, and 1 task of open batches will wait" in text_of(asked)
    assert Label.objects.filter(counted=True).count() == 4
    assert not Standing.objects.exists()
    action = f'action="{at}put_back{query}"'
    assert action in asked.content.decode()
    assert "2 answers count no more; 1 tasks" in text_of(client.post(f"{at}put_back{query}", follow=True))
    assert Label.objects.filter(counted=True).count() == 2
    nothing = client.get(f"{at}put_back/{query}")
    assert "Nothing of ann can be put back." in text_of(nothing)
    assert action not in nothing.content.decode()


def test_viewers_look_and_labelers_do_not(
    client: Client, vera: User, alice: User, ann: Annotator, policy: Policy
) -> None:
    client.force_login(vera)
    shown = client.get(f"{AT}{ann.pk}/?policy={policy.pk}")
    assert (shown.status_code, "What to do" in text_of(shown)) == (200, False)
    assert client.post(f"{AT}{ann.pk}/put_back?policy={policy.pk}").status_code == 403
    assert client.get(f"{AT}{ann.pk}/put_back/?policy={policy.pk}").status_code == 403
    client.force_login(alice)
    assert client.get(AT).status_code == 404
