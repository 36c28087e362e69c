"""Keras networks as ONNX graphs, layer by layer, so that a network is described in one place."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

_OPSET, _IR_VERSION = 13, 7  # those of ONNX 1.8: older programs read them, too
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}


def to_onnx(network) -> ModelProto:
    """Return a network as an ONNX graph.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.core.network.build_network`, with a region or without.

    Returns
    -------
    onnx.ModelProto
        From ``window``, float32 (n, height, width, 1), rows from right to left, columns from
        back to front (LAS), and the ``corner`` of a region, if there is one, to ``soft``: as the
        network takes and gives them.

    Raises
    ------
    TypeError
        If the network has a layer that is not known here.
    """
    graph = _Graph()
    results, inputs = {}, []
    for given in network.inputs:
        inputs.append(_described(given.name, given))
        results[id(given)] = graph.first(given)
    for layer in network.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        made = graph.layer(layer, [results[id(one)] for one in _listed(layer.input)])
        results |= dict(zip(map(id, _listed(layer.output)), made, strict=True))
    graph.node("Transpose", [results[id(network.output)]], "soft", perm=[0, 2, 3, 1])
    made = helper.make_model(
        helper.make_graph(
            graph.nodes, "gmseg", inputs, [_described("soft", network.output)], graph.constants
        ),
        producer_name="gmseg",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    checker.check_model(made, full_check=True)
    return made


def _listed(tensors) -> list:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _described(name: str, tensor):
    """Return the name, type and shape of an input or output; what is free has a name."""
    free = ("n", "height", "width", "channels")
    shape = [length or free[axis] for axis, length in enumerate(tensor.shape)]
    kind = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}[tensor.dtype]
    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
    """Nodes and constants of a graph; channels come first in it, as ONNX has them."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def first(self, given) -> str:
        """Add what an input begins with; return the name of what comes of it."""
        if given.name == "window":
            return self.node("Transpose", ["window"], "window_first", perm=[0, 3, 1, 2])
        return self.node("Cast", [given.name], f"{given.name}_long", to=TensorProto.INT64)

    def layer(self, layer, given: list[str]) -> list[str]:
        """Add a layer; return the names of what it gives."""
        kind = type(layer).__name__
        if not hasattr(self, f"_{kind}"):
            raise TypeError(f"a layer of the kind {kind} cannot be written as ONNX")
        return _listed(getattr(self, f"_{kind}")(layer, *given))

    def node(self, kind: str, given: list[str], name: str, **attributes) -> str:
        """Add a node; return the name of what it gives, which is its own."""
        self.nodes.append(helper.make_node(kind, given, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray | list[int]) -> str:
        """Add a constant; return its name."""
        value = np.array(value, np.int64) if isinstance(value, list) else value
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def activated(self, layer, x: str) -> str:
        """Add what a layer ends with."""
        kind = layer.activation.__name__
        if kind == "linear":
            return x
        return self.node(_ACTIVATIONS[kind], [x], f"{layer.name}_{kind}")

    # --------------------------------------------------------- one method for a kind of layer

    def _Conv2D(self, layer, x):  # noqa: N802
        kernel, bias = map(np.asarray, layer.get_weights())
        shape, rates = kernel.shape[:2], layer.dilation_rate
        same = layer.padding == "same"
        margins = [rate * (n // 2) * same for rate, n in zip(rates, shape, strict=True)]
        values = self.constant(f"{layer.name}_kernel", kernel.transpose(3, 2, 0, 1))
        offsets = self.constant(f"{layer.name}_bias", bias)
        made = self.node(
            "Conv", [x, values, offsets], layer.name, pads=2 * margins, dilations=list(rates)
        )
        return self.activated(layer, made)

    def _BatchNormalization(self, layer, x):  # noqa: N802
        names = ("gamma", "beta", "mean", "variance")
        values = [
            self.constant(f"{layer.name}_{name}", np.asarray(value))
            for name, value in zip(names, layer.get_weights(), strict=True)
        ]
        return self.node("BatchNormalization", [x, *values], layer.name, epsilon=layer.epsilon)

    def _Dropout(self, layer, x):  # noqa: ARG002, N802
        return x

    def _Activation(self, layer, x):  # noqa: N802
        return self.activated(layer, x)

    def _Concatenate(self, layer, *given):  # noqa: N802
        return self.node("Concat", list(given), layer.name, axis=1)

    def _Multiply(self, layer, *given):  # noqa: N802
        return self.node("Mul", list(given), layer.name)

    def _GlobalAveragePooling2D(self, layer, x):  # noqa: N802
        return self.node("GlobalAveragePool", [x], layer.name)

    def _RepeatOverImage(self, layer, value, image):  # noqa: N802
        shape = self.node("Shape", [image], f"{layer.name}_shape")
        return self.node("Expand", [value, shape], layer.name)

    def _Cropping2D(self, layer, x):  # noqa: N802
        lengths = layer.input.shape[1:3]
        first = [before for before, _ in layer.cropping]
        last = [n - after for n, (_, after) in zip(lengths, layer.cropping, strict=True)]
        starts = self.constant(f"{layer.name}_from", first)
        ends = self.constant(f"{layer.name}_to", last)
        axes = self.constant(f"{layer.name}_axes", [2, 3])
        return self.node("Slice", [x, starts, ends, axes], layer.name)

    def _CutOut(self, layer, images, corner):  # noqa: N802
        name, around = layer.name, layer.around
        length = self.constant(f"{name}_length", [layer.side + 2 * around] * 2)
        beyond = self.constant(f"{name}_beyond", [0, 0, around, around] * 2)
        axes = self.constant(f"{name}_axes", [2, 3])
        end = self.node("Add", [corner, length], f"{name}_end")
        shape = self.constant(f"{name}_shape", [1, 1, *layer.input[0].shape[1:3]])
        one = self.constant(f"{name}_one", np.ones((1, 1, 1, 1), np.float32))
        inside = self.node("Expand", [one, shape], f"{name}_ones")
        made = []
        for part, x in (("images", images), ("inside", inside)):
            padded = self.node("Pad", [x, beyond], f"{name}_{part}_padded")
            made.append(self.node("Slice", [padded, corner, end, axes], f"{name}_{part}"))
        return made
