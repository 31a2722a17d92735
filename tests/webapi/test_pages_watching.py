"""Queue, agreement, snippets, classifiers, tokens, one's own figures: what they say matches the data exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.page_text import text_of
from tests.people import weights
from webapi.models import (
    Annotator,
    ApiToken,
    Batch,
    Classifier,
    Consensus,
    Corpus,
    DatasetSnapshot,
    Evaluation,
    Gold,
    Label,
    Policy,
    Round,
    RoundSnippet,
    Score,
    Snippet,
    Story,
    User,
)
from webapi.selectors.agreement import agreement_figures
from webapi.services.policies import policy_create
from webapi.services.promotions import classifier_promote

pytestmark = pytest.mark.django_db
MakeBatch = Callable[..., Batch]
MakeSnippets = Callable[..., list[Snippet]]


def label_all(rows: list[Snippet], answers: dict[str, str], **fields: object) -> None:
    """`answers`: of each annotator, one letter a snippet (Y, U, N; a space for none)."""
    words = {"Y": "Yes", "U": "Unsure", "N": "No"}
    for name, letters in answers.items():
        annotator, _ = Annotator.objects.get_or_create(name=name, defaults=fields)
        for row, letter in zip(rows, letters, strict=True):
            if letter != " ":
                Label.objects.create(snippet=row, annotator=annotator, choice=words[letter])


def test_the_queue_says_how_much_is_wanted(rita: User, client: Client, make_batch: MakeBatch) -> None:
    client.force_login(rita)
    assert "Nothing waits for labels." in text_of(client.get("/labeling/queue/"))
    batch = make_batch(4, wanted=3)
    make_batch(1, state="done")
    batch.tasks.filter(pk=batch.tasks.first().pk).update(taken=2, labelled=1)
    page = text_of(client.get("/labeling/queue/"))
    assert "11 labels still wanted in 1 open batch." in page
    assert "1 of 12" in page


def test_agreement_of_a_hand_computed_case(
    rita: User, client: Client, policy: Policy, make_snippets: MakeSnippets
) -> None:
    """Krippendorff's alpha of these 4 items by hand: 8 pairable values, 5 Yes and 3 No; matching pairs give
    D_o = 2/8 (one item of four split), D_e = 2*5*3/(8*7), alpha = 1 - 0.25 / 0.535714 = 0.533."""
    rows = make_snippets(5)
    label_all(rows, {"ann": "YYNYU", "ben": "YYNN "})
    client.force_login(rita)
    frame = client.get("/labeling/agreement/")
    assert f'hx-get="/labeling/agreement/figures?policy={policy.pk}"' in frame.content.decode()
    page = text_of(client.get(f"/labeling/agreement/figures?policy={policy.pk}"))
    assert "Annotators agree on 75.0 % of 4 snippets judged twice or more; alpha 0.53 (" in page
    assert "9 judgements by 2 annotators of 5 snippets" in page
    assert "program" not in page


def test_a_changed_answer_counts_once(policy: Policy, make_snippets: MakeSnippets) -> None:
    rows = make_snippets(2)
    label_all(rows, {"ann": "YN", "ben": "YY"})
    ben = Annotator.objects.get(name="ben")
    Label.objects.create(snippet=rows[1], annotator=ben, choice="No", revision=1)
    figures = agreement_figures(policy)
    assert (figures.judgements, figures.replaced, figures.annotators, figures.snippets) == (5, 1, 2, 2)
    assert figures.overall.votes_by_choice == {"Yes": 2, "Unsure": 0, "No": 2}
    assert figures.overall.percent.estimate == 1
    assert figures.disputes == ()
    assert sum(day.count for day in figures.per_day) == 4


def test_simulated_annotators_are_called_so(
    rita: User, client: Client, policy: Policy, make_snippets: MakeSnippets
) -> None:
    rows = make_snippets(2)
    label_all(rows, {"robot": "YN"}, simulated=True)
    client.force_login(rita)
    assert "All these annotators are a program." in text_of(client.get("/labeling/agreement/figures"))
    label_all(rows, {"ann": "YN"})
    assert "1 of the 2 annotators are a program." in text_of(client.get("/labeling/agreement/figures"))


def test_no_labels_yet_says_what_to_do(rita: User, client: Client, policy: Policy) -> None:
    client.force_login(rita)
    assert "Nobody has labelled anything yet." in text_of(client.get("/labeling/agreement/"))
    assert client.get(f"/labeling/agreement/figures?policy={policy.pk}").status_code == 404


@pytest.fixture
def variety(policy: Policy, make_snippets: MakeSnippets) -> dict[str, list[Snippet]]:
    corpus = make_snippets(3, split="train")
    found = make_snippets(2, first=10, source="paraphrase", split="test")
    Consensus.objects.create(snippet=found[0], choice="Yes", rule="policy_rule", labels=1)
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=Corpus.objects.create(name="books"))
    RoundSnippet.objects.create(round=round_, snippet=found[0], pool="attack", selected=True)
    RoundSnippet.objects.create(round=round_, snippet=found[1], pool="attack")
    return {"corpus": corpus, "found": found}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 5),
        ("source=paraphrase", 2),
        ("split=train", 3),
        ("consensus=Yes", 1),
        ("consensus=any", 1),
        ("consensus=none", 4),
        ("pool=attack", 2),
        ("pool=attack&selected=0", 1),
        ("round={round}", 2),
        ("round={round}&selected=1", 1),
        ("policy={policy}&source=manual", 0),
        ("policy=nonsense", 5),
    ],
)
def test_snippets_by_their_filters(
    rita: User, client: Client, variety: dict[str, list[Snippet]], query: str, count: int
) -> None:
    client.force_login(rita)
    keys = {"round": Round.objects.get().pk, "policy": Policy.objects.get().pk}
    page = client.get(f"/snippets/?{query.format(**keys)}").content.decode()
    assert page.count('class="clip" href="/snippets/') == count
    assert ("No snippet fits all of these" in page) == (count == 0)


def test_a_filter_shows_what_it_was_set_to(rita: User, client: Client, variety: object) -> None:
    client.force_login(rita)
    page = client.get("/snippets/?source=paraphrase").content.decode()
    assert '<option value="paraphrase" selected>' in page


def test_pages_of_snippets_hold_each_once_in_both_directions(
    rita: User, client: Client, make_snippets: MakeSnippets
) -> None:
    rows = make_snippets(120)
    client.force_login(rita)
    seen: list[str] = []
    url, pages = "/snippets/", []
    while url:
        html = client.get(url).content.decode()
        pages.append(re.findall(r'class="clip" href="/snippets/([0-9a-f-]+)/"', html))
        older = re.search(r'rel="next" href="([^"]+)"', html)
        url = f"/snippets/{older.group(1)}" if older else ""
        seen += pages[-1]
    assert seen == [str(row.pk) for row in sorted(rows, key=lambda row: row.pk, reverse=True)]
    newer = re.search(r'rel="prev" href="([^"]+)"', html)
    assert newer
    back = client.get(f"/snippets/{newer.group(1)}").content.decode()
    assert re.findall(r'class="clip" href="/snippets/([0-9a-f-]+)/"', back) == pages[1]


def test_a_snippet_leads_back_to_its_story(
    rita: User, client: Client, policy: Policy, make_snippets: MakeSnippets
) -> None:
    corpus = Corpus.objects.create(name="books", simulated=True)
    story = Story.objects.create(corpus=corpus, name="the-ferry.txt")
    (root,) = make_snippets(1, story=story)
    (middle,) = make_snippets(1, first=1, source="rewrite", parent=root)
    (leaf,) = make_snippets(1, first=2, source="paraphrase", parent=middle)
    label_all([leaf], {"ann": "Y", "robot": "N"})
    Annotator.objects.filter(name="robot").update(simulated=True)
    classifier = Classifier.objects.create(
        policy=policy, name="baseline", condition="baseline", encoder="minilm", threshold=0.02
    )
    Score.objects.create(classifier=classifier, snippet=leaf, logit=-6.0)
    client.force_login(rita)
    html = client.get(f"/snippets/{leaf.pk}/").content.decode()
    page = text_of(client.get(f"/snippets/{leaf.pk}/"))
    assert html.index(f"/snippets/{middle.pk}/") < html.index(f"/snippets/{root.pk}/") < html.index("the-ferry.txt")
    assert "in books (simulated)" in page
    assert "robot (simulated)" in page
    assert "0.00247 accepted" in page
    assert f"/snippets/{leaf.pk}/" in client.get(f"/snippets/{middle.pk}/").content.decode()


def test_text_from_outside_is_text(rita: User, client: Client, policy: Policy) -> None:
    row = Snippet.objects.create(
        policy=policy,
        prompt="<script>alert(1)</script>",
        completion="</div><img src=x>",
        content_hash="a",
        root_hash="a",
        source="manual",
        split="train",
    )
    client.force_login(rita)
    for address in ("/snippets/", f"/snippets/{row.pk}/"):
        html = client.get(address).content.decode()
        assert "<script>alert" not in html
        assert "<img" not in html


def test_a_classifier_shows_threshold_rates_and_lineage(rita: User, client: Client, policy: Policy) -> None:
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=Corpus.objects.create(name="books"))
    artifact = weights("rounds/1/baseline")
    snapshot = DatasetSnapshot.objects.create(round=round_, condition="baseline", artifact=artifact, size=1200)
    parent = Classifier.objects.create(policy=policy, name="old", condition="old", encoder="minilm")
    row = Classifier.objects.create(
        policy=policy, name="baseline", condition="baseline", encoder="minilm", round=round_, parent=parent,
        snapshot=snapshot, artifact=artifact, threshold=0.0213, metrics={"loss": 0.25},
    )  # fmt: skip
    fnr = {"estimate": 0.0, "low": 0.0, "high": 0.0367, "level": 0.95, "method": "exact", "failures": 0, "n": 99}
    kl = {"estimate": 0.5, "low": 0.45, "high": 0.56, "level": 0.95, "method": "bootstrap", "n": 100}
    Evaluation.objects.create(classifier=row, name="held-out", results={"adversarial": {"fnr": fnr}, "kl": kl})
    client.force_login(rita)
    page = text_of(client.get(f"/classifiers/{row.pk}/"))
    assert "baseline rejects at a score of 0.0213 or more." in page
    assert "adversarial, fnr below 3.7 % (0 of 99)" in page
    assert "kl 0.500 (0.450 to 0.560; n = 100)" in page
    assert "1,200 snippets" in page
    assert artifact.sha256 in page
    assert "old is not calibrated yet." in text_of(client.get(f"/classifiers/{parent.pk}/"))
    listed = text_of(client.get("/classifiers/"))
    assert "No classifier has been promoted to serve yet." in listed
    classifier_promote(classifier=row)
    assert "baseline serves harm v1." in text_of(client.get("/classifiers/"))


def test_a_token_is_shown_once_and_can_be_revoked(rita: User, bob: User, client: Client) -> None:
    client.force_login(rita)
    made = client.post("/settings/tokens/", {"name": "nightly", "role": "viewer", "days": 30})
    secret = re.search(r'value="(gtl_[^"]+)"', made.content.decode())
    assert secret
    row = ApiToken.find_live(secret.group(1))
    assert row is not None
    assert (row.user, row.name, row.role) == (rita, "nightly", "viewer")
    assert abs(row.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert "no-store" in made["Cache-Control"]
    assert "gtl_" not in client.get("/settings/tokens/").content.decode()

    client.force_login(bob)
    assert client.post(f"/settings/tokens/{row.pk}/revoke").status_code == 404
    client.force_login(rita)
    assert "is revoked" in text_of(client.post(f"/settings/tokens/{row.pk}/revoke", follow=True))
    assert ApiToken.find_live(secret.group(1)) is None
    assert "had been revoked before" in text_of(client.post(f"/settings/tokens/{row.pk}/revoke", follow=True))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "", "role": "viewer", "days": 30}, "Say what the token is for."),
        ({"name": "x", "role": "viewer", "days": 0}, "A token lives for a day at least."),
        ({"name": "x", "role": "viewer", "days": 4000}, "A token lives for 365 days at most."),
        ({"name": "x", "role": "admin", "days": 30}, "Select a valid choice."),
    ],
)
def test_a_wrong_token_form_keeps_what_was_typed_and_makes_nothing(
    rita: User, client: Client, form: dict[str, object], said: str
) -> None:
    client.force_login(rita)
    response = client.post("/settings/tokens/", form)
    assert response.status_code == 400
    assert said in text_of(response)
    assert f'value="{form["days"]}"' in response.content.decode()
    assert not ApiToken.objects.exists()


def test_ones_own_figures_hold_ones_own_labels_only(
    alice: User, client: Client, policy: Policy, make_snippets: MakeSnippets
) -> None:
    client.force_login(alice)
    assert "You have not answered anything yet." in text_of(client.get("/me/"))
    rows = make_snippets(3)
    me = Annotator.objects.create(name="alice", user=alice)
    for row, seconds in zip(rows, (2.0, 4.0, 60.0), strict=True):
        Label.objects.create(snippet=row, annotator=me, choice="No", seconds=seconds)
    Label.objects.create(snippet=rows[0], annotator=me, choice="Yes", revision=1, seconds=5.0)
    label_all(rows, {"ben": "YYY"})
    page = text_of(client.get("/me/"))
    assert "You have answered 3 snippets, 3 of them today." in page
    assert "1 changed afterwards" in page
    assert "No 2 Yes 1" in page


def test_ones_own_figures_tell_how_one_stands_and_what_to_learn_from(
    alice: User, client: Client, policy: Policy, make_batch: MakeBatch, make_snippets: MakeSnippets
) -> None:
    tested = policy_create(spec={**policy.spec, "name": "tested", "quality": {"qualification": 3}})
    for row in make_snippets(3, first=500, policy=tested):
        Gold.objects.create(policy=tested, snippet=row, choice="No", explanation="Nobody <was>.")
    make_batch(1, policy=tested)
    client.force_login(alice)
    json = {"content_type": "application/json"}
    tasks = client.post("/api/v1/tasks/lease", {"count": 3}, **json).json()["tasks"]
    for task, choice in zip(tasks, ("No", "Yes", "No"), strict=True):
        client.post("/api/v1/labels", {"task": task["id"], "lease": task["lease"]["token"], "choice": choice}, **json)
        if task is tasks[1]:
            page = text_of(client.get("/me/"))
            assert "Your entrance test for tested: 2 of 3 answered." in page
            assert "gold answers right" not in page
            assert "To learn from" not in page
    page = text_of(client.get("/me/"))
    assert "Your work under tested is paused. 2 of 3 gold answers right. What you have answered so far is kept." in page
    assert "ask the researchers who run this project." in page
    assert "66.7 % (9.4 % to 99.2 %; 2 of 3)" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "You answered Yes ; right is No . Nobody &lt;was&gt;." in page
    html = client.get("/me/").content.decode()
    shown = [task["completion"] in html for task in tasks]
    assert shown == [False, True, False]
