"""What a result was computed with: versions, processor, threads, and the code where git knows it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypedDict

from engine.classifiers.threads import threads

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "safetensors", "onnx", "onnxruntime")
"""Those that decide what a training or a score comes to."""
SOURCE = Path(__file__).resolve().parent
SECONDS = 5.0
"""That another program is waited for."""


class Environment(TypedDict):
    """Plain JSON types."""

    python: str
    packages: dict[str, str]
    """Version by name; what is not installed is left out."""
    platform: str
    processor: str
    accelerators: list[str]
    threads: int
    code: str | None
    """Commit of the running code, with `+changes` where files differ from it; None where git does not know."""


def environment() -> Environment:
    """Of this process, now. Imports no torch; asks git and the GPU's driver once a process. O(1)."""
    return Environment(
        python=platform.python_version(),
        packages=dict(_packages()),
        platform=platform.platform(),
        processor=_processor(),
        accelerators=list(_accelerators()),
        threads=threads(),
        code=_code(),
    )


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return tuple(found)


@cache
def _processor() -> str:
    """The model's name; Linux says it in a file, elsewhere Python knows it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


@cache
def _accelerators() -> tuple[str, ...]:
    """Names of NVIDIA GPUs, by their driver: torch need not be loaded to ask."""
    listed = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return tuple(line.strip() for line in (listed or "").splitlines() if line.strip())


@cache
def _code() -> str | None:
    git = ("git", "-C", str(SOURCE))
    # An installed copy may lie inside somebody else's repository: the commit is ours only if git tracks this file.
    if _said(*git, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _said(*git, "rev-parse", "HEAD")
    changed = _said(*git, "status", "--porcelain", "--untracked-files=no")
    return f"{commit.strip()}{'+changes' if changed else ''}" if commit else None


def _said(*command: str) -> str | None:
    """What a program prints; None where it is not there, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the commands above
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
