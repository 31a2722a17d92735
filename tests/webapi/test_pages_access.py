"""Who sees which page: what one may not see is not found, what one may see but not do is forbidden."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.test import Client

from webapi.models import Batch, Classifier, Corpus, Evaluation, Generator, Job, Policy, Round, Snippet, User
from webapi.pages.tags import NAVIGATION

pytestmark = pytest.mark.django_db

WATCHERS = {"rita", "vera", "ada"}
LABELERS = {"alice", "bob", "rita", "ada"}
EVERYBODY = {"alice", "bob", "rita", "vera", "acme", "ada"}

PAGES: dict[str, set[str]] = {
    "/rounds/": WATCHERS,
    "/rounds/{round}/": WATCHERS,
    "/rounds/{round}/progress": WATCHERS,
    "/rounds/{round}/funnel": WATCHERS,
    "/rounds/{round}/controls": WATCHERS,
    "/snippets/": WATCHERS,
    "/snippets/{snippet}/": WATCHERS,
    "/labeling/queue/": WATCHERS,
    "/labeling/agreement/": WATCHERS,
    "/attacks/": WATCHERS,
    "/classifiers/": WATCHERS,
    "/classifiers/{classifier}/": WATCHERS,
    "/evaluations/": WATCHERS,
    "/evaluations/{evaluation}/": WATCHERS,
    "/generators/": WATCHERS,
    "/generators/{generator}/": WATCHERS,
    "/label/": LABELERS,
    "/compare/": LABELERS,
    "/me/": LABELERS,
    "/settings/tokens/": EVERYBODY,
    "/settings/webhooks/": {"rita", "acme", "ada"},
}


@pytest.fixture
def keys(policy: Policy, make_snippets: Callable[..., list[Snippet]]) -> dict[str, uuid.UUID]:
    corpus = Corpus.objects.create(name="books")
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=corpus, state="running")
    classifier = Classifier.objects.create(policy=policy, name="baseline", condition="baseline", encoder="minilm")
    job = Job.objects.create(kind="tune_generator")
    generator = Generator.objects.create(name="tales", corpus=corpus, job=job)
    return {
        "generator": generator.pk,
        "round": round_.pk,
        "snippet": make_snippets(1)[0].pk,
        "classifier": classifier.pk,
        "evaluation": Evaluation.objects.create(
            classifier=classifier, name="first", kind="failure_rate", state="planning"
        ).pk,
    }


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_there_for_its_roles_and_for_no_other(
    page: str, people: dict[str, User], keys: dict[str, uuid.UUID], client: Client
) -> None:
    seen = set()
    for name, user in people.items():
        client.force_login(user)
        response = client.get(page.format(**keys))
        assert response.status_code in {200, 404}, (name, response.status_code)
        if response.status_code == 200:
            seen.add(name)
    assert seen == PAGES[page]


@pytest.mark.parametrize("page", [*PAGES, "/"])
def test_signed_out_every_page_leads_to_the_login(page: str, keys: dict[str, uuid.UUID], client: Client) -> None:
    response = client.get(page.format(**keys))
    assert (response.status_code, response.url) == (302, f"/login/?next={page.format(**keys)}")


def test_a_page_brings_no_scripts_but_its_own_and_is_kept_by_nobody(rita: User, client: Client) -> None:
    client.force_login(rita)
    response = client.get("/rounds/")
    assert "script-src 'self';" in response["Content-Security-Policy"]
    assert "no-store" in response["Cache-Control"]
    assert "<script>" not in response.content.decode()


@pytest.mark.parametrize(
    ("name", "start", "links"),
    [
        ("alice", "/label/", ["Label", "My figures"]),
        ("bob", "/label/", ["Label", "My figures", "Annotators", "Settings"]),
        ("acme", "/settings/tokens/", ["Settings"]),
        ("vera", "/rounds/", ["Rounds", "Snippets", "Labeling", "Attacks", "Classifiers", "Settings"]),
        ("rita", "/rounds/", [link.title for link in NAVIGATION if link.title not in ("Compare", "Annotators")]),
    ],
)
def test_each_role_begins_somewhere_and_is_led_only_where_it_may_go(
    name: str, start: str, links: list[str], people: dict[str, User], client: Client
) -> None:
    client.force_login(people[name])
    assert client.get("/").url == start
    shown = client.get(start).content.decode().split('aria-label="Main"')[1].split("</nav>")[0]
    assert [link.title for link in NAVIGATION if f">{link.title}</a>" in shown] == links


def test_signing_in_and_out(rita: User, client: Client) -> None:
    wrong = client.post("/login/", {"username": "rita", "password": "no"})
    assert wrong.status_code == 200
    assert 'role="alert"' in wrong.content.decode()
    assert 'value="rita"' in wrong.content.decode()
    right = client.post("/login/", {"username": "rita", "password": "correct horse battery", "next": "/snippets/"})
    assert right.url == "/snippets/"
    assert client.post("/logout/").url == "/login/"
    assert client.get("/rounds/").status_code == 302


def test_error_pages_say_what_is_safe(rita: User, vera: User, client: Client, keys: dict[str, uuid.UUID]) -> None:
    client.force_login(vera)
    missing = client.get(f"/rounds/{uuid.uuid4()}/")
    assert missing.status_code == 404
    assert "There is nothing at this address" in missing.content.decode()
    forbidden = client.post(f"/rounds/{keys['round']}/pause")
    assert forbidden.status_code == 403
    assert "Nothing was changed" in forbidden.content.decode()
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(rita)
    stale = careful.post(f"/rounds/{keys['round']}/pause")
    assert stale.status_code == 403
    assert "This form had expired" in stale.content.decode()
    assert Round.objects.get().state == "running"


def test_a_fault_of_the_server_has_a_page(rita: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapi.pages.rounds.page_of", lambda *args, **kwargs: 1 / 0)
    client = Client(raise_request_exception=False)
    client.force_login(rita)
    response = client.get("/rounds/")
    assert response.status_code == 500
    assert "This server made a mistake" in response.content.decode()


def test_labelers_see_nothing_of_where_a_text_comes_from(
    alice: User,
    client: Client,
    policy: Policy,
    make_snippets: Callable[..., list[Snippet]],
    make_batch: Callable[..., Batch],
) -> None:
    round_ = Round.objects.create(
        name="secret round", policy=policy, corpus=Corpus.objects.create(name="secret corpus")
    )
    make_batch(snippets=make_snippets(1, source="paraphrase"), round=round_, name="held_out_attack")
    client.force_login(alice)
    page = client.get("/label/").content.decode()
    assert "Was anyone harmed?" in page
    for hidden in ("secret", "paraphrase", "held_out", "attack", "Story 0"):
        assert hidden not in page


@pytest.mark.parametrize(
    "address",
    [
        "/snippets/?source=%00",
        "/snippets/?consensus=a%00b",
        "/labeling/agreement/?policy=%00",
    ],
)
def test_an_address_that_nobody_was_given_is_a_bad_request(rita: User, client: Client, address: str) -> None:
    client.force_login(rita)
    response = client.get(address)
    assert response.status_code == 400, response.content[:300]
