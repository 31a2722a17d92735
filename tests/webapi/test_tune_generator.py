"""tune_generator: what it refuses before anything is written, what it prints, and that asking again goes on."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from engine.errors import BadInput
from tests.tuning import RECIPE, in_this_process, story
from webapi.models import Corpus, Generator, Job
from workers import tune as tune_job


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    folder = tmp_path / "tales"
    folder.mkdir()
    for number in range(16):
        (folder / f"{number:02d}.txt").write_text(story(number))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    lines = [f"{name} = {value!r}" for name, value in RECIPE.model_dump(exclude={"fresh", "base", "seed"}).items()
             if value is not None and not isinstance(value, bool)]  # fmt: skip
    sizes = [f"{name} = {value}" for name, value in RECIPE.model_dump()["fresh"].items()]
    file.write_text("\n".join([*lines, "[fresh]", *sizes]))
    return file


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ({"block_tokens": 1}, "", "block_tokens: must be at least 2"),
        ({"seed": -1}, "", "seed: must be at least 0"),
        ({}, "weight_decay = inf", "weight_decay: must be"),
        ({}, "max_grad_norm = inf", "max_grad_norm: must be a"),
        ({"base": "/nowhere"}, "", "no folder at this path"),
        ({}, "stepps = 3", "stepps: there is no such field"),
        ({}, "steps = ", "Invalid value"),
        ({"block_tokens": 300}, "[fresh]\ncontext = 64", "block_tokens: 300 is more than the 64"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    stories: Path, tmp_path: Path, options: dict[str, Any], content: str, message: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(content)
    with pytest.raises(CommandError) as refused:
        call_command("tune_generator", "tales", stories, config=file, **options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Generator.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101])
def test_a_name_that_is_none_is_refused(stories: Path, name: str) -> None:
    with pytest.raises(CommandError, match="name: takes 1 to 100 printable characters"):
        call_command("tune_generator", name, stories)
    assert not Generator.objects.exists()


@pytest.mark.django_db
def test_too_few_stories_are_refused_before_a_job_and_leave_the_name_free(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("One day a man went out. He found a shoe. It was red.")
    with pytest.raises(CommandError, match=r"its only story falls to training .* give it more, or split long files"):
        call_command("tune_generator", "tales", tmp_path)
    assert not Generator.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_folder_without_stories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is no folder at this path"):
        call_command("tune_generator", "tales", tmp_path / "nowhere")
    assert not Corpus.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_tunes_says_what_was_gained_and_goes_on_where_it_failed(
    stories: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(tune_job, "tune_apart", lambda *_, **__: (_ for _ in ()).throw(BadInput("too large")))
        with pytest.raises(CommandError, match="too large"):
            call_command("tune_generator", "tales", stories, config=recipe)
    out = StringIO()
    call_command("tune_generator", "tales", stories, config=recipe, stdout=out)
    row = Generator.objects.get()
    assert row.ready
    assert row.recipe == RECIPE.model_dump(mode="json")
    assert Job.objects.count() == 2
    after = row.metrics["after"]
    assert f"{after['estimate']:.2f} ({after['low']:.2f} to {after['high']:.2f}) after" in out.getvalue()
    assert 'model = "generator:tales"' in out.getvalue()
    with pytest.raises(CommandError, match="has another corpus or recipe"):
        call_command("tune_generator", "tales", stories, config=recipe, seed=7)
