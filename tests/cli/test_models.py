"""``gmseg models``: list, download and import."""

import json

from command import run

from gmseg.models.release2017 import RELEASES


def test_models_list_and_import(tmp_path, capsys, monkeypatch):
    from release2017 import write_release

    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "models"))
    release = write_release(tmp_path / "mine.hdf5")
    code, out, _ = run(capsys, "models", "import", release)
    assert code == 0
    assert "--model mine" in out
    _, out, _ = run(capsys, "models", "list")
    names = [line for line in out.splitlines() if not line.startswith(" ")]
    assert names[0] == "default"
    assert names[-3:] == ["mine", "published (not installed)", "large (not installed)"]
    assert "  get it      gmseg models download published\n" in out
    assert "gmseg models import large_model.hdf5 --name large\n" in out
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
    assert "\nbroken\n  cannot be used: " in out


def test_models_list_advises_from_the_cards(tmp_path, capsys, monkeypatch):
    from release2017 import write_release

    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "models"))
    assert run(capsys, "models", "import", write_release(tmp_path / "mine.hdf5"))[0] == 0
    card = tmp_path / "models" / "mine.json"
    about = {"use": "lumbar cord", "quality": "Dice 0.8", "speed": "a second", "licence": "CC0"}
    card.write_text(json.dumps(json.loads(card.read_text()) | {"about": about}))
    _, out, _ = run(capsys, "models", "list")
    shown = out.partition("mine\n")[2].splitlines()[:5]
    rows = [line.split(maxsplit=1) for line in shown[:4]]
    assert dict(rows) == about
    default = out.partition("default\n")[2].partition("\nmine")[0]
    assert "licence" in default
    assert "quality     Dice 0." in default
    card.write_text(json.dumps(json.loads(card.read_text()) | {"about": "much"}))
    assert "about cannot be used" in run(capsys, "models", "list")[1]


def test_models_download_without_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path))
    release = RELEASES["published"]._replace(url="http://127.0.0.1:9/")
    monkeypatch.setitem(RELEASES, "published", release)
    code, _, err = run(capsys, "models", "download", "published")
    assert code == 2
    assert "check the network" in err.splitlines()[-1]
