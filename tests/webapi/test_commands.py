"""serve, worker and import_judgements: what they refuse, and what they leave behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.core.management.base import CommandError

from webapi.management.commands.serve import Command as Serve
from webapi.models import Job, Role, User

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
    return {**kept, "GAUNTLET_HOME": str(home)}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_serve_says_that_a_port_is_taken(taken_port: int) -> None:
    said = rf"127\.0\.0\.1:{taken_port}: .*in use; another port: make serve PORT=N \(--port N\)"
    with pytest.raises(CommandError, match=said):
        call_command("serve", port=taken_port)


@pytest.mark.parametrize("port", [-1, 70_000])
def test_serve_refuses_a_port_that_is_none(port: int) -> None:
    with pytest.raises(CommandError, match=f"127.0.0.1:{port}"):
        call_command("serve", port=port)


@pytest.mark.django_db
def test_the_first_admin_is_made_once_and_can_sign_in() -> None:
    out = StringIO()
    command = Serve(stdout=out)
    command._first_admin()
    command._first_admin()
    (admin,) = User.objects.all()
    assert (admin.username, admin.role, admin.is_superuser) == ("admin", Role.ADMIN, True)
    password = out.getvalue().split("password ")[1].split()[0]
    assert authenticate(username="admin", password=password) == admin
    assert out.getvalue().count("password") == 1


@pytest.mark.slow
def test_serve_starts_from_nothing_answers_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    command = [*MANAGE, "serve", "--port", str(port)]
    # Its own session and SIGINT as a terminal would send it: to the whole group.
    server = subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert get(f"http://127.0.0.1:{port}/readyz", until=time.monotonic() + 90) == 200
        assert get(f"http://127.0.0.1:{port}/static/admin/css/base.css") == 200
        os.killpg(server.pid, signal.SIGINT)
        printed, _ = server.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
    assert server.returncode == 0, printed
    first, second = printed.strip().splitlines()
    assert first.startswith("Made the first user: admin, password ")
    assert second.startswith(f"Gauntlet: http://127.0.0.1:{port}/")


def get(url: str, until: float = 0) -> int:
    while True:
        try:
            return int(urllib.request.urlopen(url, timeout=30).status)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_worker_without_a_broker_says_that_none_is_needed() -> None:
    with pytest.raises(CommandError, match="BROKER_URL is not set, so jobs run inside"):
        call_command("worker")


def test_worker_names_the_silent_broker_but_not_its_password(settings) -> None:
    settings.BROKER_URL, settings.EMBEDDED = f"amqp://ana:secret@127.0.0.1:{free_port()}//", False
    with pytest.raises(CommandError, match=r"no broker at amqp://ana:\*\*@127\.0\.0\.1") as refused:
        call_command("worker")
    assert "secret" not in str(refused.value)


def test_worker_lists_the_queues_there_are() -> None:
    with pytest.raises(CommandError, match="unknown queue gpu; known: default, generation, scoring, training"):
        call_command("worker", queues="scoring,gpu")


def judgements(folder: Path, annotations: str) -> Path:
    folder.mkdir()
    (folder / "comments.csv").write_text("comment_id,comment_text\n7,you are kind\n8,you are not\n")
    (folder / "annotations.csv").write_text("annotation,comment_id,worker,country,all toxic,not toxic\n" + annotations)
    return folder


def test_judgements_are_counted_and_a_second_run_adds_none(tmp_path: Path) -> None:
    folder = judgements(tmp_path / "crowd", "1,7,ana,GB,False,True\n2,8,ana,GB,False,False\n3,8,bob,GB,True,True\n")
    command = [*MANAGE, "import_judgements", str(folder)]
    for _ in range(2):
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Policy toxic v1: 2 snippets, 2 annotators, 3 labels.\n")


def test_a_bad_line_of_judgements_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = judgements(tmp_path / "crowd", "1,7,ana,GB,False,True\n2,9,ana,GB,False,False\n")
    command = [*MANAGE, "import_judgements", str(folder)]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "annotations.csv, line 3: no comment 9 in comments.csv" in done.stderr


@pytest.mark.django_db
def test_judgements_want_a_folder_and_a_known_policy(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nowhere: no such folder"):
        call_command("import_judgements", tmp_path / "nowhere")
    with pytest.raises(CommandError, match="unknown policy 'nothing'; known: hateful, injury, toxic"):
        call_command("import_judgements", tmp_path, policy="nothing")
    assert Job.objects.count() == 0
