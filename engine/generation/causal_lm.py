"""Completions from any Hugging Face causal language model (paper, A.2: 32 tokens at temperature 0.9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from engine.config import checked
from engine.errors import BadInput, MissingModel
from engine.generation.chance import child_seed
from engine.generation.filling import fill
from engine.generation.settings import CausalLMSettings
from engine.progress import Progress, silent
from engine.snippets import SnippetRules, cut_completion


@dataclass(frozen=True, slots=True)
class CausalLMGenerator:
    """A loaded model. Weights are read as safetensors only."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: CausalLMSettings
    rules: SnippetRules

    def complete(self, prompts: Sequence[str], n: int, *, seed: int, progress: Progress = silent) -> list[list[str]]:
        """`n` samples for each prompt. Deterministic on one machine given `seed`, the prompts and their order.

        Prompts of like length share a batch; a prompt longer than the model reads keeps its end. The global random
        state of torch is left as it was. Raises GeneratorError when the model only ever ends at once.
        """
        total = len(prompts) * n

        def draw(texts: Sequence[str], counts: Sequence[int], attempt: int) -> list[list[str]]:
            rows = [row for row in _by_length(texts) for _ in range(counts[row])]
            answers: list[list[str]] = [[] for _ in texts]
            for start in range(0, len(rows), self.settings.batch_size):
                batch = rows[start : start + self.settings.batch_size]
                done = total - len(rows) + start
                sampled = self._sample(
                    [texts[row] for row in batch],
                    child_seed(seed, "causal_lm", attempt, start),
                    tick=partial(progress, done, total),
                )
                for row, text in zip(batch, sampled, strict=True):
                    answers[row].append(text)
                progress(done + len(batch), total)
            return answers

        return fill(draw, prompts, n, self.rules, source=f"causal_lm ({self.settings.model})")

    @property
    def most_tokens(self) -> int:
        """Tokens of a completion, at most."""
        return self.settings.max_new_tokens

    def text_of(self, tokens: Sequence[int]) -> str:
        """The completion, cut by the rules; empty where it says nothing."""
        return cut_completion(str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)), self.rules)

    def go_on(self, prompts: Sequence[str], prefixes: Sequence[tuple[int, ...]], *, seed: int) -> list[tuple[int, ...]]:
        """A completion's tokens for each prompt, beginning with its prefix (see `engine.generation.continuing`)."""
        answers = [tuple(prefix) for prefix in prefixes]
        by_length: dict[int, list[int]] = {}  # of prefixes alike in length none is read beyond what the model can
        for row in _by_length(prompts):
            if not self._is_whole(answers[row]):
                by_length.setdefault(len(answers[row]), []).append(row)
        for length, rows in sorted(by_length.items()):
            for start in range(0, len(rows), self.settings.batch_size):
                batch = rows[start : start + self.settings.batch_size]
                own = child_seed(seed, "causal_lm", "on", length, batch[0])
                before = [answers[row] for row in batch]
                said = self._said([prompts[row] for row in batch], before, own, lambda: None)
                for row, tokens in zip(batch, said, strict=True):
                    answers[row] = tuple(tokens)
        return answers

    def _is_whole(self, tokens: tuple[int, ...]) -> bool:
        if len(tokens) >= self.most_tokens or (tokens and tokens[-1] == self.tokenizer.eos_token_id):
            return True
        text = str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
        return bool(tokens) and _has_ended(text, self.rules.completion_min_chars)

    def _sample(self, prompts: Sequence[str], seed: int, tick: Callable[[], None]) -> list[str]:
        """One raw continuation for each prompt."""
        new = self._said(prompts, [()] * len(prompts), seed, tick)
        return [str(text) for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def _said(
        self, prompts: Sequence[str], prefixes: Sequence[tuple[int, ...]], seed: int, tick: Callable[[], None]
    ) -> list[list[int]]:
        """Prefixes, alike in length, with what was said after them, up to the end of the text."""
        room = _context(self.model) - self.settings.max_new_tokens
        inputs = self.tokenizer(
            [prompt or "\n" for prompt in prompts],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max(1, room),
        ).to(self.model.device)
        ids, mask = _with_prefixes(inputs, prefixes, self.tokenizer.pad_token_id)
        ended = _Ended(self.tokenizer, ids.shape[1], prefixes, self.rules, tick)
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            output = self.model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                top_k=0,
                max_new_tokens=self.settings.max_new_tokens - len(prefixes[0]),
                pad_token_id=self.tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([ended]),
            )
        new = output[:, ids.shape[1] :].tolist()
        return [self._to_end([*prefix, *row]) for prefix, row in zip(prefixes, new, strict=True)]

    def _to_end(self, tokens: list[int]) -> list[int]:
        """Without what pads a row that ended before others, nor what is over the limit."""
        ends = {self.tokenizer.eos_token_id, self.tokenizer.pad_token_id}
        stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        kept = tokens[: min(stop, self.most_tokens)]
        last = self.tokenizer.eos_token_id
        return [*kept, last] if stop < min(len(tokens), self.most_tokens) and last is not None else kept


class _Ended(StoppingCriteria):
    """Ends a row as soon as its completion is whole, and tells the caller that work goes on."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        start: int,
        prefixes: Sequence[tuple[int, ...]],
        rules: SnippetRules,
        tick: Callable[[], None],
    ) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self._prefixes = prefixes
        self._least = rules.completion_min_chars
        self._tick = tick

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self._tick()
        new = input_ids[:, self._start :].tolist()
        said = [[*prefix, *row] for prefix, row in zip(self._prefixes, new, strict=True)]
        texts = self._tokenizer.batch_decode(said, skip_special_tokens=True)
        ended = [_has_ended(text, self._least) for text in texts]
        return torch.tensor(ended, device=input_ids.device)


def _has_ended(text: str, least: int | None) -> bool:
    return least is not None and text.strip().find(".", least) >= 0


def _with_prefixes(
    inputs: Mapping[str, torch.Tensor], prefixes: Sequence[tuple[int, ...]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of the prompts, padded on the left, with each one's prefix behind it."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if not any(prefixes):
        return ids, mask
    rows = [[*one[keep.bool()].tolist(), *prefix] for one, keep, prefix in zip(ids, mask, prefixes, strict=True)]
    longest = max(map(len, rows))
    padded = [[pad] * (longest - len(row)) + row for row in rows]
    kept = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(padded, device=ids.device), torch.tensor(kept, device=ids.device)


def make_causal_lm(rules: SnippetRules, config: Mapping[str, Any]) -> CausalLMGenerator:
    """From CausalLMSettings as plain data.

    Raises BadInput, also for more to say than the model reads, and MissingModel saying how to get the weights.
    """
    settings = checked(CausalLMSettings, config, where="generator causal_lm")
    device = settings.device if settings.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model, padding_side="left", truncation_side="left")
        model = AutoModelForCausalLM.from_pretrained(settings.model, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        here = "" if Path(settings.model).exists() else _how_to_get(settings.model)
        raise MissingModel(f"cannot load the causal LM {settings.model!r}: {error}{here}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if settings.max_new_tokens >= _context(model):
        room = f"{settings.max_new_tokens} leave no room for a prompt in the {_context(model)}"
        raise BadInput(f"{room} that {settings.model!r} reads", where="max_new_tokens")
    # Through the base class: transformers' own `to` and `eval` carry no types.
    torch.nn.Module.to(model, torch.device(device))
    torch.nn.Module.eval(model)
    return CausalLMGenerator(model, tokenizer, settings, rules)


def _how_to_get(name: str) -> str:
    return (
        f"\nFetch it once where there is network (`hf download {name}`) and copy the cache folder here, or give the "
        "path of a folder that holds it; or use the generator 'nearest_continuations', which needs no weights."
    )


def _context(model: PreTrainedModel) -> int:
    """Tokens the model can attend to."""
    return int(getattr(model.config, "max_position_embeddings", None) or 2048)


def _by_length(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i))
