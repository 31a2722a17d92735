"""A round on PostgreSQL and RabbitMQ with two worker processes; one is killed while scoring, one while training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.cluster import Cluster, settings_file
from workers.rounds import STAGES

pytestmark = [pytest.mark.services, pytest.mark.slow]

SETTINGS: dict[str, Any] = {
    "precision": "fp32",
    "sizes": {"candidates": 700, "corpus_snippets": 2000},
    "training": {"epochs": 8, "export_int8": False},
}
"""Enough to score and to train on that a worker can be met in the middle of it."""


HELD_OUT = """
SELECT snippet_id FROM webapi_roundsnippet WHERE pool IN ('test', 'attack_test')
UNION SELECT f.snippet_id FROM webapi_attackcandidate f JOIN webapi_attack a ON a.id = f.attack_id
    JOIN webapi_consensus c ON c.snippet_id = f.snippet_id WHERE a.role = 'measuring' AND c.choice IN ('Yes', 'No')
UNION SELECT s.snippet_id FROM webapi_attackseed s JOIN webapi_attack a ON a.id = s.attack_id
    JOIN webapi_classifier k ON k.id = a.classifier_id JOIN webapi_roundsnippet m ON m.snippet_id = s.snippet_id
    WHERE m.pool = 'seed' AND k.condition = %s
"""
"""What each classifier scores of text that nobody trains on: the held-out sets, what attacks on either found and people
judged, and the failures that attacks on it start from."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def start_round(cluster: Cluster, tmp_path: Path) -> None:
    config = settings_file(tmp_path / "round.toml", SETTINGS)
    cluster.manage("run_round", "--preset", "tiny", "--config", str(config), "--detach")


def ended(cluster: Cluster) -> list[tuple[Any, ...]]:
    return cluster.ask("SELECT state, error FROM webapi_round WHERE state IN ('succeeded', 'failed', 'cancelled')")


def scores(cluster: Cluster) -> int:
    return int(cluster.ask("SELECT count(*) FROM webapi_score")[0][0])


def test_two_workers_end_a_round_though_two_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    start_round(cluster, tmp_path)
    cluster.start_worker()
    cluster.start_worker()
    training = "SELECT j.worker FROM webapi_job j JOIN webapi_stage s ON s.id = j.stage_id WHERE s.name = %s "
    under_way = training + "AND j.state = 'running' AND j.done > 0"
    (worker,) = cluster.wait_for("training", lambda: cluster.ask(under_way, "train_baseline"), 200)[0]
    cluster.kill_worker_of(worker)
    cluster.start_worker()
    cluster.wait_for("scores", lambda: scores(cluster), 300)
    (worker,) = cluster.wait_for("scoring", lambda: cluster.ask(under_way, "score"), 60)[0]
    partly = scores(cluster)
    cluster.kill_worker_of(worker)
    cluster.start_worker()
    state = cluster.wait_for("the round's end", lambda: ended(cluster), 400)
    assert state == [("succeeded", "")], cluster.stages()
    assert [row[:3] for row in cluster.stages()] == [(spec.name, "succeeded", 1) for spec in STAGES]
    _every_label_once(cluster)
    _every_score_once(cluster, partly)
    assert len({row[0] for row in cluster.ask("SELECT worker FROM webapi_job")}) >= 3, "several workers took part"


def _every_label_once(cluster: Cluster) -> None:
    asked = "SELECT sum(wanted), sum(labelled), sum(taken) FROM webapi_task WHERE rival_id IS "
    wanted, labelled, taken = cluster.ask(asked + "NULL")[0]
    labels, annotated = cluster.ask("SELECT count(*), count(DISTINCT (snippet_id, annotator_id)) FROM webapi_label")[0]
    assert labels == annotated == wanted == labelled == taken
    assert labels > 300
    (preferences,) = cluster.ask("SELECT count(*) FROM webapi_preference")[0]
    assert cluster.ask(asked + "NOT NULL")[0] == (preferences, preferences, preferences)
    assert preferences > 30


def _every_score_once(cluster: Cluster, partly: int) -> None:
    by_classifier = dict(
        cluster.ask(
            "SELECT c.condition, count(*) FROM webapi_score s JOIN webapi_classifier c ON c.id = s.classifier_id "
            "GROUP BY 1"
        )
    )
    pools = dict(cluster.ask("SELECT pool, count(*) FROM webapi_roundsnippet GROUP BY 1"))
    # What could be chosen is scored in files; what was chosen has rows besides.
    (in_files,) = cluster.ask("SELECT sum(count) FROM webapi_scoreshard")[0]
    assert in_files == pools["candidate"] + pools["attack"]
    chosen = (
        "SELECT snippet_id FROM webapi_roundsnippet WHERE selected UNION "
        "SELECT m.snippet_id FROM webapi_roundsnippet m JOIN webapi_consensus c ON c.snippet_id = m.snippet_id "
        "WHERE m.pool = 'initial' AND c.choice = 'Yes' UNION "
    )
    (before,) = cluster.ask(f"SELECT count(*) FROM ({chosen} {HELD_OUT}) held", "baseline")[0]
    (after,) = cluster.ask(f"SELECT count(*) FROM ({HELD_OUT}) held", "+paraphrases")[0]
    assert by_classifier == {"baseline": before, "+paraphrases": after}
    assert 0 < partly < by_classifier["baseline"]
