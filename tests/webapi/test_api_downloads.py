"""Downloads of exports: ranges, conditions, and links that work without a token until they expire."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from django.core.signing import TimestampSigner
from rest_framework.test import APIClient, APIRequestFactory

from webapi.api.exports import ExportFile
from webapi.models import Job, JobState, User
from workers.execute import execute

Api = Callable[..., APIClient]
CONTENT = bytes(range(256)) * 400
SIZE = len(CONTENT)
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


class Done(NamedTuple):
    """A finished export, and its two addresses."""

    job: Job
    path: Path
    download: str
    download_url: str


@pytest.fixture
def done(rita: User, api: Api, gauntlet_home: Path) -> Done:
    """An export whose file is known byte by byte."""
    job = api(rita).post("/api/v1/exports", {"what": "labels", "format": "parquet"}).json()
    assert (job["download"], job["download_url"]) == (None, None)
    execute(job["id"])
    row = Job.objects.get()
    path = gauntlet_home / row.result["path"]
    path.write_bytes(CONTENT)
    Job.objects.update(result={**row.result, "sha256": ETAG.strip('"'), "bytes": SIZE})
    told = api(rita).get(f"/api/v1/exports/{job['id']}").json()
    return Done(Job.objects.get(), path, told["download"], told["download_url"])


@pytest.fixture(params=["download", "download_url"])
def get(request: Any, rita: User, api: Api, done: Done) -> Callable[..., Any]:
    """`get(Range="bytes=0-1")`: the file with a token, or by its link without one."""
    client = api(rita) if request.param == "download" else api()

    def ask(method: str = "get", **headers: str) -> Any:
        named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        return getattr(client, method)(getattr(done, request.param), **named)

    return ask


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else bytes(response.content)


def test_the_whole_file(get: Any, done: Done) -> None:
    response = get()
    assert (response.status_code, body(response)) == (200, CONTENT)
    assert response["ETag"] == ETAG
    assert response["Content-Length"] == str(SIZE)
    assert response["Accept-Ranges"] == "bytes"
    assert response["Cache-Control"] == "private, no-cache"
    assert response["Content-Disposition"] == f'attachment; filename="labels-{done.job.pk}.parquet"'
    assert get(accept="text/csv").status_code == 200, "whatever is asked for"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        ("bytes=-300", SIZE - 300, SIZE - 1),
        (f"bytes=-{SIZE + 5}", 0, SIZE - 1),
        (f"bytes={SIZE - 1}-{SIZE + 5}", SIZE - 1, SIZE - 1),
        ("BYTES=5-6", 5, 6),
    ],
)
def test_one_range(get: Any, asked: str, first: int, last: int) -> None:
    response = get(range=asked)
    assert (response.status_code, body(response)) == (206, CONTENT[first : last + 1])
    assert response["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert response["Content-Length"] == str(last - first + 1)
    assert response["ETag"] == ETAG


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"])
def test_a_range_beyond_the_end(get: Any, asked: str) -> None:
    response = get(range=asked)
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response["Content-Range"] == f"bytes */{SIZE}"
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "asked", ["bytes=5-4", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,4-5", "bytes=0-1 x", "0-1"]
)
def test_a_range_that_is_not_understood_is_ignored(get: Any, asked: str) -> None:
    response = get(range=asked)
    assert (response.status_code, body(response)) == (200, CONTENT)


def test_a_range_of_a_file_that_is_another_by_now(get: Any) -> None:
    for stale in ('"other"', f"W/{ETAG}", "Sat, 21 Nov 2026 09:30:00 GMT"):
        response = get(range="bytes=0-1", if_range=stale)
        assert (response.status_code, body(response)) == (200, CONTENT)
    response = get(range="bytes=0-1", if_range=ETAG)
    assert (response.status_code, body(response)) == (206, CONTENT[:2])


def test_conditions(get: Any) -> None:
    for known in (ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"):
        response = get(if_none_match=known, range="bytes=0-1")
        assert (response.status_code, response.content) == (304, b"")
        assert response["ETag"] == ETAG
    assert get(if_none_match='"other"').status_code == 200
    assert get(if_match=ETAG).status_code == 200
    response = get(if_match='"other"')
    assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")


def test_only_the_head(get: Any) -> None:
    response = get("head", range="bytes=0-1")
    assert (response.status_code, response["Content-Length"], response["ETag"]) == (200, str(SIZE), ETAG)


def test_the_head_has_no_body_that_a_server_would_have_to_drop(done: Done) -> None:
    response = ExportFile.as_view()(APIRequestFactory().head(done.download_url), key=done.job.pk)
    assert (response["Content-Length"], body(response)) == (str(SIZE), b"")


def test_an_empty_file_has_no_range(get: Any, done: Done) -> None:
    done.path.write_bytes(b"")
    for asked in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        response = get(range=asked)
        assert (response.status_code, response["Content-Range"]) == (416, "bytes */0")
    assert (get().status_code, body(get())) == (200, b"")


def test_a_link_works_for_an_hour_and_for_its_export_only(
    rita: User, api: Api, done: Done, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = api()
    address, signature = done.download_url.split("?signature=")
    assert stranger.get(done.download).status_code == 401
    other = Job.objects.create(kind="export_rows", state=JobState.SUCCEEDED, args=done.job.args, result=done.job.result)
    imported = Job.objects.create(kind="import_snippets", state=JobState.SUCCEEDED)
    signer = TimestampSigner(salt="export")
    caplog.set_level(logging.DEBUG)
    for wrong in (
        address,
        f"{address}?signature=",
        f"{address}?signature={signature[:-1]}",
        f"{address}?signature={signature}x",
        f"/api/v1/exports/{other.pk}/file?signature={signature}",
        f"/api/v1/exports/{imported.pk}/file?signature={signer.sign(str(imported.pk)).partition(':')[2]}",
        f"{address}?signature={TimestampSigner().sign(str(done.job.pk)).partition(':')[2]}",
        "/api/v1/exports/x/file?signature=y",
    ):
        response = stranger.get(wrong)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), wrong
        assert api(rita).get(wrong).status_code == 404, "a token opens no wrong link"
    with mock.patch("time.time", return_value=done.job.created_at.timestamp() + 3590):
        assert stranger.get(done.download_url).status_code == 200
    with mock.patch("time.time", return_value=done.job.created_at.timestamp() + 3700):
        response = stranger.get(done.download_url)
    assert (response.status_code, response.json()["code"]) == (403, "link_expired")
    assert response["Content-Type"] == "application/problem+json"
    said = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert f"/exports/{done.job.pk}/file" in said, "Django logs the paths of refused requests"
    assert signature not in said
    assert signature[:-1] not in said


def test_a_link_lives_as_long_as_is_set(api: Api, done: Done, settings: Any) -> None:
    settings.EXPORT_LINK_SECONDS = 60
    with mock.patch("time.time", return_value=done.job.created_at.timestamp() + 70):
        assert api().get(done.download_url).status_code == 403


def test_a_file_that_was_cleared_away(get: Any, done: Done) -> None:
    done.path.unlink()
    response = get()
    assert (response.status_code, response.json()["code"]) == (404, "export_gone")
