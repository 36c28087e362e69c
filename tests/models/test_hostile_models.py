"""Hostile models: no file runs code, leads elsewhere, or takes the memory that it declares."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from limits import limits
from release2017 import write_release

from gmseg import InputError
from gmseg.inference import engines
from gmseg.io import hdf5
from gmseg.models import registry
from gmseg.models.factory import build, network_sizes, sizes_fit
from gmseg.models.registry import load_model, load_network

SECONDS, MEGABYTES = 60, 300
NETWORK = {"filters": 2, "dilation_rates": [3]}
FIRST = {"weights.h5": "layers/conv2d/vars/0", "hdf5": "conv2d_1/conv2d_1/kernel:0"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a folder with a small model, one of the 2017 layout, and copies of their arrays."""
    folder = tmp_path_factory.mktemp("whole")
    network = build(network_sizes(NETWORK))
    registry.save_model(network, folder, "m", network=NETWORK)
    write_release(folder / "r.hdf5", filters=2)
    for name, first in (("m.weights.h5", FIRST["weights.h5"]), ("r.hdf5", FIRST["hdf5"])):
        with h5py.File(folder / name) as file:
            values = file[first][()]
        with h5py.File(folder / f"elsewhere-{name}", "w") as file:
            file["values"] = values
        (folder / f"elsewhere-{name}.raw").write_bytes(values.tobytes())
    return folder


@pytest.fixture(autouse=True)
def built_once(monkeypatch):
    """Build every network once: that takes longer than everything that is tested here."""
    networks = {}

    def build_once(sizes):
        if sizes not in networks:
            networks[sizes] = build(sizes)
        return networks[sizes]

    monkeypatch.setattr(registry, "build", build_once)


@pytest.fixture(params=["m.weights.h5", "r.hdf5"])
def weights(request, whole, tmp_path):
    """Return a copy of the weights of a model, to be damaged."""
    for file in whole.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / request.param


def first_of(weights) -> str:
    return FIRST[weights.name.split(".", 1)[1]]


def pin(weights):
    """Write the checksum of the damaged weights into the card, as an attacker would."""
    card = weights.with_name("m.json")
    content = json.loads(card.read_text()) | {"weights_sha256": registry.sha256(weights)}
    card.write_text(json.dumps(content))


def load(weights):
    """Load the network within limits."""
    pin(weights)
    with limits(SECONDS, MEGABYTES):
        return load_network(load_model(weights))


def assert_refused(weights, fault):
    with pytest.raises(InputError, match=fault) as raised:
        load(weights)
    message = str(raised.value)
    assert message.startswith(f"{weights}: ")
    assert len(message.splitlines()) == 1
    assert "; " in message or message.endswith("?")


def external_link(file, first):
    del file[first]
    file[first] = h5py.ExternalLink(f"elsewhere-{file_name(file)}", "/values")


def external_group(file, first):
    file.move(first.split("/")[0], "kept")
    file[first.split("/")[0]] = h5py.ExternalLink(file_name(file), "/kept")


def soft_link(file, first):
    file.move(first, "kept")
    file[first] = h5py.SoftLink("/kept")


def external_storage(file, first):
    shape, dtype = file[first].shape, file[first].dtype
    del file[first]
    raw = f"elsewhere-{file_name(file)}.raw"
    file.create_dataset(first, shape, dtype, external=[(raw, 0, h5py.h5f.UNLIMITED)])


def virtual(file, first):
    shape, dtype = file[first].shape, file[first].dtype
    del file[first]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(f"elsewhere-{file_name(file)}", "values", shape)
    file.create_virtual_dataset(first, layout)


def file_name(file) -> str:
    return file.filename.rsplit("/", 1)[-1]


def replaced(**dataset):
    def change(file, first):
        del file[first]
        file.create_dataset(first, **dataset)

    return change


def added(**dataset):
    return lambda file, first: file.create_dataset("more", **dataset)


def texts(file, first):
    del file[first]
    file.create_dataset(first, data=["cos\nsystem"], dtype=h5py.string_dtype())


def references(file, first):
    del file[first]
    file.create_dataset(first, data=[file.ref], dtype=h5py.ref_dtype)


def many_objects(file, first):
    for i in range(1001):
        file.create_group(f"many/{i}")


def large_attribute(file, first):
    file.create_group("a", track_order=True).attrs.create("b", np.zeros(2**18))


HUGE = 2**40  # numbers
TOO_MANY = "it declares 67[0-9]* bytes, more than the [0-9]* expected"
DAMAGES = {
    "external link": (external_link, "is an external or soft link"),
    "external group": (external_group, "is an external or soft link"),
    "soft link": (soft_link, "is an external or soft link"),
    "external storage": (external_storage, "lies in another file"),
    "virtual": (virtual, "lies in another file"),
    "declared": (
        replaced(shape=(HUGE,), dtype="f4"),
        "declares 4398046511104 bytes and contains 0",
    ),
    "declared in chunks": (
        replaced(shape=(HUGE,), dtype="f4", chunks=True, compression=9),
        "bytes and contains 0",
    ),
    "packed": (replaced(data=np.zeros(2**24, "f4"), compression=9), f"{TOO_MANY}|in the layout"),
    "beside the weights": (added(data=np.zeros(2**24, "f4"), compression=9), TOO_MANY),
    "large chunk": (
        replaced(data=np.zeros(9, "f4"), chunks=(2**24,), maxshape=(None,), compression=9),
        f"{TOO_MANY}|in the layout",
    ),
    "texts": (texts, "contains object, no weights"),
    "references": (references, "contains object, no weights"),
    "records": (added(data=np.zeros(3, "f4,f4")), "no weights"),
    "another packing": (
        added(data=np.zeros(3), chunks=(3,), compression="lzf"),
        "unknown compression",
    ),
    "many objects": (many_objects, "too many objects"),
    "attribute": (large_attribute, "'a' has an attribute that is too large"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_weights_that_hold_more_than_numbers_are_refused(case, weights, monkeypatch):
    damage, fault = DAMAGES[case]
    monkeypatch.setattr(hdf5, "_MOST_OBJECTS", 1000)  # writing more takes long
    with h5py.File(weights, "r+", libver="latest") as file:
        damage(file, first_of(weights))
    assert_refused(weights, fault)


def test_a_pipe_behind_a_link_is_not_opened(weights):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    pipe = weights.with_name("pipe")
    os.mkfifo(pipe)
    with h5py.File(weights, "r+") as file:
        del file[first_of(weights)]
        file[first_of(weights)] = h5py.ExternalLink("pipe", "/values")
    writer = os.open(pipe, os.O_RDWR)  # without it, opening the pipe would wait forever
    assert_refused(weights, "is an external or soft link")
    os.close(writer)


def test_code_in_a_configuration_is_ignored(weights):
    """Whole models of Keras hold code in the configuration of a Lambda layer; weights do not."""
    trap = {"class_name": "Lambda", "config": {"function": ["gASVcw==", None, None]}}
    system = {"module": "os", "class_name": "system", "config": {"command": "false"}}
    with h5py.File(weights, "r+") as file:
        for key in ("model_config", "layer_names_config", "training_config"):
            file.attrs[key] = json.dumps({"class_name": "Sequential", "config": [trap, system]})
        expected = file[first_of(weights)][()]
    network = load(weights)
    np.testing.assert_array_equal(network.get_weights()[0], expected)


def test_a_group_that_contains_itself_is_accepted(weights):
    with h5py.File(weights, "r+") as file:
        file["again"] = file["/"]
        file["again/deeper"] = file["again"]
    load(weights)


def test_the_state_of_an_optimiser_is_accepted(whole, tmp_path):
    network = build(network_sizes(NETWORK))
    network.compile("adam", loss="mse")
    network.optimizer.build(network.trainable_variables)
    network.save_weights(tmp_path / "m.weights.h5")
    shutil.copy(whole / "m.json", tmp_path)
    load(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5") as file:
        assert "optimizer" in file


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, weights):
    with h5py.File(weights, "r+") as file:
        file[first_of(weights)][...] = value
    assert_refused(weights, "contains NaN or infinity")


def test_an_output_that_is_not_finite_is_refused(weights, monkeypatch):
    monkeypatch.setattr(engines, "keras_predictor", lambda _: lambda windows: np.nan * windows)
    predict = engines.load_predictor(load_model(weights))
    with pytest.raises(InputError, match="gives NaN; get the model's files again") as raised:
        predict(np.zeros((1, 32, 32), np.float32))
    assert str(raised.value).startswith(f"{weights}: ")


def test_damaged_weights(weights):
    """Loaded as numbers or refused in one line, and nothing else."""
    content = weights.read_bytes()
    refusals = 0
    for number in range(30):
        rng = np.random.default_rng(number)
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(min(len(damaged), 4096 if number % 2 else len(damaged)) - 8))
            damaged[at : at + 4] = rng.bytes(4) if number % 3 else b"\xff\xff\xff\x7f"
        if number % 5 == 0:
            del damaged[int(rng.integers(len(damaged))) :]
        weights.write_bytes(damaged)
        try:
            load(weights)
        except InputError as error:
            refusals += 1
            message = str(error)
        except BaseException as error:
            error.add_note(f"damaged weights number {number}")
            raise
        else:
            continue
        assert message.startswith(f"{weights}: "), (number, message)
        assert len(message.splitlines()) == 1, (number, message)
    assert refusals > 5


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(InputError, match="is no HDF5 file that can be read"):
        hdf5.check_hdf5(tmp_path / "x.h5")


def changed_card(**changes):
    return lambda content: json.dumps(content | changes)


DEEP = "[" * 100_000 + "]" * 100_000
CARDS = {
    "not UTF-8": (lambda _: b"\xff\xfe{\0}\0", "is not JSON"),
    "deep": (lambda content: json.dumps(content)[:-1] + f', "scores": {DEEP}}}', "is not JSON"),
    "large": (changed_card(scores=["x" * 1000] * 5000), "too large for a model's card"),
    "large number": (lambda content: f'{{"threshold": {"9" * 10_000}}}', "is not JSON"),
    "list": (lambda _: "[]", "contains no JSON object"),
    "name that leads elsewhere": (changed_card(name="../../evil"), "name cannot be used"),
    "name of a folder": (changed_card(name="/etc/passwd"), "name cannot be used"),
    "name of two lines": (changed_card(name="a\nb"), "name cannot be used"),
    "name that colours": (changed_card(name="\x1b[31mred"), "name cannot be used"),
    "no name": (changed_card(name=" "), "name cannot be used"),
    "provenance": (
        changed_card(trained_on=5, command=["a"], commit={}),
        "trained_on, command, com",
    ),
    "NaN": (changed_card(threshold=float("nan"), mean=float("inf")), "mean, threshold cannot be"),
    "confidence": (changed_card(confidence=[[0, 10**400]]), "confidence cannot be used"),
    "checksum": (changed_card(weights_sha256=["a"]), "SHA-256 is not the one in"),
    "window": (changed_card(window=True), "window cannot be used"),
    "large window": (changed_card(window=1024, network={"filters": 512}), "window cannot be used"),
    "many branches": (
        changed_card(network={"filters": 512, "dilation_rates": list(range(3, 200))}),
        "network cannot be used",
    ),
    "network": (
        changed_card(network={"kind": ["unet"], "widths": "abc"}),
        "network cannot be used",
    ),
}


@pytest.mark.parametrize("case", CARDS)
def test_hostile_cards(case, whole, tmp_path):
    make, fault = CARDS[case]
    shutil.copy(whole / "m.weights.h5", tmp_path)
    card = tmp_path / "m.json"
    text = make(json.loads((whole / "m.json").read_text()))
    card.write_bytes(text if isinstance(text, bytes) else text.encode())
    with limits(SECONDS, MEGABYTES), pytest.raises(InputError, match=fault) as raised:
        load_model(card)
    assert len(str(raised.value).splitlines()) == 1
    assert str(raised.value).startswith(str(tmp_path))


def test_a_card_cannot_name_other_weights(whole, tmp_path):
    content = json.loads((whole / "m.json").read_text())
    shutil.copy(whole / "m.weights.h5", tmp_path)
    (tmp_path / "m.json").write_text(json.dumps(content | {"weights": "/etc/passwd"}))
    assert load_model(tmp_path / "m.json").weights == tmp_path / "m.weights.h5"


def test_cards_that_are_not_files_are_refused(whole, tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    shutil.copy(whole / "r.hdf5", tmp_path)
    os.mkfifo(tmp_path / "r.json")
    with limits(SECONDS), pytest.raises(InputError, match=r"r\.json: is not a file"):
        load_model(tmp_path / "r.hdf5")
    (tmp_path / "r.json").unlink()
    (tmp_path / "r.json").symlink_to("/dev/zero")
    with limits(SECONDS, MEGABYTES), pytest.raises(InputError, match=r"r\.json: is not a file"):
        load_model(tmp_path / "r.hdf5")


def test_mean_and_std_of_a_release_are_checked(whole, tmp_path):
    shutil.copy(whole / "r.hdf5", tmp_path)
    for values in ({"mean_train": "nan", "std_train": 1}, {"mean_train": [1], "std_train": 2}):
        (tmp_path / "r.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"r\.json: mean"):
            load_model(tmp_path / "r.hdf5")


def test_largest_number_of_branches():
    assert sizes_fit({"dilation_rates": list(range(3, 19))})
    assert not sizes_fit({"dilation_rates": list(range(3, 20))})
