"""What a newcomer is told holds: files named in the README exist, variables are documented, the lock draws no CUDA."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from workers.app import QUEUES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
CODE = [
    path for package in ("engine", "labeling_adapters", "webapi", "workers") for path in (ROOT / package).rglob("*.py")
]
READ_VARIABLE = re.compile(r"""(?:env_\w+\(|environ(?:\.get\(|\[))"([A-Z_]+)\"""")
LOCKED = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE))


def tree_of_readme() -> list[str]:
    """Paths in the README's file tree."""
    tree = re.search(r"^```\n\.\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert tree is not None
    paths, folder = [], ""
    for indent, name in re.findall(r"^(│?   )?[├└]── (\S+)", tree[1], re.MULTILINE):
        paths.append(folder + name if indent else name)
        folder = folder if indent else name
    return paths


def test_every_path_of_the_readmes_tree_exists() -> None:
    paths = tree_of_readme()
    assert {"engine/", "engine/policies/", "docs/decisions/", "requirements.lock"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readmes_tree_names_every_folder_of_the_engine() -> None:
    folders = {f"engine/{path.parent.name}/" for path in (ROOT / "engine").glob("*/__init__.py")}
    assert folders - set(tree_of_readme()) == set()


def test_every_picture_of_the_readme_exists() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert [picture for picture in pictures if not (ROOT / picture).is_file()] == []


def test_every_environment_variable_is_documented() -> None:
    read = {name for path in CODE for name in READ_VARIABLE.findall(path.read_text(encoding="utf-8"))}
    read -= {"DJANGO_SETTINGS_MODULE", "OMP_WAIT_POLICY", "PYTHONPATH"}
    read -= {"WORLD_SIZE"}  # set by `accelerate launch`
    assert {"DATABASE_URL", "JOB_LEASE_SECONDS", "ALLOWED_HOSTS"} <= read
    assert {name for name in read if f"| `{name}` |" not in README} == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_make_target_that_is_named_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\b&& )make ([a-z-]+)", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE))
    assert named - targets == set()


def test_the_lock_leaves_torch_and_cuda_out() -> None:
    assert [name for name in LOCKED if re.match(r"nvidia|triton|cuda|torch$", name)] == []
    assert "--no-emit-package torch" in LOCK


def test_every_locked_package_has_a_hash() -> None:
    blocks = re.split(r"^(?=[a-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(LOCKED) > 100
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_holds_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[<>=~! ]", line)[0].lower() for line in asked} - {"torch"}
    assert names - set(LOCKED) == set()


def test_make_bench_runs_every_benchmark_quickly_or_in_full() -> None:
    scripts = sorted((ROOT / "benchmarks").glob("[!_]*.py"))
    assert scripts
    assert "for script in benchmarks/[a-z]*.py" in MAKEFILE
    assert [path.name for path in scripts if not path.name[0].islower()] == []
    assert [path.name for path in scripts if '"--quick"' not in path.read_text(encoding="utf-8")] == []


def test_composes_workers_take_every_queue_once() -> None:
    taken = [
        queue
        for service in COMPOSE["services"].values()
        if "--queues" in service.get("command", [])
        for queue in service["command"][-1].split(",")
    ]
    assert sorted(taken) == sorted(QUEUES)


def test_composes_variables_are_those_of_the_settings() -> None:
    assert {f"| `{name}` |" in README for name in COMPOSE["services"]["web"]["environment"]} == {True}


def test_a_decision_is_a_title_and_a_paragraph() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for path in decisions:
        title, *rest = path.read_text(encoding="utf-8").strip().split("\n\n")
        assert title.startswith("# "), path.name
        assert len(rest) == 1, f"{path.name} has {len(rest)} paragraphs"


def test_a_web_process_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import django, sys; django.setup(); import webapi.urls, workers.execute, workers.sweep; "
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'onnxruntime'} & set(sys.modules)))"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "webapi.settings", "GAUNTLET_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
