"""The network as an ONNX graph with int8 weights, for scoring on CPUs without torch."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from engine.classifiers.network import Network

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "margin"


class _Margin(torch.nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        return self.network.margin(input_ids, attention_mask, token_type_ids)


def export_int8(network: Network, file: Path) -> None:
    """Write `network` to `file`: weights int8 per channel, activations int8 by range, embeddings and head in fp32.

    The network is left in eval mode. About 8 s for the embedded encoder.
    """
    graph = _export(network.eval())
    graph.graph.ClearField("value_info")  # the exporter's shapes can contradict those the quantiser infers
    head = [node.name for node in graph.graph.node if node.op_type == "Gemm"]
    quantize_dynamic(
        graph,
        file,
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=head,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _export(network: Network) -> onnx.ModelProto:
    device = network.head.weight.device
    ids = torch.ones((2, 7), dtype=torch.int64, device=device)
    mask = ids.clone()
    mask[1, 5:] = 0
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    attention = network.encoder.config._attn_implementation
    network.encoder.set_attn_implementation("eager")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Margin(network),
                (ids, mask, torch.zeros_like(ids)),
                dynamo=True,
                dynamic_shapes=(axes, axes, axes),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                verbose=False,
            )
    finally:
        network.encoder.set_attn_implementation(attention)
    assert program is not None
    return program.model_proto
