"""The trained network as an ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from onnx import ModelProto

from engine.classifiers.network import Network
from engine.errors import BadInput

MOST_BYTES = 1_900_000_000
"""A graph in one file cannot pass 2 GB."""


class _Margin(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        return self.network.margin(input_ids, attention_mask, token_type_ids)


def export(network: Network) -> ModelProto:
    """The graph of `network.margin` in fp32, any batch and length; about 6 s for the embedded encoder.

    The network is left in eval mode. Raises BadInput if it is too large for one ONNX file.
    """
    if sum(parameter.numel() for parameter in network.parameters()) * 4 > MOST_BYTES:
        raise BadInput("this encoder is too large for an int8 graph; use false", where="export_int8")
    network.eval()
    device = network.head.weight.device
    ids = torch.ones((2, 7), dtype=torch.int64, device=device)
    mask = ids.clone()
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with _quiet(), _plain_attention(network):
        program = torch.onnx.export(
            _Margin(network),
            (ids, mask, torch.zeros_like(ids)),
            dynamo=True,
            dynamic_shapes=(axes, axes, axes),
            input_names=["input_ids", "attention_mask", "token_type_ids"],
            output_names=["margin"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.graph.ClearField("value_info")
    return model


@contextlib.contextmanager
def _plain_attention(network: Network) -> Iterator[None]:
    """Attention written out in products: the fused kernel's graph is larger and slower."""
    before = network.encoder.config._attn_implementation
    network.encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.encoder.set_attn_implementation(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps and warns of packages it could use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
