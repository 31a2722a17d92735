"""Tokens, the API's description, health, figures for Prometheus, the admin and the commands about people."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django.utils.timezone import datetime
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from webapi.api import prometheus
from webapi.api.health import CHECKS
from webapi.api.urls import router
from webapi.models import ApiToken, Job, Policy, Role, User
from webapi.permissions import TOKEN_ROLES
from workers.webhooks import BACKOFF_SECONDS, EVENTS, PING, TIMEOUT_SECONDS

Api = Callable[..., APIClient]


# Tokens


def test_a_token_is_made_used_and_revoked(rita: User, api: Api) -> None:
    client = api(rita)
    made = client.post("/api/v1/tokens", {"name": "nightly", "days": 7}).json()
    row = ApiToken.objects.get(name="nightly")
    assert row.digest == ApiToken.digest_of(made["token"])
    assert made["token"] not in str(ApiToken.objects.values())
    assert timedelta(days=6) < row.expires_at - timezone.now() <= timedelta(days=7)
    with_it = APIClient()
    with_it.credentials(HTTP_AUTHORIZATION=f"Bearer {made['token']}")
    assert with_it.get("/api/v1/me").json()["token"] == str(row.pk)
    row.refresh_from_db()
    assert row.last_used_at is not None
    listed = client.get("/api/v1/tokens").json()["results"]
    assert all("token" not in one and "digest" not in one for one in listed)
    revoked = client.post(f"/api/v1/tokens/{row.pk}/revoke")
    assert revoked.json()["revoked_at"] is not None
    assert with_it.get("/api/v1/me").status_code == 401
    assert client.post(f"/api/v1/tokens/{row.pk}/revoke").json()["code"] == "token_revoked"


def test_an_expired_token_or_a_shut_account_is_401(rita: User, api: Api) -> None:
    client = api(rita)
    ApiToken.objects.update(expires_at=timezone.now())
    assert client.get("/api/v1/me").status_code == 401
    client = api(rita)
    User.objects.update(is_active=False)
    assert client.get("/api/v1/me").status_code == 401


def test_tokens_are_ones_own_even_for_admins(rita: User, ada: User, api: Api) -> None:
    token = ApiToken.issue(user=rita, name="hers").row
    assert api(ada).get(f"/api/v1/tokens/{token.pk}").status_code == 404
    assert api(ada).post(f"/api/v1/tokens/{token.pk}/revoke").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.parametrize("role", Role.values)
def test_a_token_may_do_no_more_than_its_maker(db: None, api: Api, role: str) -> None:
    client = api(User.objects.create_user(username=role, role=role))
    for wanted in Role.values:
        status = client.post("/api/v1/tokens", {"name": "n", "role": wanted}).status_code
        assert status == (201 if wanted in TOKEN_ROLES[role] else 403), wanted
    assert set(ApiToken.objects.filter(name="n").values_list("role", flat=True)) == TOKEN_ROLES[role]


def test_a_lesser_token_makes_no_greater_one(rita: User, api: Api) -> None:
    response = api(rita, role=Role.VIEWER).post("/api/v1/tokens", {"name": "n", "role": Role.RESEARCHER})
    assert (response.status_code, response.json()["code"]) == (403, "role_not_allowed")
    assert not ApiToken.objects.filter(name="n").exists()


def test_the_use_of_a_token_is_noted_once_a_minute(rita: User, api: Api) -> None:
    client = api(rita)
    client.get("/api/v1/me")
    noted = ApiToken.objects.get().last_used_at
    client.get("/api/v1/me")
    assert ApiToken.objects.get().last_used_at == noted
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    client.get("/api/v1/me")
    assert ApiToken.objects.get().last_used_at > noted


# The description


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation) for path, item in schema["paths"].items() for method, operation in item.items()
    ]


def test_the_description_is_valid_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"] == "3.1.0"
    validate_schema(schema)


def test_every_resource_is_described(schema: dict[str, Any]) -> None:
    described = {path.split("/")[3] for path in schema["paths"]}
    assert described == {prefix for prefix, _, _ in router.registry}


def test_every_operation_has_an_example_words_and_problems(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        contents = [content for body in bodies for content in body.get("content", {}).values()]
        assert any("examples" in content for content in contents), name
        assert operation["description"], name
        assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}, name


def test_every_changing_operation_takes_an_idempotency_key(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        takes = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
        changes = name.startswith("post") and not name.endswith(("/score", "/sample", "/filter"))
        assert takes == changes, name


def test_every_event_of_webhooks_is_described(schema: dict[str, Any]) -> None:
    """What they say is checked against it where they are told: `tests/workers/test_webhook_events.py`."""
    assert schema["webhooks"].keys() == {*EVENTS, PING}
    text = schema["webhooks"]["round.finished"]["post"]["description"]
    waits = [f"{wait} s" if wait < 60 else f"{wait // 60} min" for wait in BACKOFF_SECONDS if wait < 3600]
    waits += [f"{wait // 3600} h" for wait in BACKOFF_SECONDS if wait >= 3600]
    assert f"after {', '.join(waits[:-1])} and {waits[-1]}," in " ".join(text.split())
    assert f"within {TIMEOUT_SECONDS} s" in text


def test_operations_are_named_once(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(schema)]
    assert len(set(names)) == len(names)
    assert {"rounds_pause", "tasks_lease", "labels_create", "me"} <= set(names)


def test_the_schema_and_its_pages_come_from_here(db: None) -> None:
    client = Client()
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/").content.decode()
    assert "swagger-ui" in page
    assert "https://" not in page.replace("https://github.com/swagger-api", "")


# Health


def test_alive(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready(db: None, client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "broker": "none"},
    }


def test_not_ready_without_the_broker(db: None, client: Client, settings: Any) -> None:
    settings.BROKER_URL = "amqp://127.0.0.1:1//"
    response = client.get("/readyz")
    assert (response.status_code, response.json()["checks"]["broker"]) == (503, "not reached")


def test_not_ready_without_a_migration(db: None, client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'webapi'")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["migrations"].endswith("not applied")


def test_every_check_has_a_name_in_the_answer(db: None, client: Client) -> None:
    assert client.get("/readyz").json()["checks"].keys() == CHECKS.keys()


# Prometheus


def test_figures_for_prometheus(rita: User, client: Client, api: Api, policy: Policy, monkeypatch: Any) -> None:
    monkeypatch.setattr(prometheus._DATABASE, "_counted_at", float("-inf"))
    Job.objects.create(kind="stage", queue="training", state="queued")
    api(rita).get(f"/api/v1/policies/{policy.pk}")
    response = client.get("/metrics")
    assert response["Content-Type"].startswith("text/plain")
    text = response.content.decode()
    assert 'gauntlet_jobs{queue="training",state="queued"} 1.0' in text
    assert "gauntlet_labels 0.0" in text
    assert "gauntlet_tasks_open 0.0" in text
    assert 'gauntlet_request_seconds_count{method="GET",route="api/v1/policies/(?P<pk>[^/.]+)$",status="200"}' in text
    assert str(policy.pk) not in text
    Job.objects.all().delete()
    assert 'queue="training"' in client.get("/metrics").content.decode(), "counted again at once"


# People


def test_the_admin_shows_every_table_and_changes_none(db: None, client: Client, policy: Policy) -> None:
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    for model in admin.site._registry:
        response = client.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/")
        assert response.status_code == 200, model
    assert client.get(f"/admin/webapi/policy/{policy.pk}/change/").status_code == 200
    assert client.post(f"/admin/webapi/policy/{policy.pk}/delete/").status_code == 403
    assert client.get("/admin/webapi/policy/add/").status_code == 403
    assert Policy.objects.count() == 1


def test_users_are_made_and_changed_by_command(db: None) -> None:
    call_command("create_user", "rosa", "--role", "researcher", "--password", "correct horse battery")
    rosa = User.objects.get(username="rosa")
    assert (rosa.role, rosa.is_superuser, rosa.check_password("correct horse battery")) == ("researcher", False, True)
    call_command("create_user", "rosa", "--role", "admin", "--no-password")
    rosa.refresh_from_db()
    assert (rosa.role, rosa.is_superuser, rosa.has_usable_password()) == ("admin", True, False)
    with pytest.raises(CommandError, match="too short"):
        call_command("create_user", "sam", "--password", "short")
    assert not User.objects.filter(username="sam").exists()


def test_tokens_are_made_by_command(acme: User) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("create_token", "acme", "--days", "3", stdout=out, stderr=err)
    token = ApiToken.find_live(out.getvalue().strip())
    assert token is not None
    assert (token.user, token.role) == (acme, Role.VENDOR)
    assert f"{datetime.now() + timedelta(days=3):%Y}" in err.getvalue()
    for arguments, says in (
        (["nobody"], "create_user"),
        (["acme", "--days", "0"], "between 1 and 365"),
        (["acme", "--role", "admin"], "may have the role vendor"),
    ):
        with pytest.raises(CommandError, match=says):
            call_command("create_token", *arguments, stdout=out, stderr=err)
    assert ApiToken.objects.count() == 1
