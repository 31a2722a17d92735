"""The comparing page's frame, and where the navigation leads to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.webapi.test_pages_label import config_of
from webapi.models import Annotator, Batch, Policy, Preference, Snippet, Task, User
from webapi.services.policies import policy_create

pytestmark = pytest.mark.django_db
MakeSnippets = Callable[..., list[Snippet]]


@pytest.fixture
def policy(policy: Policy) -> Policy:
    comparison = {"question": "Which is the better story?", "guidelines": "Read **both** to the end."}
    return policy_create(spec={**policy.spec, "name": "stories", "comparison": comparison})


@pytest.fixture
def batch(policy: Policy, make_snippets: MakeSnippets) -> Batch:
    """One comparison."""
    one, other = make_snippets(2)
    batch = Batch.objects.create(policy=policy, name="quality", kind="compare", adapter="pull")
    Task.objects.create(batch=batch, snippet=one, rival=other)
    return batch


def links(client: Client, page: str = "/me/") -> str:
    return client.get(page).content.decode().split('aria-label="Main"')[1].split("</nav>")[0]


def test_the_page_asks_the_comparisons_own_question_and_shows_the_keys(
    alice: User, client: Client, batch: Batch
) -> None:
    client.force_login(alice)
    html = client.get("/compare/").content.decode()
    assert html.count("Which is the better story?") == 2
    assert "Read <strong>both</strong> to the end." in html
    assert "Was anyone harmed?" not in html
    assert [html.count(f"<kbd>{key}</kbd>") for key in ("1", "←", "2", "→", "3", "4", "F", "Z", "S", "G")] == [1] * 10
    config = config_of(html)
    assert [key["choice"] for key in config["keys"]] == ["left", "right", "equally_good", "equally_bad"]
    assert (config["kind"], config["policy"], config["paused"], config["test"]) == (
        "compare",
        str(batch.policy_id),
        False,
        None,
    )


def test_counts_are_of_ones_own_comparisons(alice: User, client: Client, batch: Batch) -> None:
    task = batch.tasks.get()
    for name, user in (("alice", alice), ("ben", None)):
        annotator = Annotator.objects.create(name=name, user=user)
        Preference.objects.create(
            task=task, snippet=task.snippet, rival=task.rival, annotator=annotator, choice="first"
        )
    client.force_login(alice)
    assert config_of(client.get("/compare/").content.decode())["allTime"] == 1


def test_the_navigation_leads_there_only_where_there_is_something_to_compare(
    alice: User, client: Client, batch: Batch
) -> None:
    client.force_login(alice)
    assert "/compare/" in links(client)
    Task.objects.update(taken=1)
    assert "/compare/" not in links(client)
    assert "/compare/" in links(client, "/compare/"), "who is there sees where they are"
    client.post("/api/v1/tasks/lease", {"kind": "compare"}, content_type="application/json")
    assert "/compare/" not in links(client)
    Task.objects.update(taken=0)
    client.post("/api/v1/tasks/lease", {"kind": "compare"}, content_type="application/json")
    assert "/compare/" in links(client), "who holds a comparison goes on with it"


def test_comparisons_are_not_on_the_label_page_nor_labels_here(
    alice: User, client: Client, batch: Batch, make_batch: Callable[..., Batch], make_snippets: MakeSnippets
) -> None:
    client.force_login(alice)
    assert "Nothing waits for you." in client.get("/label/").content.decode()
    batch.cancel()
    make_batch(snippets=make_snippets(1, first=50), policy=batch.policy)
    assert "Nothing waits for you." in client.get("/compare/").content.decode()
