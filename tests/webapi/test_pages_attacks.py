"""The pages of attacks: the list and comparison with exact figures, one attack, and the forms that launch and label."""

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
from django.test.utils import CaptureQueriesContext

from tests.page_text import text_of
from tests.webapi.attack_rows import attack_of, candidate, classifier_of, label_of, seed_of, snippet_of
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
    Task,
    User,
)
from webapi.selectors.attacks import attacked

pytestmark = pytest.mark.django_db
AT = "/attacks/"


@pytest.fixture
def classifier(policy: Policy) -> Classifier:
    return classifier_of(policy)


@pytest.fixture
def reader(client: Client, rita: User) -> Client:
    client.force_login(rita)
    return client


def queries_of(client: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as found:
        assert client.get(address).status_code == 200
    return len(found)


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


# One attack


def test_an_attack_says_what_it_came_to(reader: Client, classifier: Classifier, rita: User) -> None:
    wanted = {"snippets": [], "split": "train", "source": None, "round": None, "limit": 50, "among": 2000}
    row = attack_of(
        classifier,
        "YN",
        "N",
        ".",
        "A",
        budget={"queries": 2000, "money": 1.5},
        config={"wanted": 2},
        wanted=wanted,
        seed=7,
        created_by=rita,
        result={"seconds": 61.0},
    )
    page = text_of(reader.get(f"{AT}{row.pk}/"))
    assert "Word substitution broke 2 of 3 seeds of baseline: 66.7 %, 9.4" in page
    assert "4 candidates; 3 labelled, 1 of them Yes." in page
    assert "accepted as it stands: 1" in page
    assert "nothing more to try: 3" in page
    assert "Queries 40, 10 a candidate" in page
    assert "2,000 queries, 1.50 US dollars" in page
    assert "Up to 50 failures of the train split; those nearest to the threshold first" in page
    assert "at its threshold of 0.500" in page
    assert "Random seed 7 Launched by rita" in page
    assert "3, in 60 s" in page
    assert "0.88 on average of 4" in page
    assert "1.0 on average of 4" in page


@pytest.mark.parametrize(
    ("answers", "fields", "headline"),
    [
        ([], {"state": "pending"}, "Word substitution on baseline is choosing its seeds."),
        (["Y"], {"state": "running", "seeds": 12}, "Word substitution is attacking baseline: 0 of 12 seeds."),
        (["N", "N"], {}, "Word substitution broke none of 2 seeds of baseline: below 84.2"),
        (["", "A"], {}, "Word substitution found nothing against baseline, which accepts 1 of the 2 seeds unedited."),
        (["..", "A"], {}, "found 2 candidates against baseline, which accepts 1 of the 2 seeds unedited; none is"),
        (["."], {}, "Word substitution found 1 candidate against baseline; none is labelled yet."),
        (["Y"], {"state": "cancelled", "title": "My own"}, "My own on baseline was cancelled."),
        (["Y"], {"state": "failed", "error": "out of memory"}, "Word substitution on baseline stopped by an error."),
    ],
)
def test_the_headline(
    reader: Client, classifier: Classifier, answers: list[str], fields: dict[str, Any], headline: str
) -> None:
    row = attack_of(classifier, *answers, **fields)
    page = text_of(reader.get(f"{AT}{row.pk}/"))
    assert headline in page
    assert ("What happened:" in page) == (row.state == "failed")
    assert ("out of memory" in page) == (row.state == "failed")


def test_candidates_come_strongest_first_a_page_at_a_time(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "." * 23)
    row.candidates.filter(strength__in=(13, 14)).update(strength=13.5)  # on two pages
    strongest = [str(key) for key in row.candidates.order_by("-strength", "pk").values_list("snippet", flat=True)]
    shown: list[str] = []
    address, pages = f"{AT}{row.pk}/", []
    while address:
        page = reader.get(address).content.decode()
        pages.append(re.findall(r"/snippets/([^/]*)/\">Its page", page))
        shown += pages[-1]
        found = re.search(r'rel="next" href="([^"]*)">Weaker', page)
        address = f"{AT}{row.pk}/{found.group(1)}" if found else ""
    assert [len(one) for one in pages] == [10, 10, 3]
    assert shown == strongest
    back = f"{AT}{row.pk}/" + re.search(r'rel="prev" href="([^"]*)">Stronger', page).group(1)
    assert re.findall(r"/snippets/([^/]*)/\">Its page", reader.get(back).content.decode()) == pages[1]


def test_a_find_stands_beside_its_seed_with_its_edits_marked(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "")
    seed = seed_of(row, "He fell down the old stairs.")
    found = snippet_of(classifier.policy, "He fell down the old ladder.")
    candidate(row, seed, found, strength=2.0)
    page = reader.get(f"{AT}{row.pk}/").content.decode()
    assert '<del><span class="sr">[taken out: </span>stairs<span class="sr">]</span></del>.' in page
    assert '<ins><span class="sr">[put in: </span>ladder<span class="sr">]</span></ins>.' in page
    words = text_of(reader.get(f"{AT}{row.pk}/"))
    assert "not labelled" in words
    assert "0.119 accepted" in words  # 1 / (1 + e^2)
    assert "similarity 0.88 1 edit after 7 queries" in words
    assert f'href="/snippets/{found.pk}/"' in page
    label_of(found, "No")
    assert "labelled No" in text_of(reader.get(f"{AT}{row.pk}/"))


def test_a_find_told_anew_is_not_marked(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "")
    seed = seed_of(row, "He fell down the old stairs.")
    candidate(row, seed, snippet_of(classifier.policy, "A bee stung Ann twice."), edits=[], similarity=None)
    page = reader.get(f"{AT}{row.pk}/").content.decode()
    assert "told anew" in page
    assert "A bee stung Ann twice." in page
    assert "[put in: " not in page
    assert "similarity" not in page.split('class="find"')[1].split("</article>")[0]


def test_hostile_text_is_text(reader: Client, policy: Policy) -> None:
    """Markup is escaped, marked or not; what hides is shown; a name cannot close the script that holds chart data."""
    hostile = classifier_of(policy, "</script><script>alert(1)</script>", condition="</script><i>")
    row = attack_of(hostile, "Y", config={"<u>So": "<img src=x>"}, error="<script>alert(2)</script>", state="failed")
    seed = seed_of(row, "He <b>fell</b> down the stairs.", prompt="<u>So</u> it began.")
    found = snippet_of(
        policy, "He <b>\u202efell</b> down <script>alert(3)</script> the stairs.", prompt="<u>So</u> it began."
    )
    candidate(row, seed, found)
    candidate(row, seed_of(row, "She fell <q>hard</q> on the step."), snippet_of(policy, "She fell on the step."))
    addresses = (AT, f"{AT}?classifier={hostile.pk}", f"{AT}{row.pk}/", f"{AT}{row.pk}/label/", f"{AT}new/")
    pages = {address: reader.get(address).content.decode() for address in addresses}
    for address, page in pages.items():
        for raw in ("<script>alert", "</script><i>", "<img src=x>", "<b>fell", "<u>So", "<q>"):
            assert raw not in page, (address, raw)
    assert "[U+202E]" in pages[f"{AT}{row.pk}/"]
    assert "\u202e" not in pages[f"{AT}{row.pk}/"]
    assert "&lt;script&gt;" in pages[f"{AT}{row.pk}/"]


def test_progress_asks_for_the_finds_again_only_where_they_changed(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "..", state="running", seeds=60)
    Job.objects.create(kind="attack_shard", attack=row, done=13, total=50)
    at = f"{AT}{row.pk}/progress"
    still = reader.get(f"{at}?seen=running-2")
    assert (still.status_code, still.headers.get("HX-Trigger")) == (200, None)
    assert "Word substitution is attacking baseline: 13 of 60 seeds." in text_of(still)
    assert 'hx-trigger="every 2s"' in reader.get(f"{AT}{row.pk}/").content.decode()
    assert reader.get(f"{at}?seen=running-1").headers["HX-Trigger"] == "attack-moved"
    Attack.objects.update(state="succeeded")
    ended = reader.get(f"{at}?seen=running-2")
    assert (ended.status_code, ended.headers["HX-Trigger"]) == (286, "attack-moved")
    assert "every 2s" not in reader.get(f"{AT}{row.pk}/").content.decode()


def test_while_seeds_are_chosen_it_says_how_far(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, state="pending")
    Job.objects.create(kind="choose_seeds", attack=row, done=120, total=2000)
    page = text_of(reader.get(f"{AT}{row.pk}/"))
    assert "is choosing its seeds: 120 of 2,000 failures scored." in page


def test_one_attack_costs_few_queries_whatever_its_size(reader: Client, classifier: Classifier) -> None:
    small = attack_of(classifier, "Y.")
    large = attack_of(classifier, *["YN."] * 12)
    assert queries_of(reader, f"{AT}{large.pk}/") == queries_of(reader, f"{AT}{small.pk}/")


# Cancelling


def test_cancelling_asks_first(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, ".", state="running")
    Job.objects.create(kind="attack_shard", attack=row)
    assert f'href="{AT}{row.pk}/cancel/"' in reader.get(f"{AT}{row.pk}/").content.decode()
    assert "This cannot be undone" in text_of(reader.get(f"{AT}{row.pk}/cancel/"))
    assert Attack.objects.get().state == "running"
    page = reader.post(f"{AT}{row.pk}/cancel/", follow=True)
    assert page.redirect_chain == [(f"{AT}{row.pk}/", 302)]
    assert "Cancelled. What its finished parts had found stays." in text_of(page)
    assert (Attack.objects.get().state, Job.objects.get().state) == ("cancelled", "cancelled")
    again = text_of(reader.post(f"{AT}{row.pk}/cancel/", follow=True))
    assert "Nothing was changed: The attack has ended before: cancelled." in again


def test_an_attack_of_a_round_is_not_cancelled_by_itself(
    reader: Client, policy: Policy, classifier: Classifier
) -> None:
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=Corpus.objects.create(name="books"))
    row = attack_of(classifier, ".", state="running", round=round_, role="measuring")
    assert "Cancel…" not in reader.get(f"{AT}{row.pk}/").content.decode()
    said = text_of(reader.post(f"{AT}{row.pk}/cancel/", follow=True))
    assert "Nothing was changed: The attack is part of a round; cancel the round." in said
    assert Attack.objects.get().state == "running"


# Labels


def test_unlabelled_finds_are_sent_the_strongest_first_and_none_twice(reader: Client, classifier: Classifier) -> None:
    row = attack_of(classifier, "Y..", "...")
    at = f"{AT}{row.pk}/label/"
    assert "5 candidates can be sent for labels." in text_of(reader.get(at))
    page = reader.post(at, {"name": "Look", "limit": "2", "overlap": "3"}, follow=True)
    assert page.redirect_chain == [(f"{AT}{row.pk}/", 302)]
    assert "2 candidates wait for labels in the queue, as “Look”." in text_of(page)
    batch = Batch.objects.get()
    assert (batch.name, batch.adapter, batch.policy_id) == ("Look", "pull", classifier.policy_id)
    sent = set(batch.tasks.values_list("snippet", "wanted"))
    strongest = row.candidates.order_by("-strength")[:2]
    assert sent == {(one.snippet_id, 3) for one in strongest}
    assert "3 candidates can be sent for labels." in text_of(reader.get(at))
    reader.post(at, {"name": "Rest", "limit": "10", "overlap": "1"})
    assert Task.objects.count() == 5
    assert Task.objects.values("snippet").distinct().count() == 5
    assert "There is no candidate left to send for labels." in text_of(reader.get(at))
    refused = reader.post(at, {"name": "More", "limit": "1", "overlap": "1"})
    assert (refused.status_code, Batch.objects.count()) == (400, 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "Say what the batch is called."),
        ({"limit": "0"}, "must be at least 1"),
        ({"limit": "many"}, "must be a whole number"),
        ({"overlap": "26"}, "must be at most 25"),
    ],
)
def test_a_batch_that_cannot_be_made_says_why(
    reader: Client, classifier: Classifier, wrong: dict[str, str], says: str
) -> None:
    row = attack_of(classifier, "..")
    page = reader.post(f"{AT}{row.pk}/label/", {"name": "Look", "limit": "2", "overlap": "1", **wrong})
    assert page.status_code == 400
    assert says in text_of(page)
    assert (Batch.objects.count(), Task.objects.count()) == (0, 0)


# Launching

ASKED = {"name": "substitution", "split": "train"}


def test_an_attack_is_launched_from_the_form(reader: Client, classifier: Classifier, rita: User) -> None:
    other = classifier_of(classifier.policy, "another")
    page = reader.get(f"{AT}new/?classifier={classifier.pk}").content.decode()
    assert f'<option value="{classifier.pk}" selected>baseline</option>' in page
    asked = {
        "classifier": classifier.pk,
        "name": "rewrite",
        "recipe": "greedy",
        "title": "Greedy one",
        "limit": "12",
        "split": "all",
        "queries": "3000",
        "seconds": "90.5",
        "tokens": "100",
        "money": "2",
        "second_opinion": other.pk,
        "seed": "5",
        "config": '{"wanted": 2}',
    }
    sent = reader.post(f"{AT}new/", asked)
    row = Attack.objects.get()
    assert (sent.status_code, sent.url) == (302, f"{AT}{row.pk}/")
    assert (row.classifier, row.second_opinion, row.created_by) == (classifier, other, rita)
    assert (row.name, row.title, row.seed, row.state) == ("rewrite", "Greedy one", 5, "pending")
    assert row.config == {"recipe": "greedy", "wanted": 2}
    assert row.budget == {"queries": 3000, "seconds": 90.5, "tokens": 100, "money": 2.0}
    assert (row.wanted["limit"], row.wanted["split"]) == (12, None)
    assert Job.objects.get().kind == "choose_seeds"
    assert "Launched." in text_of(reader.get(sent.url))


def test_what_is_left_empty_is_as_the_api_has_it(reader: Client, classifier: Classifier) -> None:
    reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "recipe": "greedy"})
    row = Attack.objects.get()
    assert (row.title, row.config, row.budget) == ("substitution", {}, {})
    assert (row.wanted["limit"], row.wanted["split"]) == (50, "train")


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"classifier": ""}, "classifier", "Choose the classifier to attack."),
        ({"classifier": str(uuid.uuid4())}, "classifier", "There is no such calibrated classifier."),
        ({"name": ""}, "name", "Choose an attack."),
        ({"name": "telepathy"}, "name", "There is no attack “telepathy”."),
        ({"limit": "0"}, "limit", "must be at least 1"),
        ({"limit": "some"}, "limit", "must be a whole number"),
        ({"limit": "100001"}, "limit", "must be at most 100000"),
        ({"split": "secret"}, "split", "must be train, validation, test or every split"),
        ({"queries": "-1"}, "queries", "must be at least 0"),
        ({"queries": "1.5"}, "queries", "must be a whole number"),
        ({"seconds": "soon"}, "seconds", "must be a number"),
        ({"seconds": "1e999"}, "seconds", "must be a number"),
        ({"money": "nan"}, "money", "must be a number"),
        ({"seed": "-2"}, "seed", "must be at least 0"),
        ({"title": "x" * 33}, "title", "must have at most 32 characters"),
        ({"name": "rewrite", "recipe": "stew"}, "recipe", "unknown recipe; known: beam, best_first, filler, greedy"),
        ({"config": "{"}, "config", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        ({"config": "[" * 100_000}, "config", "not JSON: nested too deeply"),
        ({"config": "[" * 900 + "]" * 900}, "config", ""),
        ({"config": '{"tried": NaN}'}, "config", "not JSON: NaN is none of its numbers"),
        ({"config": "[1]"}, "config", "must be a table of fields"),
        ({"config": '{"tried": 0}'}, "config", "attack substitution: tried: must be at least 1"),
        ({"config": '{"recipe": "stew"}'}, "config", "unknown recipe &#x27;stew&#x27;; known: beam"),
        ({"config": r'{"words": {"name": "\u0000"}}'}, "config", "contains a null character"),
        ({"config": r'{"words": {"\ud800": 1}}'}, "config", "half of a surrogate pair"),
        ({"config": '{"cook": 1}'}, "config", "cook: there is no such field; known: at_once"),
    ],
)
def test_errors_stand_beside_their_fields_and_nothing_is_launched(
    reader: Client, classifier: Classifier, wrong: dict[str, str], field: str, says: str
) -> None:
    page = reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "title": "Kept", **wrong})
    html = page.content.decode()
    assert page.status_code == 400
    listed = re.search(rf'<ul class="errorlist" id="e-{field}">(.*?)</ul>', html, re.S).group(1)
    assert says in listed
    assert f'<a href="#id_{field}">' in html
    assert wrong.get("title", "Kept") in html
    assert (Attack.objects.count(), Job.objects.count()) == (0, 0)


def test_what_the_service_refuses_is_said_beside_the_field(reader: Client, classifier: Classifier) -> None:
    foreign = Policy.objects.create(name="other", version=1, spec=classifier.policy.spec, digest="0" * 64)
    second = classifier_of(foreign, "foreign")
    page = reader.post(f"{AT}new/", {**ASKED, "classifier": classifier.pk, "second_opinion": second.pk})
    assert page.status_code == 400
    listed = re.search(r'id="e-second_opinion">(.*?)</ul>', page.content.decode()).group(1)
    assert listed == "<li>is of another policy than the classifier</li>"
    assert Attack.objects.count() == 0


def test_the_servers_own_secrets_are_not_named_as_keys(reader: Client, classifier: Classifier) -> None:
    endpoint = {"name": "openai", "config": {"model": "m", "key_variable": "DATABASE_URL"}}
    asked = {"name": "paraphrase", "classifier": classifier.pk, "config": json.dumps({"paraphraser": endpoint})}
    page = reader.post(f"{AT}new/", asked)
    assert page.status_code == 400
    assert "config.paraphraser.config.key_variable: only variables whose names end in" in text_of(page)
    assert Attack.objects.count() == 0


def test_numbers_that_are_too_large_to_be_meant_are_shown_all_the_same(reader: Client, classifier: Classifier) -> None:
    many = "1" + "0" * 400
    sent = reader.post(
        f"{AT}new/", {**ASKED, "classifier": classifier.pk, "queries": many, "config": f'{{"wanted": {many}}}'}
    )
    page = text_of(reader.get(sent.url))
    assert page.count(f"{int(many):,}") == 2


def test_without_a_calibrated_classifier_there_is_nothing_to_launch(reader: Client, policy: Policy) -> None:
    classifier_of(policy, threshold=None)
    assert "There is no calibrated classifier to attack." in text_of(reader.get(f"{AT}new/"))


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
