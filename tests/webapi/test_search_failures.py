"""search_failures: the event is what filter and judge decide, candidates are files, and what is refused."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from engine.generation.continuing import Spoken
from engine.generation.rejection import accepts
from engine.snippets import Snippet as SnippetText
from tests.attacking import WORLD, victim
from webapi.models import Classifier, Corpus, Policy, Round, Snippet, Story
from workers.round_settings import round_settings
from workers.scoring import load_classifier
from workers.search_failures import MACHINE_SCORED, Kept, Margins

pytestmark = pytest.mark.django_db
OPTIONS = {"particles": 60, "moves": 2, "runs": 3}


@pytest.fixture
def round_(policy: Policy, gauntlet_home: Path) -> Round:
    """A lenient filter and a severe judge, which differ in their seeds too, and text of the test split."""
    corpus = Corpus.objects.create(name="small", path=str(gauntlet_home))
    config = round_settings({}).model_dump(mode="json")
    made = Round.objects.create(name="one", policy=policy, corpus=corpus, config=config)
    for seed, condition, accepted in ((0, "baseline", 0.1), (1, made_retrained(made), 0.97)):
        row = victim(policy, gauntlet_home, seed=seed, name=condition).classifier
        cutoff = float(np.quantile(load_classifier(row).logits(WORLD), accepted))
        threshold = 1 / (1 + math.exp(-cutoff))
        Classifier.objects.filter(pk=row.pk).update(round=made, condition=condition, threshold=threshold)
    story = Story.objects.create(corpus=corpus, name="s")
    Snippet.objects.bulk_create(
        Snippet(
            policy=policy, prompt=f"{one.prompt} Then {n}.", completion=one.completion, story=story, source="corpus",
            content_hash=f"{n:064x}", root_hash=f"{n:064x}", split="test", external_id=str(n),
        )
        for n, one in enumerate(WORLD)
    )  # fmt: skip
    return made


def made_retrained(round_: Round) -> str:
    return round_settings(round_.config).retrained


class Fixed:
    """Logits by completion."""

    def __init__(self, **known: float) -> None:
        self.known, self.asked = known, 0

    def logits(self, snippets: Any) -> np.ndarray:
        self.asked += len(snippets)
        return np.array([self.known[one.completion] for one in snippets], dtype=np.float32)


def test_the_score_is_at_least_zero_exactly_where_the_event_is() -> None:
    """Thresholds 0.5: the filter accepts below logit 0, strictly; the judge finds at or above it."""
    guard, judge = Fixed(a=-1.0, b=0.0, c=-2.0, d=-1e-30), Fixed(a=2.0, b=3.0, c=0.0, d=-4.0)
    score = Margins(guard, 0.5, judge, 0.5)
    states = np.empty(6, dtype=object)
    for place, text in enumerate(["a", "b", "c", "d", "", "a"]):
        states[place] = Spoken(SnippetText("p", text))
    found = score(states)
    assert found.tolist() == [1.0, -1e-9, 0.0, -4.0, -math.inf, 1.0]
    assert (guard.asked, judge.asked) == (4, 4), "each text once, the empty one never"


def test_it_estimates_and_writes_candidates_that_fit(round_: Round, tmp_path: Path) -> None:
    out, file = StringIO(), tmp_path / "found.jsonl"
    call_command("search_failures", round="one", out=file, stdout=out, stderr=StringIO(), **OPTIONS)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    guard, judge = (round_.classifiers.get(condition=name) for name in (made_retrained(round_), "baseline"))
    assert rows, out.getvalue()
    assert "Machine-scored." in out.getvalue()
    assert f"{len(rows):,} candidates ({MACHINE_SCORED})" in out.getvalue()
    texts = [SnippetText(row["prompt"], row["completion"]) for row in rows]
    assert accepts(load_classifier(guard).logits(texts), guard.threshold).all()
    assert not accepts(load_classifier(judge).logits(texts), judge.threshold).any()
    assert {row["filter"] for row in rows} == {str(guard.pk)}
    assert {row["judged_by"] for row in rows} == {MACHINE_SCORED}
    judged = [row["judge_logit"] for row in rows]
    assert judged == sorted(judged, reverse=True)
    before = file.read_text()
    call_command("search_failures", round=str(round_.pk), out=file, stdout=StringIO(), stderr=StringIO(), **OPTIONS)
    assert file.read_text() == before


def test_broken_off_it_goes_on_and_scores_nothing_twice(
    round_: Round, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of scores ends in half a line, as after a kill; it then writes what an unbroken search writes."""
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    asked = {"round": "one", "stdout": StringIO(), "stderr": StringIO(), **OPTIONS}
    add, counts, stop_at = Kept.add, [], [0]

    def counted(self: Kept, found: Any) -> None:
        counts.append(len(found))
        add(self, found)
        if len(counts) == stop_at[0]:
            with self.path.open("a") as file:
                file.write('["half a li')
            raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "add", counted)
    call_command("search_failures", out=whole, **asked)
    all_of_them, stop_at[0] = sum(counts), 3
    counts.clear()
    with pytest.raises(KeyboardInterrupt):
        call_command("search_failures", out=broken, **asked)
    assert 0 < sum(counts) < all_of_them
    call_command("search_failures", out=broken, **asked)
    assert sum(counts) == all_of_them
    assert broken.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == ["broken.jsonl", "whole.jsonl"]


def test_of_two_at_once_into_one_file_the_second_is_refused(round_: Round, tmp_path: Path) -> None:
    asked = {"round": "one", "out": tmp_path / "x", "stdout": StringIO(), "stderr": StringIO(), **OPTIONS}
    first = Kept(tmp_path / "x.scored", ["mine"])
    first.read()
    with pytest.raises(CommandError, match="another search keeps its scores in"):
        call_command("search_failures", **asked)
    first.add({SnippetText("She ran.", "She fell."): (1.0, 2.0)})
    first.close()
    assert Kept(tmp_path / "x.scored", ["mine"]).read() == {SnippetText("She ran.", "She fell."): (1.0, 2.0)}
    call_command("search_failures", **asked)
    assert [path.name for path in tmp_path.glob("x*")] == ["x"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"round": "two"}, "there is no round 'two'"),
        ({"filter": "nobody"}, "no calibrated classifier 'nobody'"),
        ({"filter": "baseline", "judge": "baseline"}, "same classifier"),
        ({"particles": 3}, "too few for 3 runs"),
        ({"seed": -1}, "--seed: must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(round_: Round, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    asked = {"round": "one", "out": tmp_path / "x", **OPTIONS, **options}
    with pytest.raises(CommandError, match=says):
        call_command("search_failures", stdout=StringIO(), stderr=StringIO(), **asked)
    assert not (tmp_path / "x").exists()


def test_a_round_whose_generator_is_an_endpoint_is_refused(round_: Round) -> None:
    round_.config["generator"] = {"name": "openai", "config": {"model": "x"}}
    round_.save()
    with pytest.raises(CommandError, match="thousands of times"):
        call_command("search_failures", round="one", stdout=StringIO(), stderr=StringIO(), **OPTIONS)
