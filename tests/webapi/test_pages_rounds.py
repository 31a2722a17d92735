"""The rounds list, one round with its fragments and buttons, and its report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from engine.evaluation.report import render_html
from tests.engine.sample_report import sample_report
from tests.page_text import text_of
from webapi.models import Artifact, Corpus, Job, Policy, Round, RoundSnippet, Snippet, Stage, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def new_round(policy: Policy) -> Callable[..., Round]:
    """`new_round("failed", attack="failed")`: a round in a state, with stages in theirs."""

    def make(state: str = "running", *, simulated: bool = False, **stages: str) -> Round:
        corpus, _ = Corpus.objects.get_or_create(name="books", defaults={"simulated": simulated})
        config = {"labeling": {"adapter": "simulated" if simulated else "pull"}, "sizes": {"initial": 1200}}
        round_ = Round.objects.create(name=f"Round {state}", policy=policy, corpus=corpus, state=state, config=config)
        for position, (name, stage) in enumerate(stages.items()):
            Stage.objects.create(round=round_, name=name, position=position, state=stage)
        return round_

    return make


def test_the_list_says_in_its_first_line_what_goes_on(
    rita: User, client: Client, new_round: Callable[..., Round]
) -> None:
    client.force_login(rita)
    empty = text_of(client.get("/rounds/"))
    assert "No round has run yet." in empty
    assert "make demo STORIES=" in empty
    for state in ("running", "paused", "failed", "succeeded", "cancelled"):
        new_round(state, attack="running" if state == "running" else "pending")
    page = text_of(client.get("/rounds/"))
    assert "1 round is under way; 1 paused, 1 stopped by an error, 1 finished, 1 cancelled." in page
    assert "Round running running is attacking the baseline" in page


def test_the_list_costs_no_more_for_rounds_that_ended(
    rita: User, client: Client, new_round: Callable[..., Round], django_assert_max_num_queries: Callable[[int], object]
) -> None:
    for _ in range(20):
        new_round("succeeded")
    client.force_login(rita)
    with django_assert_max_num_queries(5):
        assert client.get("/rounds/").status_code == 200


def test_a_round_says_what_it_does_in_words_and_shows_its_stages(
    rita: User, client: Client, new_round: Callable[..., Round]
) -> None:
    round_ = new_round(generate="succeeded", attack="running", label="pending")
    Job.objects.create(kind="stage", stage=round_.stages.get(name="attack"), state="running", done=412, total=600)
    client.force_login(rita)
    response = client.get(f"/rounds/{round_.pk}/")
    page = text_of(response)
    assert "Round running is attacking the baseline: 412 of 600." in page
    assert "Attack running 412 of 600" in page
    assert 'hx-trigger="every 1s"' in response.content.decode()
    assert f'href="/api/v1/rounds/{round_.pk}"' in response.content.decode()
    assert "sizes, initial 1,200" in page
    assert "Simulated" not in page


def test_progress_is_asked_for_until_the_round_ends(
    rita: User, client: Client, new_round: Callable[..., Round]
) -> None:
    client.force_login(rita)
    moving, ended = new_round("running", attack="running"), new_round("succeeded", attack="succeeded")
    fragment = client.get(f"/rounds/{moving.pk}/progress")
    assert fragment.status_code == 200
    assert 'id="headline" hx-swap-oob="innerHTML"' in fragment.content.decode()
    assert 'data-round-state="running" data-stage="attack"' in fragment.content.decode()
    assert client.get(f"/rounds/{ended.pk}/progress").status_code == 286
    assert "every 1s" not in client.get(f"/rounds/{ended.pk}/").content.decode()


def test_the_funnel_leads_to_the_snippets_behind_each_step(
    rita: User, client: Client, new_round: Callable[..., Round], make_snippets: Callable[..., list[Snippet]]
) -> None:
    round_ = new_round()
    rows = make_snippets(3, source="paraphrase")
    RoundSnippet.objects.bulk_create(
        RoundSnippet(round=round_, snippet=row, pool="attack", selected=row == rows[0]) for row in rows
    )
    client.force_login(rita)
    html = client.get(f"/rounds/{round_.pk}/funnel").content.decode()
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    counts = {row["label"]: row["count"] for row in data["rows"]}
    assert (counts["Accepted paraphrases"], counts["Selected"], counts["Corpus"]) == (3, 1, 0)
    (link,) = [row["url"] for row in data["rows"] if row["label"] == "Selected"]
    behind = client.get(link).content.decode()
    assert behind.count('class="clip" href="/snippets/') == 1
    assert f"/snippets/{rows[0].pk}/" in behind


def test_a_failed_round_says_what_happened_and_what_is_safe(
    rita: User, client: Client, new_round: Callable[..., Round]
) -> None:
    round_ = new_round("failed", generate="succeeded", attack="failed")
    Round.objects.update(error="attack: <the> endpoint refused the key")
    client.force_login(rita)
    response = client.get(f"/rounds/{round_.pk}/")
    assert "the stage “Attack” failed" in text_of(response)
    assert "attack: &lt;the&gt; endpoint refused the key" in response.content.decode()
    assert "every label, score and finished stage is kept" in text_of(response)
    assert "Retry the failed stage" in text_of(response)


def test_what_is_simulated_is_said(rita: User, client: Client, new_round: Callable[..., Round]) -> None:
    client.force_login(rita)
    page = text_of(client.get(f"/rounds/{new_round(simulated=True).pk}/"))
    assert "Simulated. Stories and annotators are made by a program." in page
    assert "books (simulated)" in page


@pytest.mark.parametrize(
    ("state", "move", "after"),
    [
        ("running", "pause", "paused"),
        ("paused", "resume", "running"),
        ("failed", "retry", "running"),
        ("running", "cancel", "cancelled"),
        ("failed", "cancel", "cancelled"),
    ],
)
def test_a_researcher_moves_a_round(
    rita: User, client: Client, new_round: Callable[..., Round], state: str, move: str, after: str
) -> None:
    round_ = new_round(state)
    client.force_login(rita)
    response = client.post(f"/rounds/{round_.pk}/{move}")
    assert (response.status_code, response.url) == (302, f"/rounds/{round_.pk}/")
    assert Round.objects.get().state == after


def test_a_move_that_does_not_fit_changes_nothing_and_says_so(
    rita: User, client: Client, new_round: Callable[..., Round]
) -> None:
    round_ = new_round("succeeded")
    client.force_login(rita)
    page = text_of(client.post(f"/rounds/{round_.pk}/pause", follow=True))
    assert "Nothing was changed" in page
    assert Round.objects.get().state == "succeeded"
    assert client.post(f"/rounds/{round_.pk}/explode").status_code == 404
    assert client.get(f"/rounds/{round_.pk}/pause").status_code == 405


def test_cancelling_asks_first(rita: User, vera: User, client: Client, new_round: Callable[..., Round]) -> None:
    round_ = new_round("running")
    client.force_login(rita)
    assert f'href="/rounds/{round_.pk}/cancel/"' in client.get(f"/rounds/{round_.pk}/").content.decode()
    assert "This cannot be undone" in text_of(client.get(f"/rounds/{round_.pk}/cancel/"))
    assert Round.objects.get().state == "running"
    client.force_login(vera)
    assert client.get(f"/rounds/{round_.pk}/cancel/").status_code == 403


def test_who_only_watches_has_no_buttons(vera: User, client: Client, new_round: Callable[..., Round]) -> None:
    client.force_login(vera)
    page = client.get(f"/rounds/{new_round('running').pk}/").content.decode()
    assert "Pause" not in page
    assert "/cancel/" not in page


def test_the_report_stands_inside_the_site_and_alone(
    rita: User, client: Client, new_round: Callable[..., Round], gauntlet_home: Path
) -> None:
    round_ = new_round("succeeded")
    client.force_login(rita)
    early = client.get(f"/rounds/{round_.pk}/report/", follow=True)
    assert "There is no report yet" in text_of(early)
    assert client.get(f"/rounds/{round_.pk}/report.html").status_code == 404

    folder = gauntlet_home / "rounds" / str(round_.pk)
    folder.mkdir(parents=True)
    report = sample_report()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.html").write_text(render_html(report))
    for kind, name in (("report_json", "report.json"), ("report_html", "report.html")):
        path = f"rounds/{round_.pk}/{name}"
        Artifact.objects.create(kind=kind, path=path, sha256="0" * 64, size=1)

    inside = client.get(f"/rounds/{round_.pk}/report/")
    assert "Read these with every number" in text_of(inside)
    assert "script-src 'self';" in inside["Content-Security-Policy"]
    executable = re.findall(r"<script(?![^>]*(?:src=|application/json))", inside.content.decode())
    assert executable == []
    alone = client.get(f"/rounds/{round_.pk}/report.html")
    assert alone["Content-Type"].startswith("text/html")
    assert "sandbox allow-scripts" in alone["Content-Security-Policy"]
    assert b"".join(alone.streaming_content) == (folder / "report.html").read_bytes()
    assert f'href="/rounds/{round_.pk}/report/"' in client.get(f"/rounds/{round_.pk}/").content.decode()
