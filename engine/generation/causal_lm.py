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
from engine.errors import MissingModel
from engine.generation.chance import child_seed
from engine.generation.filling import fill
from engine.generation.settings import CausalLMSettings
from engine.progress import Progress, silent
from engine.snippets import SnippetRules


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

    def _sample(self, prompts: Sequence[str], seed: int, tick: Callable[[], None]) -> list[str]:
        """One raw continuation for each prompt."""
        room = _context(self.model) - self.settings.max_new_tokens
        inputs = self.tokenizer(
            [prompt or "\n" for prompt in prompts],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max(1, room),
        ).to(self.model.device)
        ended = _Ended(self.tokenizer, inputs["input_ids"].shape[1], self.rules, tick)
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            output = self.model.generate(  # type: ignore[operator]
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                top_k=0,
                max_new_tokens=self.settings.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([ended]),
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        return [str(text) for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]


class _Ended(StoppingCriteria):
    """Ends a row as soon as its completion is whole, and tells the caller that work goes on."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, start: int, rules: SnippetRules, tick: Callable[[], None]
    ) -> None:
        self._tokenizer = tokenizer
        self._start = start
        self._least = rules.completion_min_chars
        self._tick = tick

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self._tick()
        texts = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
        ended = [self._least is not None and text.strip().find(".", self._least) >= 0 for text in texts]
        return torch.tensor(ended, device=input_ids.device)


def make_causal_lm(rules: SnippetRules, config: Mapping[str, Any]) -> CausalLMGenerator:
    """From CausalLMSettings as plain data. Raises BadInput, and MissingModel saying how to get the weights."""
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
