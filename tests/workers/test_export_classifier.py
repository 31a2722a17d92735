"""A classifier as a file: its graph decides as its weights do, or there is no file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from engine.classifiers import Recipe, load, train
from engine.classifiers.loading import read_tokenizer
from engine.classifiers.scoring import Int8Classifier
from tests.sweeping import sweepable, tiny_encoder, work
from tests.webapi.attack_rows import classifier_of
from webapi.models import Classifier, Job, Policy, User
from workers.artifacts import register
from workers.snapshots import examples_of, training_rows

pytestmark = pytest.mark.django_db
Api = Callable[..., APIClient]


@pytest.fixture
def row(policy: Policy, gauntlet_home: Path, tmp_path: Path, settings: Any) -> Classifier:
    settings.JOB_LEASE_SECONDS = 3600
    encoder = tiny_encoder(tmp_path / "encoder")
    snapshot = sweepable(policy, gauntlet_home, encoder)
    examples = examples_of(policy.rules, training_rows(snapshot))
    recipe = Recipe(encoder=str(encoder), epochs=4, learning_rate=1e-2, export_int8=False, max_tokens=32)
    folder = gauntlet_home / "classifiers/tiny"
    train(examples, recipe, out_dir=folder)
    return classifier_of(policy, snapshot=snapshot, artifact=register(folder, "classifier"), precision="fp32")


def test_the_file_holds_a_classifier_that_decides_alike(
    row: Classifier, rita: User, api: Api, tmp_path: Path, gauntlet_home: Path
) -> None:
    client = api(rita)
    asked = client.post(f"/api/v1/classifiers/{row.pk}/export", {"least_equal": 0.5})
    assert (asked.status_code, asked.json()["state"], asked.json()["download_url"]) == (202, "queued", None)
    work()
    export = client.get(f"/api/v1/exports/{asked.json()['id']}").json()
    assert (export["state"], export["error"]) == ("succeeded", "")
    got = APIClient().get(export["download_url"])
    assert got.status_code == 200
    content = b"".join(got.streaming_content)
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert set(found.namelist()) == {"model.onnx", "tokenizer.json", "config.json", "recipe.json", "export.json"}
        found.extractall(tmp_path / "out")
    about = json.loads((tmp_path / "out/export.json").read_text())
    assert (about["classifier"], about["threshold"], about["threshold_logit"]) == (str(row.pk), 0.5, 0.0)
    assert about["artifact_sha256"] == row.artifact.sha256  # type: ignore[union-attr]
    recipe = Recipe.model_validate_json((tmp_path / "out/recipe.json").read_bytes())
    exported = Int8Classifier(tmp_path / "out/model.onnx", read_tokenizer(tmp_path / "out", recipe))
    texts = [one.snippet for one in examples_of(row.policy.rules, training_rows(row.snapshot))]  # type: ignore[arg-type]
    exact = load(row.artifact.file, precision="fp32").logits(texts)  # type: ignore[union-attr]
    equal = int(((exported.logits(texts) < 0) == (exact < 0)).sum())
    assert (about["equal_decisions"]["failures"], about["equal_decisions"]["n"]) == (equal, len(texts))
    Job.objects.filter(pk=export["id"]).update(state="queued")
    work()
    again = client.get(f"/api/v1/exports/{export['id']}").json()
    assert again["result"]["equal_decisions"] == export["result"]["equal_decisions"]
    assert [file.name for file in (gauntlet_home / "exports").iterdir()] == [f"{export['id']}.zip"]


def test_other_decisions_are_no_export(
    row: Classifier, rita: User, api: Api, monkeypatch: pytest.MonkeyPatch, gauntlet_home: Path
) -> None:
    whole = Int8Classifier.logits
    monkeypatch.setattr(Int8Classifier, "logits", lambda *args, **kwargs: np.negative(whole(*args, **kwargs)))
    asked = api(rita).post(f"/api/v1/classifiers/{row.pk}/export").json()
    work()
    export = api(rita).get(f"/api/v1/exports/{asked['id']}").json()
    assert export["state"] == "failed"
    assert "of 24 snippets, less than 0.95" in export["error"]
    assert not list((gauntlet_home / "exports").glob("*.zip"))


def test_who_may_and_what_is_not_ready(row: Classifier, vera: User, rita: User, api: Api) -> None:
    at = f"/api/v1/classifiers/{row.pk}/export"
    assert api(vera).post(at).status_code == 403
    Classifier.objects.filter(pk=row.pk).update(threshold=None)
    refused = api(rita).post(at)
    assert (refused.status_code, refused.json()["code"]) == (409, "classifier_not_calibrated")
    assert not Job.objects.exists()
