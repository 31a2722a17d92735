"""The list of attacks: who may see it, yields with exact figures, filters, comparison; and where else attacks show."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tests.page_text import queries_of, text_of
from tests.webapi.attack_rows import attack_of, candidate, classifier_of, seed_of, snippet_of
from webapi.models import (
    Annotator,
    Attack,
    Batch,
    Classifier,
    Corpus,
    Job,
    Policy,
    Round,
    Snippet,
    Story,
    User,
)
from webapi.selectors.attacks import attacked

pytestmark = pytest.mark.django_db
AT = "/attacks/"


def titles_in(client: Client, address: str) -> list[str]:
    return re.findall(r'id="a-[^"]*">([^<]*)</a>', client.get(address).content.decode())


# Access


@pytest.mark.parametrize(
    ("page", "seen", "forbidden"),
    [
        ("", {"rita", "vera", "ada"}, set()),
        ("yields.csv", {"rita", "vera", "ada"}, set()),
        ("new/", {"rita", "ada"}, {"vera"}),
        ("{attack}/", {"rita", "vera", "ada"}, set()),
        ("{attack}/progress", {"rita", "vera", "ada"}, set()),
        ("{attack}/cancel/", {"rita", "ada"}, {"vera"}),
        ("{attack}/label/", {"rita", "ada"}, {"vera"}),
    ],
)
def test_each_page_is_there_for_its_roles(
    people: dict[str, User], classifier: Classifier, client: Client, page: str, seen: set[str], forbidden: set[str]
) -> None:
    address = AT + page.format(attack=attack_of(classifier, "Y", state="running").pk)
    codes = {}
    for name, user in people.items():
        client.force_login(user)
        response = client.get(address)
        codes[name] = 200 if response.status_code == 286 else response.status_code
    assert codes == {name: 200 if name in seen else 403 if name in forbidden else 404 for name in people}


def test_who_may_only_look_changes_nothing(vera: User, classifier: Classifier, client: Client) -> None:
    row = attack_of(classifier, ".", state="running")
    client.force_login(vera)
    asked = {"classifier": classifier.pk, "name": "filler"}
    assert client.post(f"{AT}new/", asked).status_code == 403
    assert client.post(f"{AT}{row.pk}/cancel/").status_code == 403
    assert client.post(f"{AT}{row.pk}/label/", {"name": "x", "limit": 1, "overlap": 1}).status_code == 403
    page = client.get(f"{AT}{row.pk}/").content.decode()
    assert "Cancel…" not in page
    assert "Send for labels" not in page
    assert "Launch an attack" not in client.get(AT).content.decode()
    assert (Attack.objects.get().state, Batch.objects.count(), Job.objects.count()) == ("running", 0, 0)


@pytest.mark.parametrize("page", ["", "progress", "cancel/", "label/"])
def test_an_attack_that_is_not_there(reader: Client, page: str) -> None:
    assert reader.get(f"{AT}{uuid.uuid4()}/{page}").status_code == 404


# The list


def test_no_attack_yet_says_what_to_do(reader: Client) -> None:
    page = text_of(reader.get(AT))
    assert "No attack has run yet." in page
    assert "POST /api/v1/attacks" in page


def test_the_list_has_each_yield_with_count_and_interval(reader: Client, classifier: Classifier) -> None:
    """Seeds: 1 broken of the 3 that are known, Clopper-Pearson 0.84 % to 90.57 %. Three candidates are labelled, one a
    failure. 30 of the 40 queries went into what is known, so 1 / 0.030; three labels took a minute, so 1 / 1."""
    attack_of(classifier, "YN", "N", ".", "")
    page = text_of(reader.get(AT))
    assert "1 attack, finished." in page
    assert "Word substitution" in page
    assert "4 3 labelled 1 Yes" in page
    assert "33.3 % (0.84 % to 90.6 %; 1 of 3)" in page
    assert "1 left out: not labelled yet" in page
    assert "33 (1 find; " in page
    assert "1.0 (1 find; " in page
    assert " 40 " in page


def test_nothing_labelled_says_so_and_no_rate(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "..", "A", "")
    page = text_of(reader.get(AT))
    assert page.count("nothing labelled yet") == 4
    assert "1 accepted unedited" in page
    assert "%" not in page.split("Queries")[1].split("Intervals hold")[0]


def test_no_failure_is_a_limit_and_never_zero(reader: Client, classifier: Classifier) -> None:
    """Clopper-Pearson for 0 of 2: the upper limit is 1 - 0.025 ** (1 / 2) = 84.2 %."""
    attack_of(classifier, "N", "N")
    page = text_of(reader.get(f"{AT}?classifier={classifier.pk}"))
    assert page.count("below 84.2 % (0 of 2)") == 2
    assert " 0 %" not in page


def test_money_is_there_where_it_was_spent(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "Y")
    assert "Spent" not in text_of(reader.get(AT))
    paid = {"requests": 3, "reused": 1, "prompt_tokens": 900, "completion_tokens": 100, "money": 0.125}
    Attack.objects.update(result={"spending": {"some/model": paid}})
    page = text_of(reader.get(AT))
    assert "$0.13 3 requests, 1,000 tokens" in page
    Attack.objects.update(result={"spending": {"some/model": paid | {"money": 0.004}}})
    assert "under $0.01 3 requests" in text_of(reader.get(AT))
    Attack.objects.update(result={"spending": {"some/model": paid | {"money": 0.0}}})
    assert "$0.00 3 requests" in text_of(reader.get(AT))


def test_the_list_is_filtered(reader: Client, policy: Policy, classifier: Classifier) -> None:
    other = classifier_of(policy, "another")
    round_ = Round.objects.create(name="Round 7", policy=policy, corpus=Corpus.objects.create(name="books"))
    attack_of(classifier, "Y", title="one")
    attack_of(other, "Y", title="two", name="filler", state="failed", error="no memory")
    attack_of(other, "Y", title="three", round=round_, role="measuring")
    for query, titles in {
        "": ["three", "two", "one"],
        f"classifier={other.pk}": ["three", "two"],
        f"round={round_.pk}": ["three"],
        f"policy={policy.pk}&name=filler": ["two"],
        "role=alone": ["two", "one"],
        "state=succeeded": ["three", "one"],
        "classifier=nonsense": ["three", "two", "one"],
    }.items():
        assert titles_in(reader, f"{AT}?{query}") == titles, query
    page = text_of(reader.get(f"{AT}?classifier={other.pk}"))
    assert "2 attacks on another: 1 finished, 1 stopped by an error." in page
    assert "No attack fits all of these." in text_of(reader.get(f"{AT}?role=training"))
    assert f'href="/api/v1/attacks?round={round_.pk}"' in reader.get(f"{AT}?round={round_.pk}").content.decode()


def test_yields_are_counted_for_the_rows_of_the_page_only(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "Y")
    one = queries_of(reader, AT)
    for _ in range(3):
        attack_of(classifier, "Y.", "N")
    assert queries_of(reader, AT) == one + 3 * 3
    for _ in range(18):
        attack_of(classifier, "N")
    assert queries_of(reader, AT) == one + 3 * 19
    first = titles_in(reader, AT)
    assert len(first) == 20
    older = re.search(r'rel="next" href="([^"]*)"', reader.get(AT).content.decode()).group(1)
    assert len(titles_in(reader, AT + older.replace("&amp;", "&"))) == 2


def test_attacks_on_one_classifier_are_compared_and_sorted(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "N", "Y", title="half")
    attack_of(classifier, "Y", "Y", title="all")
    attack_of(classifier, "N", "N", title="none")
    attack_of(classifier, ".", title="open")
    on = f"{AT}?classifier={classifier.pk}"
    assert titles_in(reader, on) == ["open", "none", "all", "half"]
    assert titles_in(reader, f"{on}&sort=-seeds_broken") == ["all", "half", "none", "open"]
    assert titles_in(reader, f"{on}&sort=seeds_broken") == ["none", "half", "all", "open"]
    assert titles_in(reader, f"{on}&sort=title") == ["all", "half", "none", "open"]
    assert titles_in(reader, f"{on}&sort=nonsense") == ["open", "none", "all", "half"]
    page = reader.get(f"{on}&sort=-seeds_broken").content.decode()
    assert 'aria-sort="descending"' in page
    assert f"?classifier={classifier.pk}&amp;sort=seeds_broken" in page
    assert f"?classifier={classifier.pk}&amp;sort=-per_minute" in page
    assert f"?classifier={classifier.pk}&amp;sort=title" in page
    assert "sort=" not in reader.get(AT).content.decode()


def test_the_chart_has_intervals_limits_and_nothing_that_is_not_known(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "Y", "N", title="half")
    attack_of(classifier, "N", "N", title="none", role="training")
    attack_of(classifier, ".", title="open")
    page = reader.get(f"{AT}?classifier={classifier.pk}").content.decode()
    drawn = json.loads(re.search(r'<script id="yield-data"[^>]*>(.*?)</script>', page).group(1))
    assert [(row["label"], row["estimate"], row["limit"]) for row in drawn["rows"]] == [
        ("none, training", 0.0, True),
        ("half", 0.5, False),
    ]
    assert drawn["rows"][0]["high"] == pytest.approx(1 - 0.025**0.5)
    assert drawn["rows"][0]["words"] == "below 84.2\N{NO-BREAK SPACE}% (0 of 2)"
    assert "Not drawn: 1 of 3" in page
    by_query = reader.get(f"{AT}?classifier={classifier.pk}&sort=-per_1000_queries").content.decode()
    drawn = json.loads(re.search(r'<script id="yield-data"[^>]*>(.*?)</script>', by_query).group(1))
    assert [(row["label"], row["estimate"]) for row in drawn["rows"]] == [("half", 50.0), ("none, training", 0.0)]


def test_the_yields_as_csv(reader: Client, classifier: Classifier) -> None:
    attack_of(classifier, "YN", "N", ".", "")
    attack_of(classifier_of(classifier.policy, "=another"), ".", title="open")
    at = f"/attacks/yields.csv?classifier={classifier.pk}"
    assert f'href="{at}"' in reader.get(f"{AT}?classifier={classifier.pk}&sort=title").content.decode()
    lines = list(csv.DictReader(io.StringIO(reader.get(at).content.decode())))
    assert [line["yield"] for line in lines] == ["seeds_broken", "per_candidate", "per_1000_queries", "per_minute"]
    counts = ("title", "classifier", "seeds", "candidates", "labelled", "queries")
    assert [lines[0][name] for name in counts] == ["substitution", "baseline", "4", "4", "3", "40"]
    assert (float(lines[0]["estimate"]), lines[0]["failures"]) == (pytest.approx(1 / 3), "1")
    both = list(csv.DictReader(io.StringIO(reader.get("/attacks/yields.csv").content.decode())))
    assert [line["estimate"] for line in both[:4]] == ["", "", "", ""]


def test_what_is_simulated_is_called_so(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "Y")
    assert "simulated" not in text_of(reader.get(AT)).lower()
    Annotator.objects.update(simulated=True)
    assert "Simulated. All of these attacks" in text_of(reader.get(AT))
    page = text_of(reader.get(f"{AT}{row.pk}/"))
    assert "Simulated. The labels of this attack are made by a program." in page
    attack_of(classifier, ".")
    assert "Partly simulated. 1 of these 2 attacks" in text_of(reader.get(AT))
    corpus = Corpus.objects.create(name="world", simulated=True)
    story = Story.objects.create(corpus=corpus, name="a")
    Snippet.objects.filter(attacked__attack=row).update(story=story)
    Attack.objects.filter(pk=row.pk).update(name="paraphrase", config={"paraphraser": {"name": "story_world"}})
    page = text_of(reader.get(f"{AT}{row.pk}/"))
    assert "Simulated. The stories, labels and paraphrases of this attack are made by a program." in page


# Where else attacks show


def test_a_classifiers_page_lists_its_attacks(reader: Client, rita: User, vera: User, classifier: Classifier) -> None:
    at = f"/classifiers/{classifier.pk}/"
    assert "Nothing has attacked it yet." in text_of(reader.get(at))
    attack_of(classifier, "Y.", "N", title="My own")
    page = reader.get(at)
    assert "My own succeeded 3 candidates from 2 seeds; alone" in text_of(page)
    assert f'href="{AT}new/?classifier={classifier.pk}"' in page.content.decode()
    reader.force_login(vera)
    assert "Attack it" not in text_of(reader.get(at))
    reader.force_login(rita)
    assert "Attack it" in text_of(reader.get(at))
    Classifier.objects.update(threshold=None)
    assert "Attack it" not in text_of(reader.get(at))


def test_a_snippets_page_leads_to_the_attack_that_found_it(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, ".", title="My own")
    found = row.candidates.get()
    page = reader.get(f"/snippets/{found.snippet_id}/")
    assert "found by My own on baseline" in text_of(page)
    assert f'href="{AT}{row.pk}/"' in page.content.decode()
    assert "found by" not in text_of(reader.get(f"/snippets/{found.seed_id}/"))


def test_a_rounds_page_leads_to_its_attacks(reader: Client, policy: Policy, classifier: Classifier) -> None:
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=Corpus.objects.create(name="books"))
    assert "See its attacks" not in text_of(reader.get(f"/rounds/{round_.pk}/"))
    attack_of(classifier, "Y", round=round_, role="training")
    assert f'href="{AT}?round={round_.pk}">See its attacks' in reader.get(f"/rounds/{round_.pk}/").content.decode()


@pytest.mark.parametrize(
    ("attacks", "word"),
    [
        ([], "paraphrases"),
        ([{"name": "paraphrase", "seeds": 20}, {"name": "filler", "seeds": 0}], "paraphrases"),
        ([{"name": "paraphrase", "seeds": 20}, {"name": "filler", "seeds": 5}], "finds"),
        ([{"name": "rewrite", "seeds": 5}], "finds"),
    ],
)
def test_the_funnel_calls_finds_what_they_are(
    reader: Client, policy: Policy, attacks: list[dict[str, Any]], word: str
) -> None:
    corpus = Corpus.objects.create(name="books")
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=corpus, config={"attacks": attacks})
    assert f"Accepted {word}: 0" in text_of(reader.get(f"/rounds/{round_.pk}/"))


def test_a_shard_that_ends_while_its_attack_is_read_is_seen_in_part(policy: Policy) -> None:
    row, reads = attack_of(classifier_of(policy), "Y"), 0

    def end_a_shard(execute: Any, sql: str, *rest: Any) -> Any:
        nonlocal reads
        reads += "webapi_attack" in sql
        if reads == 2:
            reads += 1
            seed = seed_of(row, "Another fell down the stairs.")
            candidate(row, seed, snippet_of(row.policy, "Another fell down the ladder.", parent=seed))
        return execute(sql, *rest)

    with connection.execute_wrapper(end_a_shard):
        seen = attacked(row)
    assert (len(seen.queries), len(seen.failure)) == (2, 1)
    assert (len(attacked(row).queries), len(attacked(row).failure)) == (2, 2)
