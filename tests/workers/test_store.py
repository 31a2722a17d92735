"""Artifacts in an S3-compatible store: real requests to a server on loopback, machines without a shared disk, kills."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.exceptions import ImproperlyConfigured
from moto.server import ThreadedMotoServer

from engine.errors import Damaged, StoreError
from tests.driving import WorkerKilled
from webapi import settings as settings_module
from webapi.models import Artifact
from workers import store as store_module
from workers.artifacts import at_hand, register, verified, writing
from workers.store import MANIFEST, NotStored, S3Store

pytestmark = pytest.mark.django_db
SECRET = "sesame-open-7d1f"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A store's address."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of the test's own, named by the settings as an operator would."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gauntlet")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"test-{uuid.uuid4().hex[:12]}"
    found = boto3.resource("s3").create_bucket(Bucket=name)
    settings.GAUNTLET_STORE = f"s3://{name}/lab/one"
    return found


@pytest.fixture
def other_machine(settings: Any, tmp_path: Path) -> Any:
    """`other_machine()`: from here on the code runs where nothing is on the disk yet."""

    def move(name: str = "other") -> Path:
        settings.GAUNTLET_HOME = tmp_path / name
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    return move


def write(home: Path, name: str = "rounds/1/a.txt", text: str = "hello") -> Path:
    path = home / name
    with writing(path) as temporary:
        temporary.write_text(text)
    return path


def write_folder(home: Path, name: str = "rounds/1/classifiers/b", mark: str = "x") -> Path:
    path = home / name
    with writing(path) as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "model.safetensors").write_bytes(mark.encode() * 5000)
        (temporary / "deep" / "recipe.json").write_text(json.dumps({"mark": mark}))
    return path


def keys(bucket: Any) -> list[str]:
    return sorted(one.key for one in bucket.objects.all())


def test_a_file_is_read_where_it_was_not_written(bucket: Any, gauntlet_home: Path, other_machine: Any) -> None:
    row = register(write(gauntlet_home), "text")
    assert keys(bucket) == ["lab/one/rounds/1/a.txt"]
    home = other_machine()
    assert verified(row) == home / "rounds/1/a.txt"
    assert (home / "rounds/1/a.txt").read_text() == "hello"
    assert at_hand(home / "rounds/1/a.txt").read_text() == "hello"
    never = home / "rounds/1/never.txt"
    assert at_hand(never) == never
    assert not never.exists()


def test_a_folder_comes_whole_with_its_manifest_last(
    bucket: Any, gauntlet_home: Path, other_machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    sent(monkeypatch, "put_object", order.append)
    row = register(write_folder(gauntlet_home), "classifier")
    at = "lab/one/rounds/1/classifiers/b"
    assert order == [f"{at}/deep/recipe.json", f"{at}/model.safetensors", f"{at}{MANIFEST}"]
    home = other_machine()
    found = verified(row)
    assert {p.relative_to(found).as_posix(): p.read_bytes() for p in found.rglob("*") if p.is_file()} == {
        "model.safetensors": b"x" * 5000,
        "deep/recipe.json": b'{"mark": "x"}',
    }
    assert [p.name for p in (home / "rounds/1/classifiers").iterdir() if not p.name.endswith(".lock")] == ["b"]


def sent(patch: pytest.MonkeyPatch, name: str, note: Any) -> None:
    """Calls `note` with the key before each request of that kind."""
    client = store_module.store()._s3  # type: ignore[union-attr]
    whole = getattr(client, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        note(kwargs.get("Key") or args[2])
        return whole(*args, **kwargs)

    patch.setattr(client, name, noted)


def test_an_upload_killed_in_its_middle_is_never_seen_and_goes_on(
    bucket: Any, gauntlet_home: Path, other_machine: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    path = write_folder(gauntlet_home)

    def dying(key: str) -> None:
        if key.endswith("model.safetensors"):
            raise WorkerKilled

    with monkeypatch.context() as patch:
        sent(patch, "upload_file", dying)
        with pytest.raises(WorkerKilled):
            register(path, "classifier")
    assert keys(bucket) == ["lab/one/rounds/1/classifiers/b/deep/recipe.json"]
    assert not Artifact.objects.exists()
    unsent = Artifact(path="rounds/1/classifiers/b", sha256="0" * 64, size=1)
    other_machine()
    with pytest.raises(NotStored):
        verified(unsent)
    settings.GAUNTLET_HOME, again = gauntlet_home, []
    sent(monkeypatch, "upload_file", again.append)
    row = register(path, "classifier")
    assert again == ["lab/one/rounds/1/classifiers/b/model.safetensors"], "what had arrived is not sent again"
    other_machine()
    assert (verified(row) / "model.safetensors").read_bytes() == b"x" * 5000


def test_registering_the_same_again_sends_nothing(
    bucket: Any, gauntlet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = write(gauntlet_home), write_folder(gauntlet_home)
    register(file, "text"), register(folder, "classifier")
    again: list[str] = []
    for name in ("upload_file", "put_object"):
        sent(monkeypatch, name, again.append)
    register(file, "text"), register(folder, "classifier")
    assert again == []


def test_another_content_under_the_same_path_reaches_those_who_have_the_old(
    bucket: Any, gauntlet_home: Path, other_machine: Any, settings: Any
) -> None:
    first = register(write_folder(gauntlet_home), "classifier")
    home = other_machine()
    assert (verified(first) / "model.safetensors").read_bytes()[:1] == b"x"
    settings.GAUNTLET_HOME = other_machine("third")
    second = register(write_folder(other_machine("third"), mark="y"), "classifier")
    assert second.pk == first.pk
    settings.GAUNTLET_HOME = home
    assert (verified(second) / "model.safetensors").read_bytes()[:1] == b"y"
    assert json.loads((home / second.path / "deep/recipe.json").read_text()) == {"mark": "y"}


def test_what_was_exchanged_in_the_store_is_refused_and_leaves_nothing(
    bucket: Any, gauntlet_home: Path, other_machine: Any
) -> None:
    row = register(write_folder(gauntlet_home), "classifier")
    bucket.put_object(Key=f"lab/one/{row.path}/model.safetensors", Body=b"x" * 4999 + b"y")
    home = other_machine()
    with pytest.raises(Damaged) as refused:
        verified(row)
    assert refused.value.name == f"{row.path}/model.safetensors"
    wanted = {one["name"]: one["sha256"] for one in row.files}["model.safetensors"]
    assert refused.value.wanted == wanted != refused.value.found
    assert not (home / row.path).exists()
    assert [p for p in home.rglob("*") if p.is_file() and not p.name.endswith(".lock")] == []


def test_a_damaged_copy_is_fetched_anew(bucket: Any, gauntlet_home: Path, other_machine: Any) -> None:
    row = register(write(gauntlet_home), "text")
    other_machine()
    verified(row).write_text("hallo")
    assert verified(row).read_text() == "hello"


def test_a_download_killed_in_its_middle_leaves_nothing_that_is_read(
    bucket: Any, gauntlet_home: Path, other_machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, home = register(write_folder(gauntlet_home), "classifier"), other_machine()

    def dying(key: str) -> None:
        if key.endswith("model.safetensors"):
            raise WorkerKilled

    with monkeypatch.context() as patch:
        client = store_module.store()._s3  # type: ignore[union-attr]
        whole = client.download_file
        patch.setattr(client, "download_file", lambda bucket, key, to: dying(key) or whole(bucket, key, to))
        with pytest.raises(WorkerKilled):
            verified(row)
    assert not (home / row.path).exists()
    assert (verified(row) / "model.safetensors").exists()


def test_a_manifest_may_not_write_elsewhere(bucket: Any, gauntlet_home: Path, other_machine: Any) -> None:
    row, home = register(write_folder(gauntlet_home), "classifier"), other_machine()
    files = [{"name": "../../../../evil.txt", "size": 1, "sha256": "0"}]
    body = json.dumps({"sha256": row.sha256, "size": 1, "files": files}).encode()
    bucket.put_object(Key=f"lab/one/{row.path}{MANIFEST}", Body=body)
    with pytest.raises(StoreError, match="outside of it"):
        verified(row)
    assert not list(home.parent.rglob("evil.txt"))


def test_a_store_that_cannot_be_reached_is_worth_another_try_and_tells_no_secret(
    gauntlet_home: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = S3Store("nowhere", "")
    caplog.set_level(logging.WARNING)
    with pytest.raises(StoreError) as failed:
        away.fetch("a.txt", gauntlet_home / "a.txt")
    assert not failed.value.permanent
    assert "127.0.0.1:9" in str(failed.value)
    assert SECRET not in str(failed.value) + caplog.text
    gone = S3Store(f"missing-{uuid.uuid4().hex[:8]}", "")
    assert gone


@pytest.mark.parametrize("address", ["gs://bucket", "bucket/prefix", "s3://key:secret@bucket", "s3://", "/some/folder"])
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_STORE", address)
    with pytest.raises(ImproperlyConfigured) as refused:
        settings_module._store()
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/prefix/two", "s3://bucket/", ""])
def test_an_address_that_is_one(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_STORE", address)
    assert settings_module._store() == address
