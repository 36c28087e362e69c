"""Layout and arithmetic of the 2017 release, written for the tests without Keras."""

import json

import h5py
import numpy as np

BRANCHES = ["branch1x1", "rate6", "rate12", "rate18", "rate24"]
TRUNK = ["conv2d_1", "conv2d_2", "rate2_1", "rate2_2"]
IN_BRANCHES = [f"{branch}_{i}" for branch in BRANCHES for i in (1, 2)]


def write_release(path, filters=32, seed=0):
    """Write random weights in the layout of Keras 2.0.6, and the JSON beside them."""
    rng = np.random.default_rng(seed)
    shapes = {"conv2d_1": (3, 3, 1, filters), "branch1x1_2": (1, 1, filters, filters)}
    shapes |= {"amort": (1, 1, 6 * filters, 64), "predictions": (1, 1, 64, 1)}
    names = [*TRUNK, *IN_BRANCHES, "amort", "predictions"]
    with h5py.File(path, "w") as file:
        for name in names:
            shape = shapes.get(name, (3, 3, filters, filters))
            spread = np.sqrt(2 / np.prod(shape[:3]))
            _put(
                file, name, kernel=rng.normal(0, spread, shape), bias=rng.normal(0, 0.1, shape[-1])
            )
        for i in range(1, 17):
            n = {15: 6 * filters, 16: 64}.get(i, filters)
            _put(
                file,
                f"batch_normalization_{i}",
                gamma=rng.uniform(0.5, 1.5, n),
                beta=rng.normal(0, 0.2, n),
                moving_mean=rng.normal(0.3, 0.2, n),
                moving_variance=rng.uniform(0.2, 1.5, n),
            )
        order = [*names, *(f"batch_normalization_{i}" for i in range(1, 17))]
        file.attrs["layer_names"] = [name.encode() for name in order]
        file.attrs["keras_version"] = b"2.0.6"
        file.attrs["backend"] = b"tensorflow"
    path.with_suffix(".json").write_text(json.dumps({"mean_train": 449.5, "std_train": 489.25}))
    return path


def _put(file, name, **weights):
    group = file.create_group(name)
    group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in weights]
    for key, value in weights.items():
        group.create_dataset(f"{name}/{key}:0", data=value.astype(np.float32))


def forward(path, window):
    """Return the logits of a window (height, width), in double precision, with NumPy alone."""
    with h5py.File(path) as file:
        w = {}
        file.visititems(
            lambda name, item: (
                w.update({name.split("/", 1)[1]: item[()].astype(float)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )

    def conv(x, name, rate=1):
        kernel, (height, width) = w[f"{name}/kernel:0"], x.shape[1:]
        reach = kernel.shape[0] // 2 * rate
        wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
        out = np.zeros((kernel.shape[3], height, width)) + w[f"{name}/bias:0"][:, None, None]
        for row, column in np.ndindex(kernel.shape[:2]):
            top, left = row * rate, column * rate
            part = wide[:, top : top + height, left : left + width]
            out += np.tensordot(kernel[row, column].T, part, axes=1)
        return out

    def norm(x, number):
        gamma, beta, mean, variance = (
            w[f"batch_normalization_{number}/{key}:0"][:, None, None]
            for key in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def step(x, name, number, rate=1):
        return norm(np.maximum(conv(x, name, rate), 0), number)

    stem = step(step(np.asarray(window, float)[None], "conv2d_1", 1), "conv2d_2", 2)
    trunk = step(step(stem, "rate2_1", 3, 2), "rate2_2", 4, 2)
    branches, number = [], 5
    for branch in BRANCHES:
        rate = int(branch[4:]) if branch.startswith("rate") else 1
        first = step(trunk, f"{branch}_1", number, rate)
        branches.append(step(first, f"{branch}_2", number + 1, rate))
        number += 2
    mean = np.broadcast_to(stem.mean(axis=(1, 2), keepdims=True), stem.shape)
    joined = norm(np.concatenate([*branches[:4], mean, branches[4]]), 15)
    return conv(step(joined, "amort", 16), "predictions")[0]
