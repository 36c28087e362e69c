"""Convert Keras networks to ONNX graphs, layer by layer.

The graph follows from the network, so that `gmseg.core.network` alone describes it. (tf2onnx does
not support Keras 3.)
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

_OPSET, _IR_VERSION = 13, 7  # those of ONNX 1.8, for older programs
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}
_NORM = ("gamma", "beta", "mean", "variance")


def to_onnx(network, *, half: bool = False) -> ModelProto:
    """Return a network as an ONNX graph.

    Parameters
    ----------
    network : keras.Model
        From `gmseg.core.network.build_network` or `gmseg.models.unet.build_unet`.
    half : bool
        Store the kernels in half precision; the graph computes in single precision.

    Returns
    -------
    onnx.ModelProto
        From ``window``, float32 (n, height, width, 1), rows from right to left, columns from
        posterior to anterior (LAS), to ``soft``, (n, height, width, outputs).

    Raises
    ------
    TypeError
        If the network has a layer that cannot be converted.
    """
    graph = _Graph(half)
    outputs = {
        id(network.input): graph.node("Transpose", ["window"], "window_first", perm=[0, 3, 1, 2])
    }
    for layer in network.layers:
        if type(layer).__name__ != "InputLayer":
            inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
            names = [outputs[id(tensor)] for tensor in inputs]
            outputs[id(layer.output)] = graph.add_layer(layer, names)
    graph.node("Transpose", [outputs[id(network.output)]], "soft", perm=[0, 2, 3, 1])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "gmseg",
            [_tensor_info("window", network.input)],
            [_tensor_info("soft", network.output)],
            graph.constants,
        ),
        producer_name="gmseg",
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    checker.check_model(model, full_check=True)
    return model


def fill_network(network, graph: bytes) -> None:
    """Fill a Keras network with the constants of a graph that `to_onnx` has written.

    Raises
    ------
    KeyError, ValueError
        If the graph is of another network.
    """
    model = ModelProto.FromString(graph)  # data in other files is not read
    constants = {one.name: one for one in model.graph.initializer}

    def constant(name: str) -> np.ndarray:
        found = constants.pop(name, None) or constants.pop(f"{name}_half")
        return numpy_helper.to_array(found).astype(np.float32)

    for layer in network.layers:
        if not layer.weights:
            continue
        names = _NORM if type(layer).__name__ == "BatchNormalization" else ("kernel", "bias")
        values = [constant(f"{layer.name}_{name}") for name in names]
        if names[0] == "kernel":
            values[0] = values[0].transpose(2, 3, 1, 0)
        layer.set_weights(values)
    if constants:
        raise ValueError(f"{len(constants)} constants are left over")


def fill_graph(template: bytes, weights: dict[str, list[np.ndarray]]) -> ModelProto:
    """Return the graph of the paper's network with other weights, without Keras.

    Parameters
    ----------
    template : bytes
        Graph of the paper's network that `to_onnx` has written; its numbers of filters and outputs
        may differ.
    weights : dict
        Layer to its arrays, as Keras has them: kernel (rows, columns, in, out) and bias, or gamma,
        beta, mean and variance.

    Raises
    ------
    ValueError
        If the weights are of another network. The message names the layer.
    """
    model = ModelProto.FromString(template)
    before = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    channels = {  # of the template, and of the weights
        before["stem_1_bias"].size: weights["stem_1"][1].size,
        before["branches_norm_mean"].size: weights["branches_norm"][2].size,
        before["logits_bias"].size: weights["logits"][1].size,
    }
    constants = []
    for layer, arrays in weights.items():
        names = _NORM if layer.endswith("_norm") else ("kernel", "bias")
        for name, array in zip(names, arrays, strict=True):
            value = array.transpose(3, 2, 0, 1) if name == "kernel" else array
            old = before.pop(f"{layer}_{name}", np.empty(0))
            if value.shape != tuple(channels.get(size, size) for size in old.shape):
                raise ValueError(f"layer {layer}: {name} has the shape {array.shape}")
            value = np.ascontiguousarray(value, np.float32)
            constants.append(numpy_helper.from_array(value, f"{layer}_{name}"))
    if before:
        raise ValueError(f"layer {next(iter(before))} is missing")
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    shape = model.graph.output[0].type.tensor_type.shape
    shape.dim[3].dim_value = weights["logits"][1].size
    checker.check_model(model, full_check=True)
    return model


def _tensor_info(name: str, tensor):
    """Return name, type and shape of an input or output; free dimensions have names."""
    free = ("n", "height", "width", "channels")
    shape = [length or free[axis] for axis, length in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """Nodes and constants of a graph; channels come first, as in ONNX.

    A method ``_add_KIND`` adds a Keras layer of this kind and returns the name of its output.
    """

    def __init__(self, half: bool) -> None:
        self.half = half
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add_layer(self, layer, inputs: list[str]) -> str:
        kind = type(layer).__name__
        add = getattr(self, f"_add_{kind}", None)
        if add is None:
            raise TypeError(f"a layer of the kind {kind} cannot be written as ONNX")
        return add(layer, *inputs)

    def node(self, kind: str, inputs: list[str], name: str, **attributes) -> str:
        """Add a node; return its name, which is that of its output."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _kernel(self, layer, value: np.ndarray) -> str:
        name = f"{layer.name}_kernel"
        if not self.half:
            return self._constant(name, value)
        half = self._constant(f"{name}_half", value.astype(np.float16))
        return self.node("Cast", [half], name, to=TensorProto.FLOAT)

    def _activated(self, layer, x: str) -> str:
        kind = layer.activation.__name__
        return x if kind == "linear" else self.node(_ACTIVATIONS[kind], [x], f"{layer.name}_{kind}")

    def _add_Conv2D(self, layer, x):  # noqa: N802
        kernel, bias = map(np.asarray, layer.get_weights())
        rates = layer.dilation_rate
        margins = [rate * (n // 2) for rate, n in zip(rates, kernel.shape[:2], strict=True)]
        weights = [
            self._kernel(layer, kernel.transpose(3, 2, 0, 1)),
            self._constant(f"{layer.name}_bias", bias),
        ]
        convolved = self.node(
            "Conv", [x, *weights], layer.name, pads=2 * margins, dilations=list(rates)
        )
        return self._activated(layer, convolved)

    def _add_Conv2DTranspose(self, layer, x):  # noqa: N802
        kernel, bias = map(np.asarray, layer.get_weights())
        # (rows, columns, out, in); blocks do not overlap, so the order of rows is that of Keras
        weights = [
            self._kernel(layer, kernel.transpose(3, 2, 0, 1)),
            self._constant(f"{layer.name}_bias", bias),
        ]
        convolved = self.node(
            "ConvTranspose", [x, *weights], layer.name, strides=list(layer.strides)
        )
        return self._activated(layer, convolved)

    def _add_MaxPooling2D(self, layer, x):  # noqa: N802
        size = list(layer.pool_size)
        return self.node("MaxPool", [x], layer.name, kernel_shape=size, strides=size)

    def _add_BatchNormalization(self, layer, x):  # noqa: N802
        values = [
            self._constant(f"{layer.name}_{name}", np.asarray(value))
            for name, value in zip(_NORM, layer.get_weights(), strict=True)
        ]
        return self.node("BatchNormalization", [x, *values], layer.name, epsilon=layer.epsilon)

    def _add_Dropout(self, layer, x):  # noqa: ARG002, N802
        return x

    def _add_Activation(self, layer, x):  # noqa: N802
        return self._activated(layer, x)

    def _add_Concatenate(self, layer, *inputs):  # noqa: N802
        return self.node("Concat", list(inputs), layer.name, axis=1)

    def _add_GlobalAveragePooling2D(self, layer, x):  # noqa: N802
        return self.node("GlobalAveragePool", [x], layer.name)

    def _add_RepeatOverImage(self, layer, value, image):  # noqa: N802
        shape = self.node("Shape", [image], f"{layer.name}_shape")
        return self.node("Expand", [value, shape], layer.name)
