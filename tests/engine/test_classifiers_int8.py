from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from engine.classifiers import int8
from engine.classifiers.int8 import quantise, saturates, with_unsigned_weights

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(64, 96)).astype(np.float32)
SECOND = RNG.normal(size=(64, 80)).astype(np.float32)


def graph() -> ModelProto:
    """`out` = x @ WEIGHT, `other` = x @ SECOND, and x @ x^T, which has no constant side."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["out"]),
        helper.make_node("MatMul", ["x", "v"], ["other"]),
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["square"]),
        helper.make_node("Identity", ["attention_mask"], ["mask"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "s", 64]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "s"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("out", "other", "square")]
    outputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, None))
    constants = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(SECOND, "v")]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def feeds(x: NDArray[np.float32]) -> dict[str, NDArray]:
    return {"x": x, "attention_mask": np.ones(x.shape[:2], np.int64)}


def run(model: ModelProto, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """As it is run on this machine: with unsigned weights where signed products overflow."""
    if saturates():
        copied = ModelProto()
        copied.CopyFrom(model)
        model = with_unsigned_weights(copied)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["out", "other", "square"], feeds(x))


def activations(seed: int, n: int = 3) -> NDArray[np.float32]:
    """Like a transformer's: one channel twenty times the others, some tokens five times the others."""
    x = np.random.default_rng(seed).normal(size=(n, 5, 64)).astype(np.float32)
    x[..., 7] *= 20
    x[0, 0] *= 5
    return x


def test_products_are_close_to_the_exact_ones() -> None:
    model, x = quantise(graph(), [feeds(activations(0)), feeds(activations(1))]), activations(2)
    out, other, square = run(model, x)
    assert np.abs(out - x @ WEIGHT).max() < 0.02 * np.abs(x @ WEIGHT).max()
    assert np.std(out - x @ WEIGHT) < 0.01 * np.std(x @ WEIGHT)
    assert np.std(other - x @ SECOND) < 0.01 * np.std(x @ SECOND)
    assert square == pytest.approx(x @ x.transpose(0, 2, 1), rel=1e-4, abs=1e-3)
    assert {t.data_type for t in model.graph.initializer if t.name.endswith(int8.CODES)} == {TensorProto.INT8}
    assert not {"w", "v"} & {tensor.name for tensor in model.graph.initializer}


def test_a_token_does_not_feel_its_neighbours() -> None:
    model, x = quantise(graph(), [feeds(activations(0))]), activations(3)
    together = run(model, x)[0]
    loud = x.copy()
    loud[1:] *= 1000
    assert run(model, loud)[0][0] == pytest.approx(together[0], abs=1e-5)


def test_values_beyond_the_calibration_are_not_clipped() -> None:
    model, x = quantise(graph(), [feeds(activations(0))]), 100 * activations(4)
    assert np.std(run(model, x)[0] - x @ WEIGHT) < 0.01 * np.std(x @ WEIGHT)


def test_one_sided_and_all_zero_tokens() -> None:
    positive = np.abs(activations(5))
    model = quantise(graph(), [feeds(positive)])
    assert np.std(run(model, positive)[0] - positive @ WEIGHT) < 0.01 * np.std(positive @ WEIGHT)
    negative = -positive  # the other side than calibrated: coarser, still not clipped
    assert np.abs(run(model, negative)[0] - negative @ WEIGHT).max() < np.abs(negative @ WEIGHT).max()
    assert run(model, np.zeros((1, 2, 64), np.float32))[0] == pytest.approx(np.zeros((1, 2, 96)), abs=1e-6)


@pytest.mark.skipif(saturates(), reason="signed products overflow on this processor")
def test_unsigned_weights_give_the_same_products() -> None:
    model, x = quantise(graph(), [feeds(activations(0))]), activations(6)
    signed = run(model, x)[0]
    assert run(with_unsigned_weights(model), x)[0] == pytest.approx(signed, rel=1e-6, abs=1e-6)
    assert {t.data_type for t in model.graph.initializer if t.name.endswith(int8.CODES)} == {TensorProto.UINT8}


def test_the_first_layer_and_narrowing_products_stay_exact() -> None:
    sizes = {"a1": (4, 4), "b1": (4, 8), "c1": (8, 4), "a2": (4, 4), "b2": (4, 8), "c2": (8, 4), "last": (4, 4)}
    values = ["x", *(f"{name}_out" for name in sizes)]
    nodes = [
        helper.make_node("MatMul", [source, name], [made])
        for name, source, made in zip(sizes, values[:-1], values[1:], strict=True)
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "s", 4])]
    outputs = [helper.make_tensor_value_info("last_out", TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(RNG.normal(size=size).astype(np.float32), n) for n, size in sizes.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    quantised = quantise(model, [feeds(RNG.normal(size=(3, 5, 4)).astype(np.float32))])
    names = {tensor.name for tensor in quantised.graph.initializer}
    assert names & sizes.keys() == {"a1", "b1", "c1", "c2"}
    assert {name for name in names if name.endswith(int8.CODES) and "zeros" not in name} == {
        f"{name}_out{int8.CODES}" for name in ("a2", "b2", "last")
    }


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "avx2", True),
        ("x86_64", "avx2 avx_vnni", False),
        ("AMD64", "avx512_vnni", False),
        ("arm64", "", False),
    ],
)
def test_which_machines_overflow(machine: str, flags: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8.platform, "machine", lambda: machine)
    monkeypatch.setattr(int8.Path, "read_text", lambda self: flags)
    assert saturates() is expected
