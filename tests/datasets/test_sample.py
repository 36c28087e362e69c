"""The open scan that is downloaded on request."""

import shutil

import pytest
from loopback import serve

from gmseg import InputError, datasets
from gmseg.datasets import sample
from gmseg.io.download import RemoteFile
from gmseg.io.files import sha256
from gmseg.io.resources import bundled


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a phantom in the place of the sample; yield the address and the requests."""
    folder = tmp_path / "served"
    folder.mkdir()
    phantoms = [bundled(f"data/sample/{name}.nii.gz") for name in ("phantom_t2s", "phantom_t2s_gm")]
    files = {}
    for name, phantom in zip(sample.SAMPLE_FILES, phantoms, strict=True):
        shutil.copy(phantom, folder / name)
        files[name] = RemoteFile(name, sha256(phantom), phantom.stat().st_size)
    monkeypatch.setattr(sample, "SAMPLE_FILES", files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve(folder) as (url, requests):
        yield url, requests


def test_the_sample_is_downloaded_once_with_a_progress_bar(server, tmp_path, capsys):
    url, requests = server
    steps = []
    fetched = datasets.fetch_sample(base_url=url, progress=lambda *step: steps.append(step))
    assert fetched.scan.name == "sub-9584_run-1_T2starw.nii.gz"
    assert fetched.reference.name == "sub-9584_run-1_T2starw_gmseg-manual.nii.gz"
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert capsys.readouterr().err == ""
    assert len(requests) == 2
    assert datasets.fetch_sample(base_url="http://127.0.0.1:9/") == fetched  # from the cache
    assert datasets.fetch_sample(tmp_path / "mine", base_url=url).scan.parent == tmp_path / "mine"
    assert "100%" in capsys.readouterr().err


def test_a_damaged_file_is_downloaded_again(server):
    url, _ = server
    fetched = datasets.fetch_sample(base_url=url)
    content = fetched.scan.read_bytes()
    fetched.scan.write_bytes(content[:1000])
    assert datasets.fetch_sample(base_url=url).scan.read_bytes() == content


def test_without_a_network_the_error_says_what_to_do(server):
    url, _ = server
    with pytest.raises(InputError, match="check the network, or use a scan of your own") as caught:
        datasets.fetch_sample(base_url="http://127.0.0.1:9/")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"cannot be downloaded \(HTTPError 404\)"):
        datasets.fetch_sample(base_url=url + "nowhere/")


def test_the_pinned_files_are_those_of_the_challenge(shared):
    folder = shared / "data/t2starw-multicentre"
    scan, reference = sample.SAMPLE_FILES.items()
    places = {
        folder / "sub-9584/anat": scan,
        folder / "derivatives/labels/sub-9584/anat": reference,
    }
    for place, (name, (_, checksum, size)) in places.items():
        assert (sha256(place / name), (place / name).stat().st_size) == (checksum, size)


def test_an_example_is_the_phantom_unless_asked_otherwise(server, tmp_path):
    url, requests = server
    phantom = sample.example_scan(base_url=url)
    assert (phantom.scan.name, phantom.reference.name) == (
        "phantom_t2s.nii.gz",
        "phantom_t2s_gm.nii.gz",
    )
    assert not requests  # only "sample" uses the network
    real = sample.example_scan("sample", base_url=url)
    assert real[:2] == datasets.fetch_sample(base_url=url)
    assert "real scan" in real.what
    shutil.copy(phantom.scan, tmp_path / "mine.nii.gz")
    assert sample.example_scan(tmp_path / "mine.nii.gz").reference is None
    with pytest.raises(InputError, match=r"none\.nii: does not exist; give a scan"):
        sample.example_scan("none.nii")


def test_an_example_without_a_network_is_one_line_in_jupyter(server):
    """IPython prints what this method returns instead of the traceback."""
    with pytest.raises(InputError) as caught:
        sample.example_scan("sample", base_url="http://127.0.0.1:9/")
    [line] = caught.value._render_traceback_()
    assert line.startswith("InputError: http://127.0.0.1:9/")
    assert "check the network" in line
    assert "\n" not in line
