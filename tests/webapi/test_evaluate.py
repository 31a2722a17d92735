"""`manage.py evaluate --judgements`: planned, bought through the queue, compared with all that the crowd said."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from engine.evaluation.bought_report import headline
from tests.engine.tiny_encoders import HARM, PLACES, write_encoder
from tests.labeling_adapters.recorded_folder import write_answers
from webapi.models import Annotator, Evaluation, Label, Snippet
from workers import judged

CALM = ["greeted", "thanked", "painted", "fed"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Three answers to each of 384 comments: who harms is a failure, but one person in eight errs."""
    rng = np.random.default_rng(0)
    answers = {}
    for verb in [*HARM, *CALM]:
        for who in ("baker", "knight", "old man"):
            for place in PLACES[:8]:
                for whom in ("girl", "man"):
                    harms = verb in HARM
                    said = ["y" if harms != (rng.random() < 1 / 8) else "n" for _ in range(3)]
                    answers[f"The {who} {verb} a {whom} in the {place}."] = "".join(said)
    return write_answers(tmp_path / "crowd", answers)


def evaluate(crowd: Path, encoder: Path, **options: object) -> str:
    out = StringIO()
    about = {"encoder": str(encoder), "train": 150, "accept": 0.9, "precision": 0.6, "price": 0.1, **options}
    call_command("evaluate", judgements=crowd, stdout=out, stderr=StringIO(), **about)
    return out.getvalue()


def test_the_plan_is_kept_and_the_answer_holds_what_everybody_said(
    crowd: Path, gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged, "MAX_TOKENS", 64)
    encoder = write_encoder(gauntlet_home / "encoder")
    planned = evaluate(crowd, encoder, plan=True)
    assert "* Simple random sampling" in planned
    assert "Stratified" in planned
    evaluation = Evaluation.objects.get()
    assert evaluation.state == "planned"
    assert not Label.objects.filter(snippet__split="test").exists(), "nothing is bought"
    told = json.loads(evaluate(crowd, encoder, json=True))
    evaluation = Evaluation.objects.get()
    assert (str(evaluation.pk), evaluation.state) == (told["evaluation"], "succeeded")
    bought = told["report"]["bought"]
    assert bought["labels"] == Label.objects.filter(snippet__split="test").count()
    assert abs(bought["labels"] / told["plan"]["chosen"]["labels"] - 1) <= 0.4, "few labels, and chance"
    assert bought["outputs"] == told["plan"]["chosen"]["outputs"]
    people = Annotator.objects.filter(vendor="recorded")
    assert not people.filter(simulated=True).exists()
    assert people.exists()
    compared = told["compared"]
    assert compared["holds"] is (compared["estimate"]["low"] <= compared["by_the_rule"] <= compared["estimate"]["high"])
    assert compared["outputs"] == evaluation.plan["outputs"]["size"] <= Snippet.objects.filter(split="test").count()
    again = evaluate(crowd, encoder)
    assert Evaluation.objects.count() == 1
    assert "Every recorded answer" in again
    out = StringIO()
    call_command("evaluate", diff=[str(evaluation.pk)] * 2, stdout=out)
    first, second, rest = out.getvalue().split("\n", 2)
    assert (first, second) == tuple(f"{letter}: {evaluation.name}. {headline(told['report'])}" for letter in "AB")
    assert rest.strip() == "The two reports say the same."


def test_without_a_round_and_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no round has a calibrated classifier"):
        call_command("evaluate", stdout=StringIO())
    with pytest.raises(CommandError, match="no such folder"):
        call_command("evaluate", judgements=tmp_path / "nowhere", stdout=StringIO())
    with pytest.raises(CommandError, match="there is no evaluation"):
        call_command("evaluate", diff=["a", "b"], stdout=StringIO())
