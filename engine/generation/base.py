"""What every source of completions offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.progress import Progress, silent


class Generator(Protocol):
    """Proposes completions. Draws are independent given the prompt, so rates estimated on them are honest."""

    def complete(self, prompts: Sequence[str], n: int, *, seed: int, progress: Progress = silent) -> list[list[str]]:
        """`n` completions for each prompt, in the order drawn, each cut by `engine.snippets.cut_completion`.

        An empty string stands where the source had nothing to say to that prompt after several tries. Deterministic
        given `seed` and the prompts. Raises GeneratorError when no prompt got anything.
        """
        ...
