"""What a paraphraser offers, and how many are asked at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol

from engine.progress import Progress, silent
from engine.snippets import Snippet


class Paraphraser(Protocol):
    """Rewords snippets. One that waits on a service sets `concurrency` to the calls it takes at once (default 1)."""

    def paraphrase(self, snippet: Snippet, n: int, *, seed: int) -> list[Snippet]:
        """Up to `n` rewordings, in the order drawn, maybe invalid or alike; deterministic given `seed`.

        Raises GeneratorError when the source cannot answer.
        """
        ...


class Ask(NamedTuple):
    """One call to a paraphraser."""

    snippet: Snippet
    n: int
    seed: int


def draw_many(paraphraser: Paraphraser, asks: Sequence[Ask], *, progress: Progress = silent) -> list[list[Snippet]]:
    """The answers to `asks`, in order; `progress` is called at least once a second."""
    threads = int(getattr(paraphraser, "concurrency", 1))
    if threads <= 1:
        answers = []
        for ask in asks:
            answers.append(paraphraser.paraphrase(ask.snippet, ask.n, seed=ask.seed))
            progress(len(answers), len(asks))
        return answers
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(paraphraser.paraphrase, ask.snippet, ask.n, seed=ask.seed) for ask in asks]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.5)
                progress(len(asks) - len(pending), len(asks))
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
