"""The page of one attack: what it came to, its finds beside their seeds, cancelling, and sending finds for labels."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from tests.page_text import queries_of, text_of
from tests.webapi.attack_rows import attack_of, candidate, classifier_of, label_of, seed_of, snippet_of
from webapi.models import (
    Attack,
    Batch,
    Classifier,
    Corpus,
    Job,
    Policy,
    Round,
    Task,
    User,
)

pytestmark = pytest.mark.django_db
AT = "/attacks/"


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
