"""A classifier's inside: how its margin changes with the embedding of each token (HotFlip's gradient, 1712.06751)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.classifiers import artifact
from engine.classifiers.hardware import arithmetic, device
from engine.classifiers.loading import read_tokenizer
from engine.classifiers.network import Network
from engine.classifiers.tokens import PairTokenizer, Traced, batches_by_budget
from engine.classifiers.torch_scoring import read_network
from engine.errors import BadInput
from engine.snippets import Snippet

_BUDGET = {"cpu": 1024, "cuda": 16_384}
"""Padded tokens in one backward pass: activations are kept for it, some 0.1 MB a token and layer of 384. On CPUs small
batches stay nearer and run a fifth faster."""


class TokenGradients(NamedTuple):
    """What one backward pass says of a snippet."""

    traced: Traced
    gradient: NDArray[np.float32]
    """(t, d): d margin / d input embedding of each token."""
    logit: float
    """The margin, in the precision of the gradient."""


class WhiteBox:
    """The network of a trained classifier, its weights in fp32, with its gradients and its table of embeddings."""

    def __init__(self, network: Network, tokenizer: PairTokenizer, *, precision: str = "fp32") -> None:
        """`precision` "bf16": gradients are computed in it where the machine is good at it, in half the time."""
        self._device = device()
        self._network = network.eval().to(self._device).requires_grad_(False)
        self._tokenizer = tokenizer
        self._precision = precision
        table = self._network.encoder.get_input_embeddings()
        if not isinstance(table, nn.Embedding):
            raise BadInput("this encoder has no table of input embeddings")
        self._table = table

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(vocabulary, d) input embeddings, on the CPU; not a copy where the network is there."""
        return self._table.weight.detach().float().cpu().numpy()

    def pieces(self, word: str) -> list[int]:
        """Token ids of a word by itself, none for one without tokens."""
        return self._tokenizer.pieces(word)

    def gradients(self, snippets: Sequence[Snippet]) -> list[TokenGradients]:
        """One backward pass for each batch of similar length; in the order given. O(tokens), about two forward passes.

        Of a snippet longer than the encoder takes, what is cut off has no tokens here.
        """
        traced = [self._tokenizer.trace(snippet) for snippet in snippets]
        lengths = np.array([len(one.ids) for one in traced], np.int64)
        found: dict[int, TokenGradients] = {}
        for rows in batches_by_budget(lengths, _BUDGET[self._device.type]):
            margins, gradients = self._backward([traced[row] for row in rows])
            for row, margin, gradient in zip(rows, margins, gradients, strict=True):
                found[int(row)] = TokenGradients(traced[row], gradient[: lengths[row]].copy(), float(margin))
        return [found[row] for row in range(len(snippets))]

    def _backward(self, batch: Sequence[Traced]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ids, mask, types = (part.to(self._device) for part in self._padded(batch))
        with _kept(self._table) as kept, arithmetic(self._precision), _attention(self._device):
            margins = self._network.margin(ids, mask, types)
        # Rows do not mix, so the gradient of their sum holds each row's own.
        (gradient,) = torch.autograd.grad(margins.sum(), kept.output)
        return margins.detach().float().cpu().numpy(), gradient.float().cpu().numpy()

    def _padded(self, batch: Sequence[Traced]) -> Iterator[Tensor]:
        shape = (len(batch), max(len(one.ids) for one in batch))
        ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
        ids[:] = self._tokenizer.pad_id
        for row, one in enumerate(batch):
            ids[row, : len(one.ids)], mask[row, : len(one.ids)], types[row, : len(one.ids)] = one.ids, 1, one.types
        return map(torch.from_numpy, (ids, mask, types))


def load_white_box(path: Path, *, precision: str = "bf16") -> WhiteBox:
    """The classifier that `train` wrote to `path`. Raises BadInput naming the file that is missing or damaged."""
    recipe = artifact.read_recipe(path)
    return WhiteBox(read_network(path, recipe), read_tokenizer(path, recipe), precision=precision)


def _attention(where: torch.device) -> AbstractContextManager[object]:
    """On CPUs the fused attention's backward pass in bf16 takes a third of all the time; plain products do not."""
    return sdpa_kernel(SDPBackend.MATH) if where.type == "cpu" and torch.is_autocast_enabled("cpu") else nullcontext()


class _Kept:
    output: Tensor


@contextmanager
def _kept(table: nn.Embedding) -> Iterator[_Kept]:
    """What the table gives in the next forward pass, as the leaf that gradients are taken of."""
    kept = _Kept()

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.output = output.detach().requires_grad_(True)
        return kept.output

    hook = table.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()
