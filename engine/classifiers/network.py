"""The network: any encoder, the mean of its last hidden states over tokens, dropout, one linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.errors import BadInput


class Network(nn.Module):
    """Encoder and head. The head works in fp32 whatever the encoder's precision."""

    def __init__(self, encoder: PreTrainedModel, *, dropout: float, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        if getattr(encoder, "pooler", None) is not None:
            setattr(encoder, "pooler", None)  # noqa: B010 - mean pooling takes its place
        self.dropout = nn.Dropout(dropout)
        width = encoder.config.hidden_size
        self.head = nn.Linear(width, 2)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(2, width, generator=generator) * 0.02)
            self.head.bias.zero_()
        self.takes_types = getattr(encoder.config, "type_vocab_size", 0) > 1

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """Two class logits a row, fp32, shape (b, 2), of inputs of shape (b, s)."""
        extra = {"token_type_ids": types} if self.takes_types else {}
        hidden = self.encoder(input_ids=ids, attention_mask=mask, **extra).last_hidden_state.float()
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1)
        with torch.autocast(mean.device.type, enabled=False):
            return self.head(self.dropout(mean))  # type: ignore[no-any-return]

    def train_top(self, trainable: int) -> None:
        """Dropout on in the top `trainable` layers and the head only: frozen layers answer as in scoring."""
        self.eval()
        self.dropout.train()
        _, layers = transformer_layers(self.encoder)
        layers[len(layers) - trainable :].train()

    def margin(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """z1 - z0, shape (b,)."""
        logits = self.forward(ids, mask, types)
        return logits[:, 1] - logits[:, 0]


def transformer_layers(encoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The encoder's stack of layers (its longest list of modules) and its dotted name; BadInput if it has none."""
    stacks = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)]
    if stacks:
        return max(stacks, key=lambda stack: len(stack[1]))
    raise BadInput("this encoder has no plain stack of layers; use null", where="trainable_layers")


def freeze_below(network: Network, trainable: int) -> None:
    """Let only the top `trainable` layers and the head learn. Raises BadInput if there are fewer layers."""
    _, layers = transformer_layers(network.encoder)
    if trainable > len(layers):
        raise BadInput(f"{trainable} is more than the encoder's {len(layers)} layers", where="trainable_layers")
    network.encoder.requires_grad_(False)
    for layer in layers[len(layers) - trainable :]:
        layer.requires_grad_(True)


class _Reached(Exception):
    """Carries the hidden states out of a forward pass that need not go on."""


def hidden_below(network: Network, trainable: int, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
    """What the top `trainable` layers are given: hidden states of shape (b, s, d). The layers above do not run."""
    _, layers = transformer_layers(network.encoder)
    found: list[Tensor] = []

    def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _Reached

    hook = layers[len(layers) - trainable].register_forward_pre_hook(stop)
    try:
        network(ids, mask, types)
    except _Reached:
        return found[0]
    finally:
        hook.remove()
    raise BadInput("this encoder does not run its layers in turn; use null", where="trainable_layers")


class Injection:
    """Hidden states to feed to the top layers in the next forward pass."""

    hidden: Tensor


@contextmanager
def top_only(network: Network, trainable: int) -> Iterator[Injection]:
    """Cut the encoder down to its top layers, which take `Injection.hidden` in place of what comes from below.

    The encoder's own forward still makes masks and positions, so any stack of layers works. Undone at the end.
    """
    name, layers = transformer_layers(network.encoder)
    parent = network.encoder.get_submodule(name.rpartition(".")[0])
    attribute = name.rpartition(".")[2]
    injection = Injection()
    top = layers[len(layers) - trainable :]

    def inject(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (injection.hidden, *inputs[1:])

    hook = top[0].register_forward_pre_hook(inject)
    setattr(parent, attribute, top)
    try:
        yield injection
    finally:
        setattr(parent, attribute, layers)
        hook.remove()
