"""Upgrades of databases that hold something."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from webapi.models import Batch, Job, Round
from workers.audits import batches_follow
from workers.round_settings import round_settings

LONG_AGO = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def migrated(transactional_db: None) -> Iterator[Any]:
    """`migrated("0003_vendor_moves")`: the database as of then, and the models of that time."""

    def to(name: str) -> Any:
        executor = MigrationExecutor(connection)
        target = [("webapi", name)]
        return executor.migrate(target).apps

    yield to
    call_command("migrate", verbosity=0)


def ended(apps: Any, name: str, state: str, finished_at: datetime | None) -> None:
    policies = apps.get_model("webapi", "Policy").objects
    spec = {"name": "harm", "question": "?", "quality": {"audit_rate": 1}}
    policy, _ = policies.get_or_create(name="harm", defaults={"spec": spec})
    apps.get_model("webapi", "Batch").objects.create(policy=policy, name=name, state=state, finished_at=finished_at)


def followed() -> dict[str, datetime | None]:
    return dict(Batch.objects.values_list("name", "followed_at"))


def test_batches_that_ended_before_anything_followed_them_stay_unfollowed(migrated: Any) -> None:
    old = migrated("0003_vendor_moves")
    ended(old, "done", "done", LONG_AGO)
    ended(old, "cancelled", "cancelled", LONG_AGO)
    ended(old, "when?", "done", None)
    ended(old, "open", "open", None)
    before = timezone.now()
    call_command("migrate", verbosity=0)
    marks = followed()
    unknown = marks.pop("when?")
    assert marks == {"done": LONG_AGO, "cancelled": LONG_AGO, "open": None}
    assert unknown is not None
    assert before - timedelta(seconds=1) < unknown < timezone.now() + timedelta(seconds=1)
    assert batches_follow() == 0
    assert not Job.objects.exists()


def test_what_ended_since_on_a_database_that_follows_batches_is_left_to_the_sweeper(migrated: Any) -> None:
    newer = migrated("0005_webhooks_of_vendors")
    applied = LONG_AGO + timedelta(days=10)
    MigrationRecorder.Migration.objects.filter(name__startswith="0004_", app="webapi").update(applied=applied)
    ended(newer, "before", "done", applied - timedelta(seconds=1))
    ended(newer, "just ended", "done", applied + timedelta(seconds=1))
    call_command("migrate", verbosity=0)
    assert followed() == {"before": applied - timedelta(seconds=1), "just ended": None}
    assert batches_follow() == 1
    assert Job.objects.filter(kind="draw_audits").count() == 1


def test_rounds_that_had_one_attack_have_it_in_their_list(migrated: Any) -> None:
    old = migrated("0008_indexes_that_others_cover")
    policy = old.get_model("webapi", "Policy").objects.create(name="harm", spec={"name": "harm", "question": "?"})
    corpus = old.get_model("webapi", "Corpus").objects.create(name="c", path="/nowhere")
    asked = {"model": "m", "cache_dir": "/somewhere"}
    config = {
        "attack": {
            "name": "paraphrase",
            "paraphraser": {"name": "openai", "config": asked},
            "seeds": 20,
            "wanted": 3,
            "max_draws": 8,
            "test_draws": 4,
        },
        "target_kl": 0.25,
    }
    old.get_model("webapi", "Round").objects.create(name="r", policy=policy, corpus=corpus, config=config)
    call_command("migrate", verbosity=0)
    found = round_settings(Round.objects.get().config)
    (attack,) = found.attacks
    assert (attack.name, attack.title, attack.seeds, attack.start) == ("paraphrase", "paraphrase", 20, "random")
    assert attack.config["paraphraser"] == {"name": "openai", "config": {"model": "m"}}
    assert (attack.config["most"], attack.config["least"], attack.config["max_draws"]) == (3, 3, 8)
    assert (found.held_out.draws, found.held_out.paraphraser.name, found.measuring.seeds) == (4, "openai", 0)
    assert (found.target_kl, found.retrained) == (0.25, "+paraphrases")
