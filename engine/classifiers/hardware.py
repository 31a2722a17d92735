"""What this machine can do."""

from __future__ import annotations

import torch


def device() -> torch.device:
    """The GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def multiplies_bf16(where: torch.device) -> bool:
    """Whether bf16 is fast there: on such CPUs training is more than twice as fast as in fp32, on others slower."""
    if where.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def arithmetic(precision: str) -> torch.autocast:
    """For forward passes: bf16 if `precision` says so and the machine is good at it; weights stay in fp32.

    Enter it for each step of a training: it remembers weights cast to bf16, and the optimiser changes them.
    """
    where = device()
    use = precision == "bf16" and multiplies_bf16(where)
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=use)


def out_of_memory(error: BaseException) -> bool:
    """Whether this, or what it came from, is how torch or Python says that memory has run out: on CPUs torch has no
    class for it, and what exports a graph wraps it in errors of its own."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(at, RuntimeError) and "can't allocate memory" in str(at):
            return True
        at = at.__cause__
    return False
