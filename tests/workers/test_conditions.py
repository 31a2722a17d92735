"""run_conditions beside a tiny finished round, killed in its middle and run again; and on rounds written by people."""
from engine.errors import BadInput

from engine.errors import BadInput
from __future__ import annotations
from engine.errors import BadInput

from engine.errors import BadInput
import json
from engine.errors import BadInput
import re
from engine.errors import BadInput
from datetime import timedelta
from engine.errors import BadInput
from pathlib import Path
from engine.errors import BadInput
from typing import Any
from engine.errors import BadInput

from engine.errors import BadInput
import numpy as np
from engine.errors import BadInput
import pytest
from engine.errors import BadInput
from django.core.management import call_command
from engine.errors import BadInput
from django.core.management.base import CommandError
from engine.errors import BadInput
from django.utils import timezone
from engine.errors import BadInput

from engine.errors import BadInput
from tests.driving import WorkerKilled, drive, fingerprint, new_round
from engine.errors import BadInput
from tests.engine.tiny_encoders import CALM, HARM, PLACES, write_encoder
from engine.errors import BadInput
from tests.story_encoder import write_story_encoder
from engine.errors import BadInput
from webapi.models import (
from engine.errors import BadInput
    Annotator,
from engine.errors import BadInput
    Batch,
from engine.errors import BadInput
    Classifier,
from engine.errors import BadInput
    Consensus,
from engine.errors import BadInput
    Corpus,
from engine.errors import BadInput
    DatasetSnapshot,
from engine.errors import BadInput
    Evaluation,
from engine.errors import BadInput
    Job,
from engine.errors import BadInput
    Label,
from engine.errors import BadInput
    Policy,
from engine.errors import BadInput
    Round,
from engine.errors import BadInput
    Snippet,
from engine.errors import BadInput
)
from engine.errors import BadInput
from workers import condition_training, train
from engine.errors import BadInput
from workers.condition_settings import PRESETS, condition_settings
from engine.errors import BadInput
from workers.condition_steps import Steps
from engine.errors import BadInput
from workers.conditions import TABLE_3
from engine.errors import BadInput
from workers.execute import execute
from engine.errors import BadInput
from workers.report import build
from engine.errors import BadInput
from workers.snapshots import read_snapshot
from engine.errors import BadInput

from engine.errors import BadInput
TINY_ROUND = {
from engine.errors import BadInput
    "corpus_snippets": 500,
from engine.errors import BadInput
    "initial": 90,
from engine.errors import BadInput
    "candidates": 10,
from engine.errors import BadInput
    "test": 50,
from engine.errors import BadInput
    "seeds": 20,
from engine.errors import BadInput
    "validation_prompts": 12,
from engine.errors import BadInput
    "validation_completions": 8,
from engine.errors import BadInput
    "test_completions": 4,
from engine.errors import BadInput
}
from engine.errors import BadInput
TRAINING = {"trainable_layers": None, "learning_rate": 2e-3, "export_int8": False, "precision": "fp32"}
from engine.errors import BadInput
PARAPHRASE = {"most": 3, "least": 3, "least_draws": 8, "max_draws": 8, "batch": 8}
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def tiny_round(home: Path) -> Round:
from engine.errors import BadInput
    encoder = write_story_encoder(home / "encoder")
from engine.errors import BadInput
    attack = {"name": "paraphrase", "config": {**PARAPHRASE, "paraphraser": {"name": "story_world"}}, "seeds": 12}
from engine.errors import BadInput
    round_ = new_round(
from engine.errors import BadInput
        home,
from engine.errors import BadInput
        sizes=TINY_ROUND,
from engine.errors import BadInput
        training={**TRAINING, "encoder": str(encoder), "epochs": 6},
from engine.errors import BadInput
        attacks=[{**attack, "start": "random"}],
from engine.errors import BadInput
        measuring={"seeds": 0},
from engine.errors import BadInput
        selection={"attack": 16, "candidates": 4},
from engine.errors import BadInput
    )
from engine.errors import BadInput
    return drive(round_)
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def left_behind(round_: Round) -> dict[str, Any]:
from engine.errors import BadInput
    """All that the round tells of itself."""
from engine.errors import BadInput
    told = fingerprint(round_)
from engine.errors import BadInput
    told.pop("snippets")  # under its policy, not its own
from engine.errors import BadInput
    return {**told, "report": json.dumps(build(round_), sort_keys=True)}
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def as_before(round_: Round) -> list[tuple[str, str]]:
from engine.errors import BadInput
    """What rounds trained on before there were conditions: hash and choice, in order."""
from engine.errors import BadInput

from engine.errors import BadInput
    def rows(**members: object) -> list[tuple[str, str]]:
from engine.errors import BadInput
        places = round_.members.filter(**members).values("snippet")
from engine.errors import BadInput
        found = Consensus.objects.filter(snippet__in=places).order_by("snippet__content_hash")
from engine.errors import BadInput
        return list(found.values_list("snippet__content_hash", "choice"))
from engine.errors import BadInput

from engine.errors import BadInput
    initial, added = rows(pool="initial"), rows(selected=True)
from engine.errors import BadInput
    order = np.random.default_rng([round_.seed, len(initial)]).permutation(len(initial))
from engine.errors import BadInput
    return [initial[i] for i in sorted(order[: max(len(initial) - len(added), 0)])] + added
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def run(capsys: pytest.CaptureFixture[str], **options: Any) -> str:
from engine.errors import BadInput
    call_command("run_conditions", preset="tiny", **options)
from engine.errors import BadInput
    return capsys.readouterr().out
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
@pytest.fixture
from engine.errors import BadInput
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
from engine.errors import BadInput
    """The folders that something was trained into, or would have been."""
from engine.errors import BadInput
    into: list[str] = []
from engine.errors import BadInput

from engine.errors import BadInput
    def counting(*args: Any, **kwargs: Any) -> Any:
from engine.errors import BadInput
        into.append(kwargs["out_dir"].name)
from engine.errors import BadInput
        return engine_train(*args, **kwargs)
from engine.errors import BadInput

from engine.errors import BadInput
    engine_train = train.train
from engine.errors import BadInput
    monkeypatch.setattr(train, "train", counting)
from engine.errors import BadInput
    return into
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
@pytest.mark.slow
from engine.errors import BadInput
@pytest.mark.django_db(transaction=True)
from engine.errors import BadInput
def test_the_whole_command_killed_and_run_again(
from engine.errors import BadInput
    gauntlet_home: Path,
from engine.errors import BadInput
    capsys: pytest.CaptureFixture[str],
from engine.errors import BadInput
    monkeypatch: pytest.MonkeyPatch,
from engine.errors import BadInput
    trainings: list[str],
from engine.errors import BadInput
) -> None:
from engine.errors import BadInput
    round_ = tiny_round(gauntlet_home)
from engine.errors import BadInput
    assert round_.state == "succeeded", round_.error
from engine.errors import BadInput
    before = left_behind(round_)
from engine.errors import BadInput
    own = {row.condition: row for row in round_.classifiers.all()}
from engine.errors import BadInput
    rows = [(row.content_hash, row.choice) for row in read_snapshot(own["+paraphrases"].snapshot)]
from engine.errors import BadInput
    assert rows == as_before(round_)
from engine.errors import BadInput
    trainings.clear()
from engine.errors import BadInput

from engine.errors import BadInput
    weights = _killed_after_training(round_, monkeypatch)
from engine.errors import BadInput
    assert len(trainings) == 1, "the round's baseline is the conditions' too"
from engine.errors import BadInput
    told = json.loads(run(capsys, round=str(round_.pk), json=True))
from engine.errors import BadInput
    assert weights.stat().st_mtime_ns == _written(weights), "trained once"
from engine.errors import BadInput
    assert len(trainings) == 4, "asked for once more after the kill, and found finished"
from engine.errors import BadInput
    _the_conditions_are_the_papers(round_, told, own)
from engine.errors import BadInput
    _what_was_written_has_its_lineage(round_)
from engine.errors import BadInput
    assert left_behind(Round.objects.get(pk=round_.pk)) == before
from engine.errors import BadInput

from engine.errors import BadInput
    trainings.clear()
from engine.errors import BadInput
    assert json.loads(run(capsys, json=True)) == told
from engine.errors import BadInput
    assert trainings == []
from engine.errors import BadInput
    assert DatasetSnapshot.objects.filter(round=None).count() == 4
from engine.errors import BadInput
    assert not Job.objects.filter(state__in=["queued", "running", "failed"], stage=None).exists()
from engine.errors import BadInput
    _the_tables_say_it(run(capsys), told)
from engine.errors import BadInput
    _conditions_of_ones_own(round_, gauntlet_home, capsys)
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
_mtimes: dict[Path, int] = {}
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _written(weights: Path) -> int:
from engine.errors import BadInput
    return _mtimes[weights]
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _killed_after_training(round_: Round, monkeypatch: pytest.MonkeyPatch) -> Path:
from engine.errors import BadInput
    """Goes on until +manual is trained, and dies before the database knows of it. Answers where its weights lie."""
from engine.errors import BadInput
    steps = Steps(round_.policy, condition_settings(PRESETS["tiny"]), round_.seed, round_)
from engine.errors import BadInput

from engine.errors import BadInput
    def die(path: Path, kind: str) -> None:
from engine.errors import BadInput
        raise WorkerKilled
from engine.errors import BadInput

from engine.errors import BadInput
    def go_on() -> None:
from engine.errors import BadInput
        for step in steps.table_3():
from engine.errors import BadInput
            jobs = step.queue()
from engine.errors import BadInput
            for job in jobs:
from engine.errors import BadInput
                assert execute(job.pk)
from engine.errors import BadInput
                job.refresh_from_db()
from engine.errors import BadInput
                assert job.state == "succeeded", job.error
from engine.errors import BadInput
            step.take(jobs)
from engine.errors import BadInput

from engine.errors import BadInput
    with monkeypatch.context() as patch:
from engine.errors import BadInput
        patch.setattr(condition_training, "register", die)
from engine.errors import BadInput
        with pytest.raises(WorkerKilled):
from engine.errors import BadInput
            go_on()
from engine.errors import BadInput
    left = Job.objects.get(state="running")
from engine.errors import BadInput
    assert left.args["condition"]["name"] == "+manual"
from engine.errors import BadInput
    Job.objects.filter(pk=left.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
from engine.errors import BadInput
    (weights,) = (Path(round_.corpus.path).parent / "classifiers").glob("*/*/model.safetensors")
from engine.errors import BadInput
    _mtimes[weights] = weights.stat().st_mtime_ns
from engine.errors import BadInput
    return weights
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _the_conditions_are_the_papers(round_: Round, told: dict[str, Any], own: dict[str, Classifier]) -> None:
from engine.errors import BadInput
    found = {one["name"]: one for one in told["conditions"]}
from engine.errors import BadInput
    assert tuple(found) == TABLE_3
from engine.errors import BadInput
    assert told["simulated"].startswith("Simulated:")
from engine.errors import BadInput
    assert {one["size"] for one in found.values()} == {TINY_ROUND["initial"]}
from engine.errors import BadInput
    assert found["baseline"]["classifier"] == str(own["baseline"].pk)
from engine.errors import BadInput
    assert found["baseline"]["content_hash"] == own["baseline"].snapshot.content_hash
from engine.errors import BadInput
    names = ["initial", "manual", "paraphrases", "tool-assisted"]
from engine.errors import BadInput
    for i, one in enumerate(found.values()):
from engine.errors import BadInput
        assert list(one["datasets"]) == names[: i + 1]
from engine.errors import BadInput
        assert all(dataset["rows"] > 0 for dataset in one["datasets"].values())
from engine.errors import BadInput
        assert sum(dataset["rows"] for dataset in one["datasets"].values()) == one["size"]
from engine.errors import BadInput
        _is_measured(one["results"])
from engine.errors import BadInput
        rows = read_snapshot(DatasetSnapshot.objects.get(pk=one["snapshot"]))
from engine.errors import BadInput
        assert {row.split for row in rows} == {"train"}
from engine.errors import BadInput
        held_out = round_.members.filter(snippet__split="test").values_list("snippet__root_hash", flat=True)
from engine.errors import BadInput
        assert not {row.root_hash for row in rows} & set(held_out)
from engine.errors import BadInput
    sizes = {name: found["+tool-assisted"]["datasets"][name]["rows"] for name in names[1:]}
from engine.errors import BadInput
    for one in found.values():
from engine.errors import BadInput
        assert {name: held["rows"] for name, held in one["datasets"].items() if name in sizes}.items() <= sizes.items()
from engine.errors import BadInput
    parents = dict(Classifier.objects.filter(round=None).values_list("condition", "parent"))
from engine.errors import BadInput
    assert parents == dict.fromkeys(TABLE_3[1:], own["baseline"].pk)
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _is_measured(results: dict[str, Any]) -> None:
from engine.errors import BadInput
    sampled, prompts = results["proposals_rejected"], results["without_completion"]
from engine.errors import BadInput
    assert prompts["n"] == 20 == PRESETS["tiny"]["prompts"]
from engine.errors import BadInput
    assert prompts["failures"] == len(results["prompts_without_completion"])
from engine.errors import BadInput
    accepted = sampled["n"] - sampled["failures"]
from engine.errors import BadInput
    assert accepted == prompts["n"] - prompts["failures"]
from engine.errors import BadInput
    assert sampled["n"] <= 20 * PRESETS["tiny"]["tries"]
from engine.errors import BadInput
    calibration = results["calibration"]
from engine.errors import BadInput
    assert calibration["logit_low"] <= calibration["logit"] <= calibration["logit_high"]
from engine.errors import BadInput
    for rate in (sampled, prompts, results["random_rejected"], results["held_out"]["fnr"], results["held_out"]["fpr"]):
from engine.errors import BadInput
        assert 0 <= rate["low"] <= rate["high"] <= 1
from engine.errors import BadInput
    assert results["assessment"]["fnr"]["n"] + results["assessment"]["fpr"]["n"] == results["assessment"]["n"]
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _what_was_written_has_its_lineage(round_: Round) -> None:
from engine.errors import BadInput
    batches = {row.name.rpartition(": ")[2]: row for row in Batch.objects.filter(round=None, evaluation=None)}
from engine.errors import BadInput
    assert set(batches) == {"manual, by simulated contractors", "tool-assisted, by simulated contractors"}
from engine.errors import BadInput
    for name, batch in batches.items():
from engine.errors import BadInput
        assert (batch.state, batch.adapter, batch.config["seed"]) == ("done", "simulated", round_.seed)
from engine.errors import BadInput
        snippets = [task.snippet for task in batch.tasks.select_related("snippet__parent", "snippet__author")]
from engine.errors import BadInput
        assert {one.split for one in snippets} == {"train"}
from engine.errors import BadInput
        assert not round_.members.filter(snippet__in=snippets).exists()
from engine.errors import BadInput
        for one in snippets:
from engine.errors import BadInput
            assert Label.objects.filter(snippet=one, annotator__vendor="simulated").exists()
from engine.errors import BadInput
            assert one.consensus.labels >= 1
from engine.errors import BadInput
            if name.startswith("manual"):
from engine.errors import BadInput
                assert (one.parent, one.source, one.details["simulated"]) == (None, "manual", True)
from engine.errors import BadInput
            else:
from engine.errors import BadInput
                assert (one.source, one.parent.split) == ("rewrite", "train")
from engine.errors import BadInput
    writers = set(Annotator.objects.filter(vendor="simulated contractors").values_list("simulated", flat=True))
from engine.errors import BadInput
    assert writers == {True}
from engine.errors import BadInput
    assert Snippet.objects.filter(author__vendor="simulated contractors").exists()
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _the_tables_say_it(text: str, told: dict[str, Any]) -> None:
from engine.errors import BadInput
    assert "Simulated:" in text
from engine.errors import BadInput
    for one in told["conditions"]:
from engine.errors import BadInput
        assert len(re.findall(rf"^{re.escape(one['name'])} ", text, re.M)) == 3
from engine.errors import BadInput
    sampled = told["conditions"][1]["results"]["proposals_rejected"]
from engine.errors import BadInput
    assert f"{sampled['failures']} of {sampled['n']}" in text
from engine.errors import BadInput
    assert max(map(len, text.splitlines())) <= 140
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def _conditions_of_ones_own(round_: Round, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
from engine.errors import BadInput
    file = home / "conditions.toml"
from engine.errors import BadInput
    file.write_text(
from engine.errors import BadInput
        f"""
from engine.errors import BadInput
        [composing]
from engine.errors import BadInput
        oversample = 3
from engine.errors import BadInput
        [[conditions]]
from engine.errors import BadInput
        name = "mine"
from engine.errors import BadInput
        [[conditions.datasets]]
from engine.errors import BadInput
        name = "first"
from engine.errors import BadInput
        initial = true
from engine.errors import BadInput
        round = "{round_.pk}"
from engine.errors import BadInput
        pools = ["initial"]
from engine.errors import BadInput
        [[conditions.datasets]]
from engine.errors import BadInput
        name = "by hand"
from engine.errors import BadInput
        sources = ["manual"]
from engine.errors import BadInput
        """
from engine.errors import BadInput
    )
from engine.errors import BadInput
    (one,) = json.loads(run(capsys, config=file, json=True))["conditions"]
from engine.errors import BadInput
    by_hand = one["datasets"]["by hand"]["rows"]
from engine.errors import BadInput
    assert (one["name"], one["size"], one["oversampled"]) == ("mine", TINY_ROUND["initial"], 3)
from engine.errors import BadInput
    assert one["results"]["training"]["examples"] == one["size"] + 2 * by_hand
from engine.errors import BadInput
    file.write_text('[[conditions]]\nname = "none"\n[[conditions.datasets]]\nname = "nothing"\nsources = ["adversary"]')
from engine.errors import BadInput
    with pytest.raises(CommandError, match="none: no labelled snippets to train on"):
from engine.errors import BadInput
        run(capsys, config=file)
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def line(number: int, text: str, matched: int, *, label: int, round_: int) -> str:
from engine.errors import BadInput
    kind = "original" if number % 2 == 0 else "perturbation"
from engine.errors import BadInput
    return f'{number},"{text}",none,[],{round_},{round_}a,{kind},train,{label},"x",{matched}'
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def hatemoji(folder: Path, pairs: int = 30) -> Path:
from engine.errors import BadInput
    """Rounds 5, 6 and 7 in a world where what is done to the girl decides."""
from engine.errors import BadInput
    folder.mkdir()
from engine.errors import BadInput
    lines = ["entry_id,text,type,target,round.base,round.set,set,split,label_gold,matched_text,matched_id"]
from engine.errors import BadInput
    number = 0
from engine.errors import BadInput
    for round_ in (5, 6, 7):
from engine.errors import BadInput
        for i in range(pairs):
from engine.errors import BadInput
            for verb, label in ((HARM[i % 4], 1), (CALM[i % 4], 0)):
from engine.errors import BadInput
                who = ("baker", "knight")[i % 2]
from engine.errors import BadInput
                text = f"In the {PLACES[i % 8]} the {who} {verb} a girl. The old man {number} went by."
from engine.errors import BadInput
                matched = number + 1 if number % 2 == 0 else number - 1
from engine.errors import BadInput
                lines.append(line(number, text, matched, label=label, round_=round_))
from engine.errors import BadInput
                number += 1
from engine.errors import BadInput
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
from engine.errors import BadInput
    for name in ("validation", "test"):
from engine.errors import BadInput
        (folder / f"{name}.csv").write_text(lines[0] + "\n")
from engine.errors import BadInput
    return folder
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
@pytest.mark.django_db(transaction=True)
from engine.errors import BadInput
def test_rounds_written_by_people(
from engine.errors import BadInput
    gauntlet_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trainings: list[str]
from engine.errors import BadInput
) -> None:
from engine.errors import BadInput
    folder, config = hatemoji(tmp_path / "hatemoji"), tmp_path / "config.toml"
from engine.errors import BadInput
    encoder = write_encoder(gauntlet_home / "encoder")
from engine.errors import BadInput
    lines = [f"{key} = {json.dumps(value)}" for key, value in TRAINING.items() if value is not None]
from engine.errors import BadInput
    config.write_text("\n".join(["[training]", f'encoder = "{encoder}"', "max_tokens = 64", "epochs = 2", *lines]))
from engine.errors import BadInput
    told = json.loads(run(capsys, hatemoji=folder, config=config, json=True))
from engine.errors import BadInput
    assert [one["name"] for one in told["conditions"]] == ["5", "5+6", "5+6+7"]
from engine.errors import BadInput
    assert len(trainings) == 3
from engine.errors import BadInput
    assert Snippet.objects.count() == Label.objects.count() == Consensus.objects.count() == 180
from engine.errors import BadInput
    for i, one in enumerate(told["conditions"]):
from engine.errors import BadInput
        assert list(one["datasets"]) == ["round 5", "round 6", "round 7"][: i + 1]
from engine.errors import BadInput
        rows = read_snapshot(DatasetSnapshot.objects.get(pk=one["snapshot"]))
from engine.errors import BadInput
        in_train = Snippet.objects.filter(split="train", details__hatemoji__in=[5, 6, 7][: i + 1])
from engine.errors import BadInput
        assert one["size"] + one["dropped"] == in_train.count()
from engine.errors import BadInput
        assert len(rows) == one["size"]
from engine.errors import BadInput
        results = one["results"]
from engine.errors import BadInput
        assert list(results["rounds"]) == ["5", "6", "7"]
from engine.errors import BadInput
        assert sum(found["fnr"]["n"] for found in results["rounds"].values()) == results["fnr"]["n"]
from engine.errors import BadInput
        accepted = results["acceptance"]["accepted"]
from engine.errors import BadInput
        assert accepted["failures"] / accepted["n"] >= 0.9
from engine.errors import BadInput
    for child in Snippet.objects.exclude(parent=None).select_related("parent"):
from engine.errors import BadInput
        assert (child.split, child.root_hash) == (child.parent.split, child.parent.root_hash)
from engine.errors import BadInput
    trainings.clear()
from engine.errors import BadInput
    text = run(capsys, hatemoji=folder, config=config)
from engine.errors import BadInput
    assert trainings == []
from engine.errors import BadInput
    assert "Round 7" in text
from engine.errors import BadInput
    assert "CC-BY-4.0" in text
from engine.errors import BadInput
    assert Snippet.objects.count() == Label.objects.count() == 180
from engine.errors import BadInput
    assert Evaluation.objects.count() == 3
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
@pytest.mark.django_db
from engine.errors import BadInput
def test_what_cannot_be_done_is_said_in_one_line(policy: Policy, tmp_path: Path, capsys: Any) -> None:
from engine.errors import BadInput
    def refused(message: str, **options: Any) -> None:
from engine.errors import BadInput
        with pytest.raises(CommandError, match=message):
from engine.errors import BadInput
            call_command("run_conditions", **options)
from engine.errors import BadInput
        assert not Job.objects.exists()
from engine.errors import BadInput

from engine.errors import BadInput
    refused(r"no finished round of the policy injury; make one with: make demo \(manage.py run_round\)")
from engine.errors import BadInput
    refused("unknown preset 'huge'; known: demo, full, tiny", preset="huge")
from engine.errors import BadInput
    refused("--round: 'x' is no round's id", round="x")
from engine.errors import BadInput
    refused("there is no round 0193a5f2", round="0193a5f2-7c1e-7b3a-9d2f-4e5a6b7c8d9e")
from engine.errors import BadInput
    refused("no such folder", hatemoji=tmp_path / "none")
from engine.errors import BadInput
    refused("No such file", config=tmp_path / "none.toml")
from engine.errors import BadInput
    (tmp_path / "wrong.toml").write_text("manual = -1\ntwo = 2")
from engine.errors import BadInput
    refused("manual: must be at least 0; two: there is no such field", config=tmp_path / "wrong.toml")
from engine.errors import BadInput
    corpus = Corpus.objects.create(name="c", path=str(tmp_path))
from engine.errors import BadInput
    round_ = Round.objects.create(name="r", policy=policy, corpus=corpus, config={"labeling": {"adapter": "pull"}})
from engine.errors import BadInput
    refused("r is pending; conditions are trained beside a finished round", round=str(round_.pk))
from engine.errors import BadInput
    Round.objects.update(state="succeeded")
from engine.errors import BadInput
    refused(r"no finished round of the policy injury \(there are some of harm\)")
from engine.errors import BadInput
    refused("r: its labels come from people", policy="harm")
from engine.errors import BadInput
    Round.objects.update(config={})
from engine.errors import BadInput
    refused("r: its stories are no simulated story world", policy="harm")
from engine.errors import BadInput

from engine.errors import BadInput

from engine.errors import BadInput
def test_conditions_have_no_validation_labels_to_stop_by() -> None:
from engine.errors import BadInput
    with pytest.raises(BadInput, match="training: early_stop needs validation labels"):
from engine.errors import BadInput
        condition_settings({"training": {"early_stop": {"patience": 2}}})
from engine.errors import BadInput
