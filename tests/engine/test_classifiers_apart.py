from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.classifiers import Recipe, apart, train
from engine.classifiers.apart import train_apart
from engine.classifiers.request import Request, read_examples, read_request, write_request
from engine.errors import BadInput, Crashed, MissingModel, OutOfMemory, UnknownName
from tests.engine.tiny_encoders import examples, write_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


def recipe(encoder: str, **changes: object) -> Recipe:
    quick = {"encoder": encoder, "epochs": 2, "learning_rate": 5e-3, "max_tokens": 64, "export_int8": False}
    return Recipe.model_validate({**quick, **changes})


def instead_of_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Has the other process run `code` once it has told of some progress; it loads no torch."""
    script = tmp_path / "launch.py"
    script.write_text(f"""
import os, signal, sys, time
from engine.classifiers import run
from engine.errors import BadInput, MissingModel, OutOfMemory
def train(examples, recipe, *, progress, out_dir, **named):
    progress(3, 9)
    {code}
run.train = train
sys.exit(run.main(sys.argv[3:]))
""")
    monkeypatch.setattr(apart, "_launcher", lambda processes: [sys.executable, str(script)])


@pytest.mark.slow
def test_it_gives_what_training_here_gives_and_tells_its_progress(encoder: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    arguments = {"validation": examples(8), "logs": tmp_path / "logs"}
    there = train_apart(
        examples(64),
        recipe(encoder),
        out_dir=tmp_path / "there",
        progress=lambda done, total: seen.append((done, total)),
        **arguments,
    )
    here = train(examples(64), recipe(encoder), out_dir=tmp_path / "here", validation=examples(8))
    files = [(folder / "model.safetensors").read_bytes() for folder in (there.path, here.path)]
    assert files[0] == files[1]
    timed = {"path": None, "seconds": 0, "examples_per_second": 0}
    assert there._replace(**timed) == here._replace(**timed)
    assert there.path == tmp_path / "there"
    assert seen[-1] == (72 + 192, 72 + 192)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert any((tmp_path / "logs").iterdir())
    started = time.monotonic()
    assert train_apart(examples(64), recipe(encoder), out_dir=tmp_path / "there", validation=examples(8)) == there
    assert time.monotonic() - started < 0.5  # nothing is started for what is done


def test_what_needs_no_process_is_refused_without_one(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_run", lambda *_: pytest.fail("started a process"))
    with pytest.raises(BadInput, match="no examples"):
        train_apart([], recipe(encoder), out_dir=tmp_path / "model")
    with pytest.raises(BadInput, match="of one class"):
        train_apart(examples(1), recipe(encoder), out_dir=tmp_path / "model")


@pytest.mark.parametrize(
    ("code", "error", "permanent", "says"),
    [
        ("raise BadInput('is 65', where='max_tokens')", BadInput, True, "max_tokens: is 65"),
        ("raise MissingModel('no weights')", MissingModel, True, "no weights"),
        ("raise OutOfMemory('one example', permanent=True)", OutOfMemory, True, "one example"),
        ("raise MemoryError('no room')", OutOfMemory, False, r"memory ran out \(no room\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", OutOfMemory, False, r"killed \(SIGKILL\)"),
        ("os.abort()", Crashed, False, "died of SIGABRT; its last lines:"),
        ("print('the end', flush=True); os._exit(3)", Crashed, False, "ended with status 3; its last lines:\nthe end"),
        ("raise TypeError('odd')", Crashed, False, "TypeError: odd"),
        ("raise OSError(28, 'No space left on device')", OSError, None, "No space left"),
        ("return", Crashed, False, "ended without a classifier"),
    ],
)
def test_an_end_is_told_as_what_it_was(
    code: str,
    error: type[Exception],
    permanent: bool | None,
    says: str,
    encoder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instead_of_training(monkeypatch, tmp_path, code)
    seen: list[tuple[int, int]] = []
    with pytest.raises(error, match=says) as caught:
        train_apart(
            examples(64),
            recipe(encoder),
            out_dir=tmp_path / "model",
            progress=lambda done, total: seen.append((done, total)),
        )
    assert getattr(caught.value, "permanent", None) == permanent
    assert getattr(caught.value, "where", "") == ("max_tokens" if error is BadInput else "")
    assert seen[-1] == (3, 9)
    assert [path.name for path in tmp_path.iterdir()] == ["launch.py"]


def test_a_caller_who_gives_up_takes_the_process_with_it(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    instead_of_training(monkeypatch, tmp_path, f"{note}; time.sleep(60)")

    class LostLease(Exception):
        pass

    def give_up(done: int, total: int) -> None:
        if (tmp_path / "pid").exists():
            raise LostLease

    with pytest.raises(LostLease):
        train_apart(examples(64), recipe(encoder), out_dir=tmp_path / "model", progress=give_up)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["launch.py", "pid"]


CALLER = """
import sys
from pathlib import Path
from engine.classifiers import apart
from engine.classifiers.request import read_examples, read_request
folder = Path(sys.argv[1])
asked = read_request(folder)
apart._launcher = lambda processes: [sys.executable, str(folder / "launch.py")]
apart.train_apart(read_examples(folder / "examples.jsonl"), asked.recipe, out_dir=asked.out_dir)
"""


def test_the_process_ends_when_its_caller_is_killed(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    instead_of_training(monkeypatch, tmp_path, f"{note}; time.sleep(60)")
    write_request(tmp_path, Request(recipe=recipe(encoder), out_dir=tmp_path / "model"), examples(64))
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path)], cwd=ROOT)
    pid = _eventually(lambda: int((tmp_path / "pid").read_text() or 0) if (tmp_path / "pid").exists() else 0)
    os.kill(pid, 0)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert _eventually(lambda: not _alive(pid))


@pytest.mark.slow
def test_two_processes_train_together_and_one_writes(encoder: str, tmp_path: Path) -> None:
    still = {"dropout": 0, "hidden_dropout": 0, "precision": "fp32", "trainable_layers": None, "learning_rate": 1e-3}
    two = train_apart(
        examples(62),
        recipe(encoder, **still),
        out_dir=tmp_path / "two",
        validation=examples(7),
        checkpoints=tmp_path / "checkpoints",
        processes=2,
    )
    one = train(examples(62), recipe(encoder, **still), out_dir=tmp_path / "one", validation=examples(7))
    assert (two.steps, two.upsampled, two.fingerprint) == (one.steps, one.upsampled, one.fingerprint)
    for ours, theirs in zip(two.curve, one.curve, strict=True):
        assert (ours.step, ours.examples) == (theirs.step, theirs.examples)
        assert ours.training_loss == pytest.approx(theirs.training_loss, abs=1e-4)
    assert two.curve[-1].validation_loss == pytest.approx(one.curve[-1].validation_loss, abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def _eventually(look: object, seconds: float = 60.0) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    return pytest.fail("it did not come to pass")


def test_a_kill_for_want_of_memory_is_known_where_the_system_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "output.txt").write_text("")
    assert str(apart._error(tmp_path, -9, killed=True)).endswith(": the system had no memory left")
    assert "by somebody, or" in str(apart._error(tmp_path, -9, killed=False))
    (tmp_path / "output.txt").write_text("Root Cause:\n  exitcode  : -9 (pid: 7)\n")  # one of several
    assert isinstance(apart._error(tmp_path, 1, killed=False), OutOfMemory)
    (tmp_path / "events").write_text("low 0\noom 3\noom_kill 2\n")
    monkeypatch.setattr(apart, "KILLS", (tmp_path / "absent", tmp_path / "events"))
    assert apart._kills() == 2


# The folder


def test_a_request_comes_back_as_it_was(tmp_path: Path) -> None:
    asked = Request(recipe=Recipe(seed=4, sift={"weight": 2}), out_dir=tmp_path / "model", logs=tmp_path / "logs")
    odd = examples(3)
    odd[1] = odd[1]._replace(snippet=type(odd[1].snippet)("a\u2028b \ud800 c", 'said "x"\nthen'))
    write_request(tmp_path, asked, odd, examples(2))
    assert read_request(tmp_path) == asked
    assert read_examples(tmp_path / "examples.jsonl") == odd
    assert read_examples(tmp_path / "validation.jsonl") == examples(2)


def test_a_request_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"request\.json: cannot be read"):
        read_request(tmp_path)
    (tmp_path / "request.json").write_text(json.dumps({"recipe": {"epochs": 0}, "out_dir": "/x"}))
    with pytest.raises(BadInput, match=r"request\.json: recipe\.epochs: must be at least 1"):
        read_request(tmp_path)
    (tmp_path / "examples.jsonl").write_text('["a", "b", true]\n["a"]\n')
    with pytest.raises(BadInput, match=r"examples\.jsonl:2: is not \[prompt, completion, positive\]"):
        read_examples(tmp_path / "examples.jsonl")


def test_errors_keep_their_kind_on_the_way() -> None:
    said = {"text": "unknown x", "where": "", "errno": None, "permanent": True}
    assert isinstance(apart._typed({**said, "code": "unknown_name"}), UnknownName)
    assert str(apart._typed({**said, "code": "unknown_name"})) == "unknown x"
    other = apart._typed({**said, "code": "engine_error"})
    assert isinstance(other, Crashed)
    assert other.permanent
