"""The documentation's pictures are those that the code draws today."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("figures", ROOT / "experiments" / "figures.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.IMAGES = tmp_path_factory.mktemp("img")
    script.main()
    return script.IMAGES


@pytest.mark.parametrize("name", ["architecture.png", "pipeline.png", "receptive_field.png"])
def test_pictures_are_not_stale(drawn, name):
    stored, today = (imread(folder / name)[..., :3] for folder in (DOCS / "img", drawn))
    assert stored.shape == today.shape, "python experiments/figures.py, and commit it"
    # another version of matplotlib or of its fonts may move an edge by a pixel, no more
    changed = np.abs(stored - today).max(axis=2) > 0.25
    assert changed.mean() < 0.01, "python experiments/figures.py, and commit it"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(f"docs/{p.name}" for p in DOCS.glob("*.md")),
        "data/README.md",
        "models/README.md",
    ],
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    lost = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert lost == []
