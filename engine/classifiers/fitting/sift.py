"""Scale-invariant fine-tuning (DeBERTa, 2006.03654, A.5), as microsoft/DeBERTa's sift.py does it.

Normalised embeddings are moved by chance and then, in each token's coordinates, against the classifier; the
difference of the answers is added to the loss. It is a sum of cross entropies, so its least value is twice the answers'
entropy and not 0. The two passes draw dropout each for itself, so part of what it does is R-Drop (2106.14448).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine.classifiers.network import Network
from engine.classifiers.recipe import Sift
from engine.errors import BadInput

EPS = 1e-7


class Perturbation:
    """What is added to the normalised embeddings in the next forward passes; None: they are left alone."""

    delta: Tensor | None = None
    shape: torch.Size
    """Of the embeddings in the last forward pass, (b, s, d)."""


@contextmanager
def perturbable(network: Network) -> Iterator[Perturbation]:
    """A hook before the layer norm of the embeddings; it is gone at the end.

    The norm of what is normalised is the same again, so a perturbation of zero leaves the logits as they are.
    Raises BadInput if the encoder has no such norm.
    """
    perturbation = Perturbation()

    def perturb(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        perturbation.shape = inputs[0].shape
        if perturbation.delta is None:
            return inputs
        normal = nn.functional.layer_norm(inputs[0], inputs[0].shape[-1:], eps=EPS)
        return (normal + perturbation.delta, *inputs[1:])

    hook = _norm(network).register_forward_pre_hook(perturb)
    try:
        yield perturbation
    finally:
        hook.remove()


def smoothness(answer: Callable[[], Tensor], clean: Tensor, perturbation: Perturbation, sift: Sift) -> Tensor | None:
    """How far the answers move with the embeddings, for each example, shape (b,), with gradients.

    `answer` runs the batch once more; `clean` are its logits (b, 2) without a perturbation. None where the gradient is
    no number, as theirs skips the batch. Gradients are taken of the perturbation alone: parameters gather none here.
    """
    try:
        delta = start(perturbation.shape, clean.device, sift)
        for _ in range(sift.steps):
            perturbation.delta = delta.requires_grad_(True)
            (gradient,) = torch.autograd.grad(divergence(answer(), clean.detach()).sum(), delta)
            if not bool(torch.isfinite(gradient).all()):
                return None
            delta = ascended(delta.detach(), gradient, sift)
        perturbation.delta = delta
        return divergence(answer(), clean)
    finally:
        perturbation.delta = None


def start(shape: torch.Size, device: torch.device, sift: Sift) -> Tensor:
    """Normal noise of standard deviation `sift.init`, cut off at twice that."""
    return (torch.randn(shape, device=device) * sift.init).clamp_(-2 * sift.init, 2 * sift.init)


def ascended(delta: Tensor, gradient: Tensor, sift: Sift) -> Tensor:
    """One step along each token's gradient, divided by its norm. No projection."""
    order: float = float("inf") if sift.norm == "linf" else 2
    size: Tensor = torch.linalg.vector_norm(gradient, order, dim=-1, keepdim=True)
    return delta + sift.step_size * gradient / (1e-6 + size)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Cross entropy of each one's answers against the other's, shape (b,); what they are weighed by has no gradient."""
    one, other = first.detach().softmax(-1), second.detach().softmax(-1)
    return -(other * first.log_softmax(-1)).sum(-1) - (one * second.log_softmax(-1)).sum(-1)


def _norm(network: Network) -> nn.LayerNorm:
    for name, module in network.encoder.named_modules():
        if isinstance(module, nn.LayerNorm) and name.rpartition(".")[0].endswith("embeddings"):
            return module
    raise BadInput("this encoder has no layer norm of its embeddings; leave SiFT off", where="sift")
