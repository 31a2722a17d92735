"""The embedded default generator: real continuations of similar contexts, with the names made to fit.

It needs no weights beyond the encoder the package brings and proposes fluent text on any corpus it is fitted on. It
writes nothing new: every completion is one of the corpus, its people renamed. Fit one per split, on that split's
snippets only, and no text leaks between splits.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.config import checked
from engine.embeddings.neighbours import NearestNeighbours
from engine.embeddings.token_mean import TokenMeanEncoder
from engine.errors import BadInput, GeneratorError
from engine.generation.chance import rng
from engine.generation.names import Person, graft, learn_names, people
from engine.generation.settings import NearestConfig, NearestSettings
from engine.progress import Progress, silent
from engine.snippets import Snippet, SnippetRules, cut_completion

_ABBREVIATION = re.compile(r"(?:^|[^A-Za-z])(?:Mr|Mrs|Ms|Dr|St|Mme|Messrs|[A-Z])\.$")
_CHUNK = 512
_EQUALS = 4
"""So many nearest contexts weigh the same, or one near-copy of the prompt would drown the others."""
_FLAT_UP_TO = 100_000


class TextEncoder(Protocol):
    """Texts to unit vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows of length 1, shape (n, d)."""
        ...


@dataclass(frozen=True, slots=True)
class NearestContinuations:
    """A fitted generator. Make one with `fit` or `load`."""

    snippets: tuple[Snippet, ...]
    vectors: NDArray[np.float16]
    """Unit rows, one a snippet; half precision on disk and in memory, so that a saved copy answers the same."""
    names: frozenset[str]
    """Words that name people in the corpus it was fitted on."""
    settings: NearestSettings
    encoder: TextEncoder
    index: NearestNeighbours

    @classmethod
    def fit(
        cls,
        snippets: Iterable[Snippet],
        rules: SnippetRules,
        *,
        encoder: TextEncoder | None = None,
        settings: NearestSettings | None = None,
        progress: Progress = silent,
    ) -> NearestContinuations:
        """Learn from snippets with their real completions, which are cut by `rules`. O(n) encodings.

        Raises GeneratorError when there is not one snippet with a completion.
        """
        cut = (Snippet(s.prompt, cut_completion(s.completion, rules)) for s in snippets)
        kept = tuple(dict.fromkeys(s for s in cut if s.completion and not _torn(s)))
        if not kept:
            raise GeneratorError("nearest_continuations: no snippet with a completion to learn from")
        encoder = encoder or TokenMeanEncoder()
        vectors = _encode([s.prompt for s in kept], encoder, progress).astype(np.float16)
        names = learn_names(s.text for s in kept)
        return cls(kept, vectors, names, settings or NearestSettings(), encoder, _index(vectors))

    def complete(self, prompts: Sequence[str], n: int, *, seed: int, progress: Progress = silent) -> list[list[str]]:
        """`n` independent draws, with replacement, for each prompt from the continuations of its nearest contexts.

        A context equal to the prompt is left out, and so is a continuation the prompt already holds. A prompt's
        draws depend on `seed` and its text (and how often it came before in `prompts`), not on the other prompts.
        O(prompts x snippets) below 100,000 snippets, sublinear above.
        """
        answers: list[list[str]] = []
        seen: dict[str, int] = {}
        for start in range(0, len(prompts), _CHUNK):
            chunk = list(prompts[start : start + _CHUNK])
            found = self._nearest(chunk)
            for prompt, similar, rows in zip(chunk, *found, strict=True):
                chance = rng(seed, prompt, seen.setdefault(prompt, 0))
                seen[prompt] += 1
                answers.append(self._draw(prompt, similar, rows, n, chance))
                if len(answers) % 64 == 0:
                    progress(len(answers), len(prompts))
        progress(len(answers), len(prompts))
        if prompts and n and not any(map(any, answers)):
            raise GeneratorError("nearest_continuations: no other context than the prompts themselves to draw from")
        return answers

    def save(self, directory: Path) -> None:
        """Write everything but the encoder to `directory`, which appears whole or not at all; replaces an older one."""
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            rows = ({"prompt": s.prompt, "completion": s.completion} for s in self.snippets)
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (partial / "snippets.jsonl").write_text(text, encoding="utf-8")
            np.save(partial / "vectors.npy", self.vectors, allow_pickle=False)
            config = {"settings": self.settings.model_dump(), "names": sorted(self.names)}
            (partial / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
            if directory.exists():
                os.replace(directory, partial / "older")
            os.replace(partial, directory)
            shutil.rmtree(directory / "older", ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    @classmethod
    def load(cls, directory: Path, *, encoder: TextEncoder | None = None) -> NearestContinuations:
        """What `save` wrote there. `encoder` must be the one it was fitted with. Raises BadInput naming the file."""
        try:
            config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            lines = (directory / "snippets.jsonl").read_text(encoding="utf-8").splitlines()
            vectors = np.load(directory / "vectors.npy", allow_pickle=False)
            snippets = tuple(Snippet(**json.loads(line)) for line in lines)
            settings = NearestSettings.model_validate(config["settings"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"not a fitted nearest_continuations generator: {error}", where=str(directory)) from error
        if vectors.shape[:1] != (len(snippets),) or vectors.dtype != np.float16:
            raise BadInput(f"vectors.npy does not fit {len(snippets)} snippets", where=str(directory))
        names = frozenset(config.get("names", ()))
        return cls(snippets, vectors, names, settings, encoder or TokenMeanEncoder(), _index(vectors))

    def _nearest(self, prompts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosine similarities and snippet rows, each (prompts, neighbours + slack), nearest first; -1 where none."""
        vectors = _encode(prompts, self.encoder, silent)
        found = self.index.search(vectors, self.settings.neighbours + 8)
        return found.similarities, found.indices

    def _draw(
        self, prompt: str, similar: NDArray[np.float32], rows: NDArray[np.int64], n: int, chance: np.random.Generator
    ) -> list[str]:
        """`n` completions from the softmax over those found; empty strings where nothing fits."""
        fits = [
            (float(s), self.snippets[row].completion)
            for s, row in zip(similar, rows, strict=True)
            if row >= 0 and self.snippets[row].prompt != prompt and self.snippets[row].completion not in prompt
        ][: self.settings.neighbours]
        if not fits:
            return [""] * n
        similarity = np.minimum([s for s, _ in fits], fits[min(_EQUALS, len(fits)) - 1][0])
        weights = np.exp((similarity - similarity[0]) / self.settings.temperature)
        picks = chance.choice(len(fits), size=n, p=weights / weights.sum())
        host = people(prompt, self.names) if self.settings.graft_names else []
        adapted = {int(i): self._adapt(fits[i][1], host) for i in set(picks.tolist())}
        return [adapted[int(i)] for i in picks]

    def _adapt(self, completion: str, host: Sequence[Person]) -> str:
        if not host:
            return completion
        return graft(completion, people(completion, self.names), host)


def make_nearest(
    rules: SnippetRules, config: Mapping[str, Any], corpus: Iterable[Snippet] = ()
) -> NearestContinuations:
    """A saved generator, where `config` names its directory, else one fitted on `corpus`. Raises BadInput."""
    wanted = checked(NearestConfig, config, where="generator nearest_continuations")
    if wanted.directory is not None:
        return NearestContinuations.load(wanted.directory)
    settings = NearestSettings(**wanted.model_dump(exclude={"directory"}))
    return NearestContinuations.fit(corpus, rules, settings=settings)


def _torn(snippet: Snippet) -> bool:
    """Whether the full stop of an abbreviation parted a sentence in two: not worth learning."""
    return bool(_ABBREVIATION.search(snippet.completion) or _ABBREVIATION.search(snippet.prompt))


def _encode(prompts: Sequence[str], encoder: TextEncoder, progress: Progress) -> NDArray[np.float32]:
    """Unit rows; the last sentence counts twice, because the completion follows it."""
    parts = []
    for start in range(0, len(prompts), _CHUNK):
        parts.append(encoder.encode([_weighted(p) for p in prompts[start : start + _CHUNK]]))
        progress(min(start + _CHUNK, len(prompts)), len(prompts))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 1), np.float32)


def _weighted(prompt: str) -> str:
    sentences = prompt.rstrip(" .").rsplit(".", 1)
    return f"{prompt} {sentences[-1]}"


def _index(vectors: NDArray[np.float16]) -> NearestNeighbours:
    """Exact below 100,000 rows, inverted lists above."""
    rows, width = vectors.shape
    index = NearestNeighbours(width, kind="flat" if rows <= _FLAT_UP_TO else "ivf")
    for start in range(0, rows, _FLAT_UP_TO):
        index.add(vectors[start : start + _FLAT_UP_TO].astype(np.float32))
    return index
