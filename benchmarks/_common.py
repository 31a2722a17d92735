"""What every benchmark here shares: the machine's description and the last line, one JSON object."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path


def machine() -> dict[str, object]:
    """Processor, cores this process may use, memory in GB, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else 0
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores,
        "memory_gb": round(memory, 1),
        "python": platform.python_version(),
    }


def finish(benchmark: str, *, ours: object, peer: object, ratio: float | None, target: object, **more: object) -> None:
    """Prints the last line: what was measured, as one JSON object. `ratio` above 1 means ours is better."""
    fields = {"benchmark": benchmark, "ours": ours, "peer": peer, "ratio": ratio, "target": target}
    print(json.dumps({**fields, "machine": machine(), **more}))
