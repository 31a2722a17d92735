"""The agreement page: its form, its figures, its matrix and the pages of snippets in dispute."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from tests.page_text import text_of
from webapi.models import Annotator, Batch, Label, Policy, Snippet, Task, User
from webapi.models.base import new_id

pytestmark = pytest.mark.django_db
MakeSnippets = Callable[..., list[Snippet]]
PAGE = "/labeling/agreement/"
FIGURES = f"{PAGE}figures"
WORDS = {"Y": "Yes", "U": "Unsure", "N": "No"}


@pytest.fixture
def watching(rita: User, client: Client) -> Client:
    client.force_login(rita)
    return client


@pytest.fixture
def judged(policy: Policy, make_snippets: MakeSnippets) -> dict[str, Annotator]:
    """ann and ben share twelve snippets and differ on two; cleo judged the first five, all Yes. In one batch."""
    rows = make_snippets(12, source="corpus", split="train")
    batch = Batch.objects.create(policy=policy, name="the batch")
    tasks = [Task.objects.create(batch=batch, snippet=row) for row in rows]
    answers = {"ann": "YYYYYYNNNNNU", "ben": "YYYYYNNNNNNN", "cleo": "YYYYY"}
    people = {}
    for name, letters in answers.items():
        people[name] = Annotator.objects.create(name=name, vendor="acme" if name == "cleo" else "")
        for task, letter in zip(tasks, letters, strict=False):
            Label.objects.create(task=task, snippet=task.snippet, annotator=people[name], choice=WORDS[letter])
    return people


def test_the_first_line_answers_in_words(watching: Client, judged: dict[str, Annotator]) -> None:
    page = text_of(watching.get(FIGURES))
    assert "Annotators agree on 83.3 % of 12 snippets judged twice or more; alpha 0." in page
    assert "29 judgements by 3 annotators of 12 snippets under harm v1" in page
    assert "All of it belongs to one day" in page


def test_the_form_keeps_what_was_chosen_and_the_figures_follow_it(
    watching: Client, judged: dict[str, Annotator], policy: Policy
) -> None:
    batch = Batch.objects.get()
    query = f"batch={batch.pk}&vendor=none&source=corpus&since=2020-01-01&until=&by=source"
    page = watching.get(f"{PAGE}?{query}").content.decode()
    for chosen in (str(batch.pk), "none", "corpus"):
        assert re.search(rf'<option value="{chosen}" selected>', page), chosen
    assert 'name="since" type="date" value="2020-01-01"' in page
    assert 'name="until" type="date" value=""' in page
    kept = (
        f"batch={batch.pk}&amp;vendor=none&amp;source=corpus&amp;since=2020-01-01&amp;by=source&amp;policy={policy.pk}"
    )
    assert f'hx-get="{FIGURES}?{kept}"' in page
    assert f'href="/api/v1/metrics/agreement?{kept}"' in page
    assert f'href="/api/v1/metrics/agreement?{kept}&amp;format=csv"' in page
    rows = kept.replace("&amp;by=source", "")
    assert f'href="/api/v1/metrics/disagreements?{rows}"' in page
    figures = text_of(watching.get(f"{FIGURES}?{query}"))
    assert "24 judgements by 2 annotators of 12 snippets" in figures
    assert "Clear" in text_of(watching.get(f"{PAGE}?{query}"))
    assert "Clear" not in text_of(watching.get(PAGE))


@pytest.mark.parametrize("name", ["figures", "disagreements"])
def test_every_link_at_the_foot_answers(watching: Client, judged: dict[str, Annotator], name: str) -> None:
    page = watching.get(f"{PAGE}?source=corpus&by=batch").content.decode()
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/api/v1/[^"]+)"', page)]
    assert len(links) == 4
    assert [watching.get(link).status_code for link in links] == [200] * 4
    assert watching.get(f"{PAGE}{name}?source=corpus&by=batch").status_code == 200


def test_the_matrix_has_kappa_and_count_in_each_cell(watching: Client, judged: dict[str, Annotator]) -> None:
    """ann and ben: 10 of 12 the same. By chance (6*5 + 5*7 + 1*0) / 144, so kappa = (120 - 65) / (144 - 65) = 0.70."""
    page = watching.get(FIGURES).content.decode()
    cells = re.findall(
        r'<td class="num" style="--depth: ([\d.]+)%" title="([^"]+)">([-\d.]+)<small>(\d+)</small>', page
    )
    assert [(cell[2], cell[3]) for cell in cells] == [("0.70", "12")] * 2
    assert {cell[0] for cell in cells} == {str(round(38 * 55 / 79, 1))}
    assert all(re.fullmatch(r"ann and ben: [-\d.]+ to [\d.]+", cell[1]) for cell in cells)
    assert page.count('aria-label="the same annotator"') == 2
    assert f'href="?annotator={judged["ann"].pk}"' in page
    assert str(judged["cleo"].pk) not in page, "shares too few with anybody"


def test_pairs_of_which_nothing_can_be_said_are_said_to_be_so(
    watching: Client, judged: dict[str, Annotator], make_snippets: MakeSnippets
) -> None:
    """dan shares ten with eve, both always No; eve shares ten more with ann, who is none of dan's."""
    rows = make_snippets(20, first=30)
    shares = {"dan": rows[:10], "eve": rows, "ann": rows[10:]}
    for name, given in shares.items():
        person, _ = Annotator.objects.get_or_create(name=name)
        Label.objects.bulk_create(Label(snippet=row, annotator=person, choice="No") for row in given)
    page = watching.get(FIGURES).content.decode()
    assert page.count('<span aria-label="undefined: both gave one answer only">n/a</span><small>10</small>') == 4
    assert page.count('aria-label="the same annotator"') == 4
    assert page.count('aria-label="fewer than 10 shared"') == 6, "dan and ann, dan and ben, ben and eve"


def test_one_annotators_snippets(watching: Client, judged: dict[str, Annotator]) -> None:
    query = f"annotator={judged['cleo'].pk}"
    assert "agree on 100 % of 5 snippets judged twice or more; alpha is undefined, as all gave one answer." in text_of(
        watching.get(f"{FIGURES}?{query}")
    )
    assert re.search(
        rf'<option value="{judged["cleo"].pk}" selected>cleo', watching.get(f"{PAGE}?{query}").content.decode()
    )


def test_snippets_in_dispute_say_who_said_what_and_go_on(
    watching: Client, judged: dict[str, Annotator], make_snippets: MakeSnippets
) -> None:
    page = watching.get(f"{PAGE}disagreements")
    assert "2 snippets, those with most differing pairs of answers first." in text_of(page)
    assert "ann Unsure ben No" in text_of(page).replace("  ", " ")
    assert "Show more" not in text_of(page)
    rows = make_snippets(20, first=50)
    Label.objects.bulk_create(
        Label(snippet=row, annotator=judged[name], choice=choice)
        for name, choice in (("ann", "Yes"), ("cleo", "No"))
        for row in rows
    )
    seen, address, pages = [], f"{PAGE}disagreements", 0
    while address:
        page = watching.get(address).content.decode()
        seen += re.findall(r'href="/snippets/([^/]+)/"', page)
        more = re.search(r'<button class="more" hx-get="([^"]+)"', page)
        address, pages = more[1].replace("&amp;", "&") if more else "", pages + 1
    assert (pages, len(seen), len(set(seen))) == (3, 22, 22)


def test_filters_that_leave_nothing_and_answers_that_cannot_be_compared(
    watching: Client, judged: dict[str, Annotator]
) -> None:
    assert "No label of harm v1 fits these filters." in text_of(watching.get(f"{FIGURES}?since=2040-01-01"))
    alone = text_of(watching.get(f"{FIGURES}?vendor=acme"))
    assert "No snippet of harm v1 was judged twice yet." in alone
    assert "Agreement needs two answers to the same snippet." in alone


def test_what_cannot_be_read_is_said_and_kept(watching: Client, judged: dict[str, Annotator]) -> None:
    answer = watching.get(f"{PAGE}?since=soon&source=corpus")
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "These filters cannot be read." in page
    assert "<strong>since:</strong>" in page
    assert 'value="soon"' in page
    assert '<option value="corpus" selected>' in page
    assert "hx-get" not in page
    assert watching.get(f"{FIGURES}?since=soon").status_code == 400
    assert watching.get(f"{PAGE}disagreements?split=x").status_code == 400
    assert watching.get(f"{PAGE}disagreements?cursor=x").status_code == 400


def test_what_is_not_there_is_not_found(watching: Client, alice: User, judged: dict[str, Annotator]) -> None:
    for path in (PAGE, FIGURES, f"{PAGE}disagreements"):
        assert watching.get(f"{path}?batch={new_id()}").status_code == 404, path
    watching.force_login(alice)
    for path in (PAGE, FIGURES, f"{PAGE}disagreements"):
        assert watching.get(path).status_code == 404, path
