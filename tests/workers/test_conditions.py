"""run_conditions beside a tiny finished round, killed in its middle and run again; and on rounds written by people."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from engine.errors import BadInput
from tests.driving import WorkerKilled, drive, fingerprint, new_round
from tests.engine.tiny_encoders import CALM, HARM, PLACES, write_encoder
from tests.story_encoder import write_story_encoder
from webapi.models import (
    Annotator,
    Batch,
    Classifier,
    Consensus,
    Corpus,
    DatasetSnapshot,
    Evaluation,
    Job,
    Label,
    Policy,
    Round,
    Snippet,
)
from workers import condition_training, train
from workers.condition_settings import PRESETS, condition_settings
from workers.condition_steps import Steps
from workers.conditions import TABLE_3
from workers.execute import execute
from workers.report import build
from workers.snapshots import read_snapshot

TINY_ROUND = {
    "corpus_snippets": 500,
    "initial": 90,
    "candidates": 10,
    "test": 50,
    "seeds": 20,
    "validation_prompts": 12,
    "validation_completions": 8,
    "test_completions": 4,
}
TRAINING = {"trainable_layers": None, "learning_rate": 2e-3, "export_int8": False, "precision": "fp32"}
PARAPHRASE = {"most": 3, "least": 3, "least_draws": 8, "max_draws": 8, "batch": 8}


def tiny_round(home: Path) -> Round:
    encoder = write_story_encoder(home / "encoder")
    attack = {"name": "paraphrase", "config": {**PARAPHRASE, "paraphraser": {"name": "story_world"}}, "seeds": 12}
    round_ = new_round(
        home,
        sizes=TINY_ROUND,
        training={**TRAINING, "encoder": str(encoder), "epochs": 6},
        attacks=[{**attack, "start": "random"}],
        measuring={"seeds": 0},
        selection={"attack": 16, "candidates": 4},
    )
    return drive(round_)


def left_behind(round_: Round) -> dict[str, Any]:
    """All that the round tells of itself."""
    told = fingerprint(round_)
    told.pop("snippets")  # under its policy, not its own
    return {**told, "report": json.dumps(build(round_), sort_keys=True)}


def as_before(round_: Round) -> list[tuple[str, str]]:
    """What rounds trained on before there were conditions: hash and choice, in order."""

    def rows(**members: object) -> list[tuple[str, str]]:
        places = round_.members.filter(**members).values("snippet")
        found = Consensus.objects.filter(snippet__in=places).order_by("snippet__content_hash")
        return list(found.values_list("snippet__content_hash", "choice"))

    initial, added = rows(pool="initial"), rows(selected=True)
    order = np.random.default_rng([round_.seed, len(initial)]).permutation(len(initial))
    return [initial[i] for i in sorted(order[: max(len(initial) - len(added), 0)])] + added


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    call_command("run_conditions", preset="tiny", **options)
    return capsys.readouterr().out


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that something was trained into, or would have been."""
    into: list[str] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        into.append(kwargs["out_dir"].name)
        return engine_train(*args, **kwargs)

    engine_train = train.train
    monkeypatch.setattr(train, "train", counting)
    return into


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_whole_command_killed_and_run_again(
    gauntlet_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trainings: list[str],
) -> None:
    round_ = tiny_round(gauntlet_home)
    assert round_.state == "succeeded", round_.error
    before = left_behind(round_)
    own = {row.condition: row for row in round_.classifiers.all()}
    rows = [(row.content_hash, row.choice) for row in read_snapshot(own["+paraphrases"].snapshot)]
    assert rows == as_before(round_)
    trainings.clear()

    weights = _killed_after_training(round_, monkeypatch)
    assert len(trainings) == 1, "the round's baseline is the conditions' too"
    told = json.loads(run(capsys, round=str(round_.pk), json=True))
    assert weights.stat().st_mtime_ns == _written(weights), "trained once"
    assert len(trainings) == 4, "asked for once more after the kill, and found finished"
    _the_conditions_are_the_papers(round_, told, own)
    _what_was_written_has_its_lineage(round_)
    assert left_behind(Round.objects.get(pk=round_.pk)) == before

    trainings.clear()
    assert json.loads(run(capsys, json=True)) == told
    assert trainings == []
    assert DatasetSnapshot.objects.filter(round=None).count() == 4
    assert not Job.objects.filter(state__in=["queued", "running", "failed"], stage=None).exists()
    _the_tables_say_it(run(capsys), told)
    _conditions_of_ones_own(round_, gauntlet_home, capsys)


_mtimes: dict[Path, int] = {}


def _written(weights: Path) -> int:
    return _mtimes[weights]


def _killed_after_training(round_: Round, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Goes on until +manual is trained, and dies before the database knows of it. Answers where its weights lie."""
    steps = Steps(round_.policy, condition_settings(PRESETS["tiny"]), round_.seed, round_)

    def die(path: Path, kind: str) -> None:
        raise WorkerKilled

    def go_on() -> None:
        for step in steps.table_3():
            jobs = step.queue()
            for job in jobs:
                assert execute(job.pk)
                job.refresh_from_db()
                assert job.state == "succeeded", job.error
            step.take(jobs)

    with monkeypatch.context() as patch:
        patch.setattr(condition_training, "register", die)
        with pytest.raises(WorkerKilled):
            go_on()
    left = Job.objects.get(state="running")
    assert left.args["condition"]["name"] == "+manual"
    Job.objects.filter(pk=left.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    (weights,) = (Path(round_.corpus.path).parent / "classifiers").glob("*/*/model.safetensors")
    _mtimes[weights] = weights.stat().st_mtime_ns
    return weights


def _the_conditions_are_the_papers(round_: Round, told: dict[str, Any], own: dict[str, Classifier]) -> None:
    found = {one["name"]: one for one in told["conditions"]}
    assert tuple(found) == TABLE_3
    assert told["simulated"].startswith("Simulated:")
    assert {one["size"] for one in found.values()} == {TINY_ROUND["initial"]}
    assert found["baseline"]["classifier"] == str(own["baseline"].pk)
    assert found["baseline"]["content_hash"] == own["baseline"].snapshot.content_hash
    names = ["initial", "manual", "paraphrases", "tool-assisted"]
    for i, one in enumerate(found.values()):
        assert list(one["datasets"]) == names[: i + 1]
        assert all(dataset["rows"] > 0 for dataset in one["datasets"].values())
        assert sum(dataset["rows"] for dataset in one["datasets"].values()) == one["size"]
        _is_measured(one["results"])
        rows = read_snapshot(DatasetSnapshot.objects.get(pk=one["snapshot"]))
        assert {row.split for row in rows} == {"train"}
        held_out = round_.members.filter(snippet__split="test").values_list("snippet__root_hash", flat=True)
        assert not {row.root_hash for row in rows} & set(held_out)
    sizes = {name: found["+tool-assisted"]["datasets"][name]["rows"] for name in names[1:]}
    for one in found.values():
        assert {name: held["rows"] for name, held in one["datasets"].items() if name in sizes}.items() <= sizes.items()
    parents = dict(Classifier.objects.filter(round=None).values_list("condition", "parent"))
    assert parents == dict.fromkeys(TABLE_3[1:], own["baseline"].pk)


def _is_measured(results: dict[str, Any]) -> None:
    sampled, prompts = results["proposals_rejected"], results["without_completion"]
    assert prompts["n"] == 20 == PRESETS["tiny"]["prompts"]
    assert prompts["failures"] == len(results["prompts_without_completion"])
    accepted = sampled["n"] - sampled["failures"]
    assert accepted == prompts["n"] - prompts["failures"]
    assert sampled["n"] <= 20 * PRESETS["tiny"]["tries"]
    calibration = results["calibration"]
    assert calibration["logit_low"] <= calibration["logit"] <= calibration["logit_high"]
    for rate in (sampled, prompts, results["random_rejected"], results["held_out"]["fnr"], results["held_out"]["fpr"]):
        assert 0 <= rate["low"] <= rate["high"] <= 1
    assert results["assessment"]["fnr"]["n"] + results["assessment"]["fpr"]["n"] == results["assessment"]["n"]


def _what_was_written_has_its_lineage(round_: Round) -> None:
    batches = {row.name.rpartition(": ")[2]: row for row in Batch.objects.filter(round=None, evaluation=None)}
    assert set(batches) == {"manual, by simulated contractors", "tool-assisted, by simulated contractors"}
    for name, batch in batches.items():
        assert (batch.state, batch.adapter, batch.config["seed"]) == ("done", "simulated", round_.seed)
        snippets = [task.snippet for task in batch.tasks.select_related("snippet__parent", "snippet__author")]
        assert {one.split for one in snippets} == {"train"}
        assert not round_.members.filter(snippet__in=snippets).exists()
        for one in snippets:
            assert Label.objects.filter(snippet=one, annotator__vendor="simulated").exists()
            assert one.consensus.labels >= 1
            if name.startswith("manual"):
                assert (one.parent, one.source, one.details["simulated"]) == (None, "manual", True)
            else:
                assert (one.source, one.parent.split) == ("rewrite", "train")
    writers = set(Annotator.objects.filter(vendor="simulated contractors").values_list("simulated", flat=True))
    assert writers == {True}
    assert Snippet.objects.filter(author__vendor="simulated contractors").exists()


def _the_tables_say_it(text: str, told: dict[str, Any]) -> None:
    assert "Simulated:" in text
    for one in told["conditions"]:
        assert len(re.findall(rf"^{re.escape(one['name'])} ", text, re.M)) == 3
    sampled = told["conditions"][1]["results"]["proposals_rejected"]
    assert f"{sampled['failures']} of {sampled['n']}" in text
    assert max(map(len, text.splitlines())) <= 140


def _conditions_of_ones_own(round_: Round, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "conditions.toml"
    file.write_text(
        f"""
        [composing]
        oversample = 3
        [[conditions]]
        name = "mine"
        [[conditions.datasets]]
        name = "first"
        initial = true
        round = "{round_.pk}"
        pools = ["initial"]
        [[conditions.datasets]]
        name = "by hand"
        sources = ["manual"]
        """
    )
    (one,) = json.loads(run(capsys, config=file, json=True))["conditions"]
    by_hand = one["datasets"]["by hand"]["rows"]
    assert (one["name"], one["size"], one["oversampled"]) == ("mine", TINY_ROUND["initial"], 3)
    assert one["results"]["training"]["examples"] == one["size"] + 2 * by_hand
    file.write_text('[[conditions]]\nname = "none"\n[[conditions.datasets]]\nname = "nothing"\nsources = ["adversary"]')
    with pytest.raises(CommandError, match="none: no labelled snippets to train on"):
        run(capsys, config=file)


def line(number: int, text: str, matched: int, *, label: int, round_: int) -> str:
    kind = "original" if number % 2 == 0 else "perturbation"
    return f'{number},"{text}",none,[],{round_},{round_}a,{kind},train,{label},"x",{matched}'


def hatemoji(folder: Path, pairs: int = 30) -> Path:
    """Rounds 5, 6 and 7 in a world where what is done to the girl decides."""
    folder.mkdir()
    lines = ["entry_id,text,type,target,round.base,round.set,set,split,label_gold,matched_text,matched_id"]
    number = 0
    for round_ in (5, 6, 7):
        for i in range(pairs):
            for verb, label in ((HARM[i % 4], 1), (CALM[i % 4], 0)):
                who = ("baker", "knight")[i % 2]
                text = f"In the {PLACES[i % 8]} the {who} {verb} a girl. The old man {number} went by."
                matched = number + 1 if number % 2 == 0 else number - 1
                lines.append(line(number, text, matched, label=label, round_=round_))
                number += 1
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    for name in ("validation", "test"):
        (folder / f"{name}.csv").write_text(lines[0] + "\n")
    return folder


@pytest.mark.django_db(transaction=True)
def test_rounds_written_by_people(
    gauntlet_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trainings: list[str]
) -> None:
    folder, config = hatemoji(tmp_path / "hatemoji"), tmp_path / "config.toml"
    encoder = write_encoder(gauntlet_home / "encoder")
    lines = [f"{key} = {json.dumps(value)}" for key, value in TRAINING.items() if value is not None]
    config.write_text("\n".join(["[training]", f'encoder = "{encoder}"', "max_tokens = 64", "epochs = 2", *lines]))
    told = json.loads(run(capsys, hatemoji=folder, config=config, json=True))
    assert [one["name"] for one in told["conditions"]] == ["5", "5+6", "5+6+7"]
    assert len(trainings) == 3
    assert Snippet.objects.count() == Label.objects.count() == Consensus.objects.count() == 180
    for i, one in enumerate(told["conditions"]):
        assert list(one["datasets"]) == ["round 5", "round 6", "round 7"][: i + 1]
        rows = read_snapshot(DatasetSnapshot.objects.get(pk=one["snapshot"]))
        in_train = Snippet.objects.filter(split="train", details__hatemoji__in=[5, 6, 7][: i + 1])
        assert one["size"] + one["dropped"] == in_train.count()
        assert len(rows) == one["size"]
        results = one["results"]
        assert list(results["rounds"]) == ["5", "6", "7"]
        assert sum(found["fnr"]["n"] for found in results["rounds"].values()) == results["fnr"]["n"]
        accepted = results["acceptance"]["accepted"]
        assert accepted["failures"] / accepted["n"] >= 0.9
    for child in Snippet.objects.exclude(parent=None).select_related("parent"):
        assert (child.split, child.root_hash) == (child.parent.split, child.parent.root_hash)
    trainings.clear()
    text = run(capsys, hatemoji=folder, config=config)
    assert trainings == []
    assert "Round 7" in text
    assert "CC-BY-4.0" in text
    assert Snippet.objects.count() == Label.objects.count() == 180
    assert Evaluation.objects.count() == 3


@pytest.mark.django_db
def test_what_cannot_be_done_is_said_in_one_line(policy: Policy, tmp_path: Path, capsys: Any) -> None:
    def refused(message: str, **options: Any) -> None:
        with pytest.raises(CommandError, match=message):
            call_command("run_conditions", **options)
        assert not Job.objects.exists()

    refused(r"no finished round of the policy injury; make one with: make demo \(manage.py run_round\)")
    refused("unknown preset 'huge'; known: demo, full, tiny", preset="huge")
    refused("--round: 'x' is no round's id", round="x")
    refused("there is no round 0193a5f2", round="0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e")
    refused("no such folder", hatemoji=tmp_path / "none")
    (tmp_path / "file").write_text("")
    refused(r"--tensorboard: .*file/logs cannot be made: Not a directory", tensorboard=tmp_path / "file" / "logs")
    refused("No such file", config=tmp_path / "none.toml")
    (tmp_path / "wrong.toml").write_text("manual = -1\ntwo = 2")
    refused("manual: must be at least 0; two: there is no such field", config=tmp_path / "wrong.toml")
    corpus = Corpus.objects.create(name="c", path=str(tmp_path))
    round_ = Round.objects.create(name="r", policy=policy, corpus=corpus, config={"labeling": {"adapter": "pull"}})
    refused("r is pending; conditions are trained beside a finished round", round=str(round_.pk))
    Round.objects.update(state="succeeded")
    refused(r"no finished round of the policy injury \(there are some of harm\)")
    refused("r: its labels come from people", policy="harm")
    Round.objects.update(config={})
    refused("r: its stories are no simulated story world", policy="harm")


def test_conditions_have_no_validation_labels_to_stop_by() -> None:
    with pytest.raises(BadInput, match="training: early_stop needs validation labels"):
        condition_settings({"training": {"early_stop": {"patience": 2}}})
