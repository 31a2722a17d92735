"""An int8 graph in which a snippet's score does not depend on the company it is scored in.

ONNX Runtime's own dynamic quantisation takes one range for a whole batch, so that a snippet's logit moves with its
neighbours (by more than 1, measured). Here every token has its own range, and channels far larger than the others are
first made smaller and their weights larger (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438). The error falls to a
third; the cost is a twentieth of the speed.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engine.classifiers.threads import threads

Feeds = Mapping[str, NDArray[np.int64]]
"""Named inputs of a graph; `attention_mask` among them."""

SMOOTHING = 0.5
"""0 leaves large channels to the activations, 1 to the weights."""
LEAST = 1e-5
"""Smaller magnitudes are taken for this: no division by zero."""
SAMPLE_TOKENS = 1024
"""Tokens that calibrate one product."""
CODES = "_int8"
"""Ends the names of int8 weights."""


class _Coded(NamedTuple):
    """Activations in uint8: names of the codes, of each token's scale and of the code of zero."""

    codes: str
    scale: str
    zero: str
    smoothing: NDArray[np.float32]
    """What each channel was divided by, shape (k,)."""


class _Writer:
    """Nodes and constants of the graph to be."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def add(
        self, operator: str, inputs: list[str], output: str, *, domain: str = "", keepdims: int | None = None
    ) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, keepdims=keepdims))
        return output


def quantise(model: ModelProto, calibration: Sequence[Feeds]) -> ModelProto:
    """`model`, changed in place: products by constant matrices are done in int8, all else stays fp32, and so do the
    products that int8 hurts most (`_delicate`).

    Weights get a scale for each output channel, activations one for each token. `calibration`, some batches like
    those to come, decides how channels are smoothed; nothing is ever clipped to it. O(weights + calibration).
    """
    matrices = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    constant = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in matrices]
    delicate = _delicate([(node.output[0], *matrices[node.input[1]].dims) for node in constant])
    products: dict[str, list[NodeProto]] = defaultdict(list)
    for node in constant:
        if node.output[0] not in delicate:
            products[node.input[0]].append(node)
    coding = {node.output[0] for users in products.values() for node in users}
    samples = _sample(model, list(products), calibration)
    writer, coded = _Writer(), dict[str, _Coded]()
    for node in model.graph.node:
        if node.output[0] not in coding:
            writer.nodes.append(node)
            continue
        source = node.input[0]
        if source not in coded:
            weights = [numpy_helper.to_array(matrices[user.input[1]]) for user in products[source]]
            coded[source] = _code(writer, source, samples[source], weights)
        _multiply(writer, node.output[0], coded[source], numpy_helper.to_array(matrices[node.input[1]]))
    return _rebuilt(model, writer)


def _delicate(products: Sequence[tuple[str, int, int]]) -> set[str]:
    """Outputs of the products that stay in fp32, of (output, k, n) in the graph's order: those from wide to narrow,
    whose inputs a GELU leaves with few large values, and the first layer's, whose errors all others pass on.

    On MiniLM they carry half of the products' work, and without them the spread of the logits' error is half as large
    and a decision in a dense place of the scores differs once in 500 instead of once in 125 (measured).
    """
    narrowing = [place for place, (_, k, n) in enumerate(products) if k > n]
    first = narrowing[0] if narrowing else -1
    return {output for place, (output, k, n) in enumerate(products) if place <= first or k > n}


def saturates() -> bool:
    """Whether this machine's int8 products can overflow: x86 without VNNI sums pairs of them in 16 bits."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def with_unsigned_weights(model: ModelProto) -> ModelProto:
    """`model`, changed in place to the same products of uint8 weights: slower, and exact where `saturates()`."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith(CODES) and tensor.data_type == TensorProto.INT8:
            shifted = numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(numpy_helper.from_array(shifted.astype(np.uint8), tensor.name))
    return model


def _sample(model: ModelProto, names: list[str], calibration: Sequence[Feeds]) -> dict[str, NDArray[np.float32]]:
    """Activations at `names`, of some tokens that are not padding, each of shape (tokens, k)."""
    outputs = len(model.graph.output)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    del model.graph.output[outputs:]
    wanted = {node.name for node in session.get_inputs()}
    rng, share = np.random.default_rng(0), -(-SAMPLE_TOKENS // len(calibration))
    parts: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for feeds in calibration:
        mask = feeds["attention_mask"].astype(bool)
        found = session.run(names, {name: value for name, value in feeds.items() if name in wanted})
        for name, value in zip(names, found, strict=True):
            tokens = value[mask] if value.shape[:-1] == mask.shape else value.reshape(-1, value.shape[-1])
            parts[name].append(tokens[rng.permutation(len(tokens))[:share]])
    return {name: np.concatenate(values) for name, values in parts.items()}


def _code(writer: _Writer, source: str, sample: NDArray[np.float32], weights: list[NDArray[np.float32]]) -> _Coded:
    """Nodes that turn the activations `source` into uint8 codes; the range of each token is its own.

    The code of zero is a constant, placed where the sample's typical token has it: in the middle, or near 0 after a
    GELU, whose values are hardly negative.
    """
    name = f"{source}_coded"
    largest = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0).clip(LEAST)
    smoothing = (np.abs(sample).max(axis=0).clip(LEAST) ** SMOOTHING / largest ** (1 - SMOOTHING)).astype(np.float32)
    smooth = sample / smoothing
    low, high = smooth.min(axis=1).clip(max=-LEAST), smooth.max(axis=1).clip(LEAST)
    zero = int(np.clip(np.round(255 * np.median(low / (low - high))), 1, 254))
    divided = writer.add("Mul", [source, writer.constant(f"{name}_by", 1 / smoothing)], f"{name}_smooth")
    axis = writer.constant("last_axis", np.array([-1], np.int64))
    up = writer.constant(f"{name}_up", np.array(1 / (255 - zero), np.float32))
    down = writer.constant(f"{name}_down", np.array(-1 / zero, np.float32))
    highest = writer.add("ReduceMax", [divided, axis], f"{name}_high", keepdims=1)
    lowest = writer.add("ReduceMin", [divided, axis], f"{name}_low", keepdims=1)
    needs = [writer.add("Mul", [highest, up], f"{name}_rise"), writer.add("Mul", [lowest, down], f"{name}_fall")]
    least = writer.constant("least_scale", np.array(LEAST / 255, np.float32))
    scale = writer.add("Max", [*needs, least], f"{name}_scale")
    scaled = writer.add("Div", [divided, scale], f"{name}_scaled")
    one = writer.constant("one", np.array(1, np.float32))
    code_of_zero = writer.constant(f"{name}_zero", np.array(zero, np.uint8))
    return _Coded(
        writer.add("QuantizeLinear", [scaled, one, code_of_zero], f"{name}_codes"), scale, code_of_zero, smoothing
    )


def _multiply(writer: _Writer, output: str, source: _Coded, weight: NDArray[np.float32]) -> None:
    """Nodes for `output` = activations @ weight, in integers and then in both scales."""
    raised = weight * source.smoothing[:, None]
    scale = (np.abs(raised).max(axis=0).clip(LEAST) / 127).astype(np.float32)
    codes = writer.constant(output + CODES, np.round(raised / scale).astype(np.int8))
    zeros = writer.constant(f"{output}_zeros{CODES}", np.zeros(scale.shape, np.int8))
    scales = writer.constant(f"{output}_scales", scale)
    inputs = [source.codes, codes, "one", scales, source.zero, zeros]
    product = writer.add("MatMulIntegerToFloat", inputs, f"{output}_product", domain="com.microsoft")
    writer.add("Mul", [product, source.scale], output)


def _rebuilt(model: ModelProto, writer: _Writer) -> ModelProto:
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    constants = [*kept, *writer.constants.values()]
    for field, values in (("node", writer.nodes), ("initializer", constants)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model
