"""Policies, corpora and snippets: made, checked, shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from engine.policies import load_policy
from engine.snippets import Snippet as SnippetText
from engine.snippets import split_of
from webapi.models import Annotator, Classifier, Consensus, Corpus, Label, Policy, Score, Snippet, User
from webapi.services.policies import policy_create

Api = Callable[..., APIClient]
PROMPT = "The rain fell. Ada ran to the gate. It was locked."
COMPLETION = "She climbed over it and went home to her tea."


@pytest.fixture
def injury(db: None) -> Policy:
    """The built-in policy without its gold, so that a test's own snippets are the only ones."""
    return policy_create(spec={**load_policy("injury").model_dump(mode="json"), "gold": []})


def test_a_policy_and_its_next_version(rita: User, api: Api) -> None:
    spec = {"name": "arson", "question": "Was anything set on fire?"}
    client = api(rita)
    first = client.post("/api/v1/policies", spec)
    assert first.status_code == 201
    assert (first.json()["version"], first.json()["choices"]) == (1, ["Yes", "Unsure", "No"])
    assert client.post("/api/v1/policies", spec).json()["id"] == first.json()["id"]
    assert client.post("/api/v1/policies", spec).status_code == 200
    second = client.post("/api/v1/policies", {**spec, "guidelines": "Candles do not count."})
    assert (second.status_code, second.json()["version"]) == (201, 2)
    assert Policy.objects.get(version=1).spec["guidelines"] == ""
    shown = client.get(f"/api/v1/policies/{second.json()['id']}").json()
    assert shown == second.json()
    assert shown["spec"]["snippet_rules"]["prompt_sentences"] == 3


@pytest.mark.parametrize(
    ("spec", "loc", "code"),
    [
        ({"name": "x", "question": "?", "choices": ["Yes"]}, ["choices"], "invalid"),
        ({"name": "Bad Name", "question": "?"}, ["name"], "invalid"),
        ({"name": "x", "question": "?", "colour": "red"}, ["colour"], "unknown_field"),
        (
            {"name": "x", "question": "?", "snippet_rules": {"max_chars": 0}},
            ["snippet_rules", "max_chars"],
            "min_value",
        ),
        ({"name": "x", "question": "?", "aggregation": "coin"}, ["aggregation"], "invalid"),
        ([], [], "invalid"),
        ("x", [], "invalid"),
    ],
)
def test_a_policy_that_is_wrong_names_its_field(rita: User, api: Api, spec: Any, loc: list[str], code: str) -> None:
    response = api(rita).post("/api/v1/policies", spec, format="json")
    assert response.status_code == 400
    assert [(e["loc"], e["code"]) for e in response.json()["errors"]] == [(loc, code)]
    assert Policy.objects.count() == 0


def test_labelers_see_the_question_and_not_what_the_simulation_knows(alice: User, api: Api, injury: Policy) -> None:
    row = api(alice).get(f"/api/v1/policies/{injury.pk}").json()
    assert row.keys() == {"id", "name", "version", "question", "guidelines", "choices", "comparison", "created_at"}
    assert api(alice).get("/api/v1/policies").json()["results"] == [row]


def test_a_corpus_over_a_folder(rita: User, api: Api, tmp_path: Path) -> None:
    (tmp_path / "stories").mkdir()
    (tmp_path / "stories" / "one.txt").write_text("A story.")
    body = {"name": "books", "path": str(tmp_path / "stories")}
    client = api(rita)
    first = client.post("/api/v1/corpora", body)
    assert first.status_code == 201
    assert client.post("/api/v1/corpora", body).json() == first.json()
    other = client.post("/api/v1/corpora", {**body, "path": str(tmp_path)})
    assert (other.status_code, other.json()["code"]) == (409, "name_taken")
    missing = client.post("/api/v1/corpora", {"name": "x", "path": str(tmp_path / "none")})
    assert (missing.status_code, missing.json()["code"]) == (400, "bad_input")
    assert str(tmp_path / "none") in missing.json()["detail"]
    (tmp_path / "latin").mkdir()
    bad = client.post("/api/v1/corpora", {"name": "x", "path": str(tmp_path / "latin")})
    assert (bad.status_code, bad.json()["detail"]) == (400, f"{tmp_path / 'latin'}: holds no .txt file")
    (tmp_path / "latin" / "two.txt").write_bytes("Caf\xe9.".encode("latin-1"))
    bad = client.post("/api/v1/corpora", {"name": "x", "path": str(tmp_path / "latin")})
    detail = f"{tmp_path / 'latin' / 'two.txt'}: not UTF-8: byte 0xe9 at byte 3"
    assert (bad.status_code, bad.json()["detail"]) == (400, detail)
    assert Corpus.objects.count() == 1


def test_a_shared_server_reads_only_under_its_data_roots(rita: User, api: Api, tmp_path: Path, settings: Any) -> None:
    for name in ("data", "data/in", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "in" / "one.txt").write_text("A story.")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    settings.DATA_ROOTS = [str(tmp_path / "data")]
    client = api(rita)
    for path in ("secret", "data/../secret", "data/link", "data2"):
        response = client.post("/api/v1/corpora", {"name": "x", "path": str(tmp_path / path)})
        assert (response.status_code, response.json()["code"]) == (400, "path_not_allowed"), path
    assert client.post("/api/v1/corpora", {"name": "x", "path": str(tmp_path / "data/in")}).status_code == 201
    settings.DATA_ROOTS, settings.EMBEDDED = [], False
    response = client.post("/api/v1/corpora", {"name": "y", "path": str(tmp_path / "data/in")})
    assert response.json()["code"] == "path_not_allowed"


def test_a_snippet_by_hand(rita: User, api: Api, injury: Policy) -> None:
    client = api(rita)
    body = {"policy": "injury", "prompt": PROMPT, "completion": COMPLETION, "external_id": "e1"}
    response = client.post("/api/v1/snippets", body)
    assert response.status_code == 201, response.content
    row = Snippet.objects.get()
    digest = SnippetText(PROMPT, COMPLETION).content_hash
    assert (row.content_hash, row.root_hash, row.source, row.split) == (digest, digest, "manual", split_of(digest))
    assert row.author == Annotator.objects.get(user=rita)
    assert response.json()["id"] == str(row.pk)
    again = client.post("/api/v1/snippets", body)
    assert (again.status_code, again.json()["id"]) == (200, str(row.pk))
    assert Snippet.objects.count() == 1


def test_a_snippet_that_breaks_the_rules_says_how(rita: User, api: Api, injury: Policy) -> None:
    response = api(rita).post("/api/v1/snippets", {"policy": "injury", "prompt": "One. Two.", "completion": "Short."})
    assert (response.status_code, response.json()["code"]) == (400, "snippet_refused")
    assert [(e["loc"], e["code"]) for e in response.json()["errors"]] == [
        (["prompt"], "prompt_sentences"),
        (["completion"], "short_completion"),
        ([], "few_letters"),
    ]
    assert Snippet.objects.count() == 0


def test_what_was_made_from_a_snippet_stays_in_its_split(rita: User, api: Api, injury: Policy) -> None:
    client = api(rita)
    body = {"policy": "injury", "prompt": PROMPT, "completion": COMPLETION}
    parent = client.post("/api/v1/snippets", body).json()
    Snippet.objects.update(split="validation")
    child = client.post(
        "/api/v1/snippets",
        {**body, "completion": "She climbed right over it, and fell.", "parent": parent["id"], "source": "rewrite"},
    ).json()
    assert (child["split"], child["root_hash"], child["author"]) == ("validation", parent["root_hash"], None)
    orphan = client.post("/api/v1/snippets", {**body, "parent": str(injury.pk)})
    assert [(e["loc"], e["code"]) for e in orphan.json()["errors"]] == [(["parent"], "does_not_exist")]


def test_many_snippets_have_an_outcome_each(rita: User, api: Api, injury: Policy) -> None:
    good = {"prompt": PROMPT, "completion": COMPLETION}
    items = [
        good,
        good,
        {"completion": "x"},
        {**good, "prompt": 7, "colour": "red"},
        5,
        {**good, "completion": "a\x00b"},
    ]
    response = api(rita).post("/api/v1/snippets", {"policy": str(injury.pk), "snippets": items})
    assert response.status_code == 200
    body = response.json()
    assert [r["outcome"] for r in body["results"]] == [
        "created",
        "duplicate",
        "refused",
        "invalid",
        "invalid",
        "invalid",
    ]
    assert body["counts"] == {"created": 1, "duplicate": 1, "refused": 1, "invalid": 3}
    assert body["results"][0]["id"] == body["results"][1]["id"] == str(Snippet.objects.get().pk)
    assert body["results"][3]["errors"][0]["code"] == "unknown_field"
    assert body["results"][5]["errors"][0]["code"] == "null_byte"
    assert {e["code"] for e in body["results"][2]["errors"]} >= {"prompt_sentences", "short_completion"}


def test_a_thousand_snippets_at_once_and_no_more(rita: User, api: Api, policy: Policy) -> None:
    items = [{"completion": f"Text number {n}."} for n in range(1000)]
    client = api(rita)
    assert client.post("/api/v1/snippets", {"policy": "harm", "snippets": items}).json()["counts"] == {"created": 1000}
    refused = client.post("/api/v1/snippets", {"policy": "harm", "snippets": [*items, {"completion": "More."}]})
    assert refused.json()["errors"][0]["code"] == "max_length"
    assert Snippet.objects.count() == 1000


def test_one_snippet_with_its_lineage(
    rita: User, api: Api, policy: Policy, make_snippets: Callable[..., list[Snippet]]
) -> None:
    rows: list[Snippet] = []
    for number in range(4):
        rows += make_snippets(1, first=number, parent=rows[-1] if rows else None)
    root, parent, snippet, child = rows
    label = Label.objects.create(
        snippet=snippet, annotator=Annotator.objects.create(name="sim", simulated=True), choice="Yes"
    )
    Consensus.objects.create(snippet=snippet, choice="Yes", rule="majority", labels=1)
    classifier = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e", threshold=0.5)
    Score.objects.create(classifier=classifier, snippet=snippet, logit=0.0)
    body = api(rita).get(f"/api/v1/snippets/{snippet.pk}").json()
    lineage = body["lineage"]
    assert [row["id"] for row in lineage["ancestors"]] == [str(parent.pk), str(root.pk)]
    assert [row["id"] for row in lineage["children"]] == [str(child.pk)]
    assert [(row["id"], row["simulated"], row["choice"]) for row in lineage["labels"]] == [(str(label.pk), True, "Yes")]
    assert [(row["score"], row["logit"], row["threshold"]) for row in lineage["scores"]] == [(0.5, 0.0, 0.5)]
    assert lineage["rounds"] == []
    assert body["consensus"] == "Yes"
