"""The labeling page's frame: question, keys, guidelines, and the change of an answer over the API it uses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client

from engine.policies import load_policy
from webapi.models import Annotator, Batch, Label, Policy, Task, User
from webapi.pages.judging import choice_keys
from webapi.services.policies import policy_create

pytestmark = pytest.mark.django_db
MakeBatch = Callable[..., Batch]


def config_of(html: str) -> dict[str, object]:
    """What the page tells its script."""
    return json.loads(html.split('id="label-config" type="application/json">')[1].split("</script>")[0])


@pytest.mark.parametrize(
    ("choices", "letters"),
    [
        (("Yes", "Unsure", "No"), "yun"),
        (("Severe", "Mild", "None"), " mn"),
        (("Bad", "Borderline", "Fine"), "   "),
    ],
)
def test_each_choice_has_a_number_and_a_letter_of_its_own(choices: tuple[str, ...], letters: str) -> None:
    keys = choice_keys(choices)
    assert [key.keys for key in keys] == [(str(n), *letter.strip()) for n, letter in enumerate(letters, 1)]
    assert [key.shown for key in keys] == [tuple(name.upper() for name in key.keys) for key in keys]


def test_the_page_has_question_choices_and_guidelines_of_the_policy(
    alice: User, client: Client, make_batch: MakeBatch
) -> None:
    policy = policy_create(spec=load_policy("injury").model_dump(mode="json"))
    make_batch(2, policy=policy)
    client.force_login(alice)
    html = client.get("/label/").content.decode()
    assert html.count('type="radio"') == 3
    assert "<strong>Yes</strong> when" in html
    assert "**" not in html
    config = config_of(html)
    assert (config["policy"], config["allTime"]) == (str(policy.pk), 0)


def test_the_reader_may_choose_among_the_policies_that_have_tasks(
    alice: User, client: Client, policy: Policy, make_batch: MakeBatch
) -> None:
    other = policy_create(spec={**policy.spec, "name": "hate", "question": "Is it hateful?"})
    make_batch(1)
    make_batch(1, policy=other)
    client.force_login(alice)
    assert "Was anyone harmed?" in client.get("/label/").content.decode()
    second = client.get(f"/label/?policy={other.pk}").content.decode()
    assert "Is it hateful?" in second
    assert f'href="?policy={policy.pk}"' in second


def test_without_tasks_it_says_so(alice: User, client: Client, make_batch: MakeBatch) -> None:
    make_batch(1, adapter="simulated")
    make_batch(1, state="done")
    client.force_login(alice)
    assert "Nothing waits for you." in client.get("/label/").content.decode()


def test_counts_are_of_all_time_and_ones_own(alice: User, client: Client, make_batch: MakeBatch) -> None:
    batch = make_batch(3, wanted=2)
    me, other = Annotator.objects.create(name="alice", user=alice), Annotator.objects.create(name="ben")
    for annotator, task in ((me, batch.tasks.all()[0]), (me, batch.tasks.all()[1]), (other, batch.tasks.all()[2])):
        Label.objects.create(task=task, snippet=task.snippet, annotator=annotator, choice="No")
    client.force_login(alice)
    assert config_of(client.get("/label/").content.decode())["allTime"] == 2


def send(client: Client, task: dict[str, object], choice: str) -> dict[str, object]:
    body = {"task": task["id"], "lease": task["lease"]["token"], "choice": choice}
    response = client.post("/api/v1/labels", body, content_type="application/json")
    return {"status": response.status_code, **response.json()}


def test_another_answer_under_the_same_lease_is_a_revision(alice: User, client: Client, make_batch: MakeBatch) -> None:
    make_batch(2)
    client.force_login(alice)
    lease = client.post("/api/v1/tasks/lease", {"count": 1}, content_type="application/json")
    (task,) = lease.json()["tasks"]
    assert send(client, task, "Yes")["outcome"] == "recorded"
    assert send(client, task, "Yes")["outcome"] == "duplicate"
    assert send(client, task, "No")["outcome"] == "recorded"
    assert list(Label.objects.order_by("revision").values_list("choice", "revision")) == [("Yes", 0), ("No", 1)]
    row = Task.objects.get(pk=task["id"])
    assert (row.taken, row.labelled, row.state) == (1, 1, "done")


def test_once_its_batch_is_complete_an_answer_stands(alice: User, client: Client, make_batch: MakeBatch) -> None:
    batch = make_batch(1)
    client.force_login(alice)
    (task,) = client.post("/api/v1/tasks/lease", {}, content_type="application/json").json()["tasks"]
    send(client, task, "Yes")
    batch.refresh_from_db()
    assert batch.state == "done"
    assert send(client, task, "No")["outcome"] == "duplicate"
    assert list(Label.objects.values_list("choice", flat=True)) == ["Yes"]
