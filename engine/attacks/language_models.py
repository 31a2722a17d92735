"""Language models by name, with the head that predicts words, and how likely they find a completion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel

from engine.classifiers.encoders import fetched, load_tokenizer
from engine.classifiers.hardware import device
from engine.classifiers.tokens import batches_by_budget
from engine.errors import BadInput
from engine.snippets import Snippet

Kind = Literal["causal", "masked"]
KIND = "language model"
_HEADS: dict[Kind, tuple[str, ...]] = {
    "causal": ("ForCausalLM", "LMHeadModel"),
    "masked": ("ForMaskedLM", "ForPreTraining"),
}
"""How the names of architectures end that have the head."""
_LOADERS: dict[Kind, Any] = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM}
_BUDGET = 1024
"""Padded tokens in one forward pass: of each there are as many logits as the vocabulary has entries."""
_KEPT = 2


class Likelihood(NamedTuple):
    """What a language model says of a completion."""

    nats: float
    """Sum of the log-probabilities of the completion's tokens, at most 0."""
    tokens: tuple[int, ...]
    """Those it is the sum over."""


class _Sequence(NamedTuple):
    """What is read in one go, and which tokens are looked for at which of its places."""

    snippet: int
    ids: list[int]
    at: list[int]
    wanted: list[int]


class _Read(NamedTuple):
    """A snippet's tokens, and where the completion's are among them."""

    ids: list[int]
    start: int
    end: int


class LanguageModel:
    """A causal or a masked language model with its tokenizer, in fp32, on the GPU if there is one."""

    def __init__(self, name: str) -> None:
        """A folder or a name on the hub. Raises MissingModel when the weights are not here and cannot be fetched,
        BadInput for one that predicts no words."""
        self.kind: Kind = kind_of(name)
        self._tokenizer = load_tokenizer(name, kind=KIND)
        self._model = load_head(name, self.kind)
        if self.kind == "masked" and self._tokenizer.mask_token_id is None:
            raise BadInput("has no mask token", where=f"{KIND} {name!r}")
        longest = getattr(self._model.config, "max_position_embeddings", None) or 2048
        self._longest = int(min(self._tokenizer.model_max_length, longest))
        first = [self._tokenizer.bos_token_id, self._tokenizer.eos_token_id]
        self._first = [one for one in first if one is not None][:1]

    def likelihoods(self, snippets: Sequence[Snippet]) -> list[Likelihood]:
        """How likely each completion is after its prompt, in the order given.

        Causal: log p(completion | prompt). Masked: the pseudo-log-likelihood (Salazar et al., 1910.14659), each token
        of the completion masked by itself and all else there to read, so a copy of the text for each. What is longer
        than the model reads loses the prompt's beginning, then the completion's end. Without prompt and without a token
        that begins a text, a causal model says nothing of the first. O(tokens) read in passes that all texts share,
        O(tokens^2) where masked.
        """
        read = [self._read(snippet) for snippet in snippets]
        sequences = [one for row, tokens in enumerate(read) for one in self._sequences(row, tokens)]
        lengths = np.array([len(one.ids) for one in sequences], np.int64)
        sums = np.zeros(len(snippets))
        for rows in batches_by_budget(lengths, _BUDGET):
            batch = [sequences[row] for row in rows]
            owners = [one.snippet for one in batch for _ in one.at]
            np.add.at(sums, owners, self._log_probabilities(batch))
        wanted: list[list[int]] = [[] for _ in snippets]
        for one in sequences:
            wanted[one.snippet] += one.wanted
        return [Likelihood(float(nats), tuple(tokens)) for nats, tokens in zip(sums, wanted, strict=True)]

    def _read(self, snippet: Snippet) -> _Read:
        masked = self.kind == "masked"
        text, begins = snippet.text, len(snippet.text) - len(snippet.completion.rstrip())
        found = self._tokenizer(
            text, add_special_tokens=masked, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
        )
        own = np.flatnonzero(np.array(found["special_tokens_mask"], np.int64) == 0)
        ids, ends = found["input_ids"], [end for _, end in found["offset_mapping"]]
        head = ids[: own[0]] if masked and own.size else ([] if masked else self._first)
        tail = ids[own[-1] + 1 :] if masked and own.size else []
        prompt = [ids[i] for i in own if ends[i] <= begins]
        completion = [ids[i] for i in own if ends[i] > begins]
        room = max(1, self._longest - len(head) - len(tail))
        completion = completion[:room]
        prompt = prompt[max(0, len(prompt) + len(completion) - room) :]
        start = len(head) + len(prompt)
        return _Read([*head, *prompt, *completion, *tail], start, start + len(completion))

    def _sequences(self, row: int, read: _Read) -> list[_Sequence]:
        ids, places = read.ids, range(read.start, read.end)
        if self.kind == "causal":
            known = [place for place in places if place]
            return [_Sequence(row, ids, [place - 1 for place in known], [ids[place] for place in known])] * bool(known)
        mask = self._tokenizer.mask_token_id
        return [_Sequence(row, [*ids[:at], mask, *ids[at + 1 :]], [at], [ids[at]]) for at in places]

    def _log_probabilities(self, batch: Sequence[_Sequence]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Of each wanted token, all sequences' end to end."""
        where, longest = device(), max(len(one.ids) for one in batch)
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([[*one.ids, *[pad] * (longest - len(one.ids))] for one in batch], device=where)
        mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in batch], device=where)
        rows = torch.tensor([row for row, one in enumerate(batch) for _ in one.at], device=where)
        at = torch.tensor([place for one in batch for place in one.at], device=where)
        wanted = torch.tensor([token for one in batch for token in one.wanted], device=where)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits[rows, at].float()
            found = -nn.functional.cross_entropy(logits, wanted, reduction="none")
        return found.double().cpu().numpy()


def kind_of(name: str) -> Kind:
    """What kind of language model this is. Raises MissingModel, or BadInput where it predicts no words."""

    def load(source: str, local: bool) -> list[str]:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=local)
        return list(config.architectures or [])

    names = fetched(name, load, kind=KIND)
    for kind, ends in _HEADS.items():
        if any(one.endswith(ends) for one in names):
            return kind
    raise BadInput(f"predicts no words: it is a {', '.join(names) or 'model of no architecture'}", where=_where(name))


def load_head(name: str, kind: Kind) -> PreTrainedModel:
    """The model in fp32, on the device, in eval mode. Raises MissingModel, or BadInput without that head."""
    model, lacking = _loaded(name, kind)
    if lacking and getattr(model.config, "legacy", False):
        # deberta-v2's own head is under other names than the one that transformers takes by default.
        model, lacking = _loaded(name, kind, legacy=False)
    if lacking:  # transformers draws them at random and goes on
        raise BadInput("has no weights for the head that predicts words", where=_where(name))
    nn.Module.to(model, device())
    nn.Module.eval(model)
    return model


def _loaded(name: str, kind: Kind, **config: object) -> tuple[PreTrainedModel, set[str]]:
    """The model, and the names of the weights that the files lack."""

    def load(source: str, local: bool) -> tuple[PreTrainedModel, set[str]]:
        model, report = _LOADERS[kind].from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype="float32", local_files_only=local,
            output_loading_info=True, **config,
        )  # fmt: skip
        return model, report["missing_keys"]

    return fetched(name, load, kind=KIND)


@lru_cache(_KEPT)
def language_model(name: str) -> LanguageModel:
    """The model of that name, loaded once. Raises as LanguageModel does."""
    return LanguageModel(name)


def _where(name: str) -> str:
    return f"{KIND} {name!r}"
