"""``gmseg models``: list, download and import."""

from command import run

from gmseg.models import download


def test_models_list_and_import(tmp_path, capsys, monkeypatch):
    from release2017 import write_release

    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "models"))
    release = write_release(tmp_path / "mine.hdf5")
    code, out, _ = run(capsys, "models", "import", release)
    assert code == 0
    assert "--model mine" in out
    _, out, _ = run(capsys, "models", "list")
    assert [line.split()[0] for line in out.splitlines()] == ["default", "mine", "published"]
    assert "gmseg models download published" in out
    for arguments, fault in (
        ([], "exists; "),
        (["--name", "default"], "comes with gmseg"),
        (["--name", "../evil"], "no name for a model"),
    ):
        code, _, err = run(capsys, "models", "import", release, *arguments)
        assert code == 2
        assert fault in err
    assert run(capsys, "models", "import", release, "--overwrite")[0] == 0
    (tmp_path / "models" / "broken.json").write_text("{")
    code, out, _ = run(capsys, "models", "list")
    assert code == 0
    assert "broken       cannot be used" in out


def test_models_download_without_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path))
    defaults = download.download.__kwdefaults__
    monkeypatch.setitem(defaults, "base_url", "http://127.0.0.1:9/")
    code, _, err = run(capsys, "models", "download", "published")
    assert code == 2
    assert "check the network" in err.splitlines()[-1]
