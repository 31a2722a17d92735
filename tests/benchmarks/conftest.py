"""Benchmarks are scripts in a folder that is no package: their helpers are imported by name, as the scripts do it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
