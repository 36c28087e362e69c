"""The state of a run: averages, best weights, and faults on disk."""

import numpy as np
import pytest

from gmseg import InputError
from gmseg.models.backend import import_keras
from gmseg.training import checkpoint


def compiled(value=0.0):
    keras = import_keras()
    network = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
    network.build((None, 1))
    network.set_weights([np.full((1, 1), value, np.float32)])
    network.compile(keras.optimizers.Adam(0.1), loss="mse")
    network.optimizer.build(network.trainable_variables)
    return network


def test_the_average_decays():
    state = checkpoint.State([np.zeros(1)], [np.zeros(1)])
    state.step = state.followed = 10**6
    state.update_average([np.ones(1)], decay=0.9)
    assert state.average[0][0] == 0  # no step since
    state.step += 7
    state.update_average([np.ones(1)], decay=0.9)
    assert state.average[0][0] == pytest.approx(1 - 0.9**7)
    state.step += 1
    state.update_average([np.full(1, 5.0)], decay=0.0)
    assert state.average[0][0] == 5
    # early weights, which still change fast, soon lose weight
    state.step, state.followed = 10, 0
    state.update_average([np.full(1, 7.0)], decay=0.999)
    assert state.average[0][0] == pytest.approx(7, abs=1e-6)


def test_the_best_weights_are_those_of_the_best_validation():
    state = checkpoint.State([np.zeros(1)], [np.zeros(1)])
    for step, dice in enumerate((0.5, 0.8, 0.7, 0.8, 0.6), start=1):
        state.step, state.average, state.losses = step, [np.full(1, step)], [0.1, 0.3]
        state.add_validation(dice)
    assert state.best[0][0] == 2
    assert state.validations_since_best() == 3
    assert state.dice == 0.6
    assert state.loss == pytest.approx(0.2)


def test_a_checkpoint_is_read_as_written(tmp_path):
    network = compiled()
    network.train_on_batch(np.ones((4, 1)), np.ones((4, 1)))
    state = checkpoint.State([np.ones(1)], [np.zeros(1)], 7, 6, [[5, 0.25, float("nan")]], [0.5])
    checkpoint.save(tmp_path / "c.npz", network, state, "run")
    other = compiled(3.0)
    read = checkpoint.load(tmp_path / "c.npz", other, "run")
    assert (read.step, read.followed, read.losses) == (7, 6, [0.5])
    assert read.rows[0][:2] == [5, 0.25]
    assert (read.average[0][0], read.best[0][0]) == (1, 0)
    written = [*network.variables, *network.optimizer.variables]
    restored = [*other.variables, *other.optimizer.variables]
    for before, after in zip(written, restored, strict=True):
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    with pytest.raises(InputError, match="belongs to a run with another precision, protocol"):
        checkpoint.load(tmp_path / "c.npz", other, "another run")
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a checkpoint that can be read"):
        checkpoint.load(tmp_path / "c.npz", other, "run")
