"""``gmseg sample``."""

import pytest
from command import run

from gmseg.datasets import sample
from gmseg.io.resources import bundled


@pytest.fixture
def cached(monkeypatch):
    """Replace the download by the phantom that comes with gmseg."""
    files = [bundled(f"data/sample/{name}.nii.gz") for name in ("phantom_t2s", "phantom_t2s_gm")]
    monkeypatch.setattr(sample, "fetch", lambda *_, progress, **__: files)
    return files


def test_the_sample_is_copied_and_nothing_is_replaced(cached, tmp_path, capsys):
    code, out, err = run(capsys, "sample", "--out-dir", tmp_path / "s")
    assert code == 0
    copies = [tmp_path / "s" / file.name for file in cached]
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["scan", str(copies[0])],
        ["reference", str(copies[1])],
    ]
    assert err == f"gmseg: next: gmseg segment {copies[0]}\n"
    assert [copy.read_bytes() for copy in copies] == [file.read_bytes() for file in cached]
    assert run(capsys, "-q", "sample", "--out-dir", tmp_path / "s") == (0, out, "")

    copies[0].write_text("mine")
    code, _, err = run(capsys, "sample", "--out-dir", tmp_path / "s")
    assert code == 2
    assert "exists; use --overwrite" in err
    assert copies[0].read_text() == "mine"
    assert run(capsys, "sample", "--out-dir", tmp_path / "s", "--overwrite")[0] == 0
    assert copies[0].read_bytes() == cached[0].read_bytes()


def test_without_a_network_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sample.fetch_sample.__kwdefaults__, "base_url", "http://127.0.0.1:9/")
    code, out, err = run(capsys, "sample", "--out-dir", tmp_path / "s")
    assert (code, out) == (2, "")
    assert "check the network" in err.splitlines()[-1]
    assert not (tmp_path / "s").exists()
