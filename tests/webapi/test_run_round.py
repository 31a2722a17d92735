"""run_round: what it refuses before anything is written, and what a wrong setting of the installation looks like."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from engine.simulation import StoryWorld, story_world
from webapi.models import Corpus, Job, Policy, Round

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]


@pytest.fixture
def home(tmp_path: Path, settings: Any) -> Path:
    settings.GAUNTLET_HOME = tmp_path / "home"
    return tmp_path / "home"


def nothing_is_written(home: Path) -> bool:
    rows = [model.objects.count() for model in (Corpus, Policy, Round, Job)]
    return rows == [0, 0, 0, 0] and not (home / "stories" / "world-0").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seed": "abc"}, "seed: 'abc' is no whole number from 0 to 2147483647"),
        ({"seed": -1}, "seed: '-1' is no whole number from 0 to 2147483647"),
        ({"seed": 2**31}, "seed: '2147483648' is no whole number from 0 to 2147483647"),
        ({"preset": "huge"}, "unknown preset 'huge'; known: demo, full, tiny"),
        ({"resume": True}, "no round waits to go on; start one without RESUME=1 (--resume)"),
    ],
)
def test_wrong_options_are_refused_in_one_line(home: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("run_round", **option)
    assert str(refused.value) == message
    assert nothing_is_written(home)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[sizes]\ncorpus_snippets = 3\n", "sizes.corpus_snippets: must be at least 8"),
        (
            "[selection]\natack = 3\n",
            "selection.atack: there is no such field; known: acquisition, attack, candidates,",
        ),
        ("[generator]\nname = 'gpt-9'\n", "generator: unknown generator 'gpt-9'; known: causal_lm, nearest"),
        (
            "[generator]\nname = 'nearest_continuations'\nconfig = {tmeperature = 1}\n",
            "generator: config of generator nearest_continuations: tmeperature: there is no such field; known: direct",
        ),
        ("[generator]\nname = 'causal_lm'\n", "generator: config of generator causal_lm: model: is required"),
        (
            "[held_out.paraphraser]\nname = 'openai'\nconfig = {model = 'm', top_p = 2}\n",
            "held_out.paraphraser: config of paraphraser openai: top_p: must be at most 1",
        ),
        (
            "[held_out.paraphraser]\nconfig = {keeps = 2}\n",
            "held_out.paraphraser: config of paraphraser story_world: keeps: must be at most 1",
        ),
        (
            "[[attacks]]\nname = 'hypnosis'\n",
            "attacks.0: unknown attack 'hypnosis'; known: filler, paraphrase, rewrite, substitution",
        ),
        (
            "[[attacks]]\nname = 'rewrite'\nconfig = {recipe = 'stew'}\n",
            "attacks.0: unknown recipe 'stew'; known: beam, best_first, filler, greedy, substitution",
        ),
        (
            "[[attacks]]\nname = 'paraphrase'\n[[attacks]]\nname = 'paraphrase'\n",
            "attacks: each attack needs a title of its own; twice: paraphrase",
        ),
        ("precision = 'int4'\n", "precision: must be 'int8', 'fp32' or 'bf16'"),
        ("[training]\nexport_int8 = false\n", "precision int8 needs training.export_int8"),
        ("[training.early_stop]\npatience = 2\n", "training.early_stop: needs validation labels"),
        ("precision = \n", "not a TOML file: Invalid value (at line 1, column 13)"),
    ],
)
def test_wrong_settings_name_their_file_and_field(home: Path, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(CommandError, match=re.escape(f"{file}: {message}")):
        call_command("run_round", config=file)
    assert nothing_is_written(home)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "stories: holds no .txt file"),
        ({"a.md": b"A story."}, "stories: holds no .txt file"),
        ({"a.txt": b"A story.", "b.txt": b"Caf\xe9."}, "b.txt: not UTF-8: byte 0xe9 at byte 3"),
        ({"a.txt": b"\x89PNG\x00"}, "a.txt: not a text file: null byte at byte 4"),
    ],
)
def test_bad_stories_are_refused_before_a_round_is_made(
    home: Path, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    (tmp_path / "stories").mkdir()
    for name, content in files.items():
        (tmp_path / "stories" / name).write_bytes(content)
    with pytest.raises(CommandError, match=re.escape(message)):
        call_command("run_round", stories=tmp_path / "stories")
    assert nothing_is_written(home)


@pytest.mark.django_db
def test_a_policy_that_nobody_can_judge_by_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A story.")
    policy = tmp_path / "rude.toml"
    policy.write_text('name = "rude"\nquestion = "Is it rude?"\n')
    with pytest.raises(CommandError, match=r"^policy rude: simulation\.lexicon: the lexicon judge needs at least one"):
        call_command("run_round", stories=tmp_path, policy=str(policy))
    policy.write_text('name = "rude"\nquestion = "Is it rude?"\n[simulation]\njudge = "jury"\n')
    with pytest.raises(CommandError, match=r"^unknown judge 'jury'; known: lexicon, story_world$"):
        call_command("run_round", stories=tmp_path, policy=str(policy))
    assert nothing_is_written(home)


@pytest.mark.django_db
def test_a_full_disk_names_the_folder_and_leaves_no_part_of_a_world(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = story_world._write, []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)
        written.append(path.exists())

    monkeypatch.setattr(story_world, "_write", full)
    folder = home / "stories" / "world-0"
    message = re.escape(f"the story world cannot be written to {folder}: No space left on device")
    with pytest.raises(CommandError, match=message):
        call_command("run_round")
    assert written == [True] * 3
    assert nothing_is_written(home)


@pytest.mark.django_db
def test_a_world_that_was_there_stays_when_the_disk_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "stories" / "world-0"
    there = StoryWorld(0).write_stories(folder, 2)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(story_world, "_write", full)
    with pytest.raises(CommandError, match="No space left on device"):
        call_command("run_round")
    assert sorted(folder.iterdir()) == there


@pytest.mark.django_db
def test_without_its_broker_no_round_is_made(home: Path, settings: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings.BROKER_URL, settings.EMBEDDED = f"amqp://ana:secret@127.0.0.1:{port}//", False
    with pytest.raises(CommandError, match=rf"^no broker at amqp://ana:\*\*@127\.0\.0\.1:{port}//: .*refused"):
        call_command("run_round")
    assert nothing_is_written(home)


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "BROKER_URL")}
    return {**kept, "GAUNTLET_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("file", "GAUNTLET_HOME='{0}/file': not a folder; set GAUNTLET_HOME to a folder that can be written to"),
        ("file/x", "GAUNTLET_HOME='{0}/file/x': not a folder; set GAUNTLET_HOME to a folder that can be written to"),
    ],
)
def test_a_home_that_is_none_is_named_in_one_line(tmp_path: Path, home: str, message: str) -> None:
    (tmp_path / "file").write_text("kept")
    done = manage("migrate", env=environment(tmp_path / home))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Wrong setting: {message.format(tmp_path)}\n")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("value", ["soon", "0", "nan", "inf"])
def test_a_setting_that_is_no_number_of_seconds_is_named(tmp_path: Path, value: str) -> None:
    done = manage("migrate", env=environment(tmp_path, SWEEP_SECONDS=value))
    assert (done.returncode, done.stderr) == (1, f"Wrong setting: SWEEP_SECONDS={value!r} is not a number of seconds\n")


def test_two_commands_that_begin_together_on_nothing_both_find_their_tables(tmp_path: Path) -> None:
    (tmp_path / "crowd").mkdir()
    (tmp_path / "crowd" / "comments.csv").write_text("comment_id,comment_text\n7,you are kind\n")
    header = "annotation,comment_id,worker,country,all toxic,not toxic\n"
    (tmp_path / "crowd" / "annotations.csv").write_text(header + "1,7,ana,GB,False,True\n")
    command = [*MANAGE, "import_judgements", str(tmp_path / "crowd")]
    both = [
        subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert printed.startswith("Policy toxic v1: 1 snippets, 1 annotators, 1 labels.")


def manage(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MANAGE, *arguments], env=env, capture_output=True, text=True, timeout=300)
