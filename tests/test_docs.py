"""The pictures of the documentation are current, and its links are valid."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = ["README.md", "data/README.md", "models/README.md", "experiments/README.md"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    import figures

    folder = tmp_path_factory.mktemp("img")
    figures.main(out=folder)
    return folder


@pytest.mark.parametrize("name", ["architecture.png", "pipeline.png", "receptive_field.png"])
def test_pictures_are_current(drawn, name):
    stored, current = (imread(folder / name)[..., :3] for folder in (DOCS / "img", drawn))
    assert stored.shape == current.shape, "run python experiments/figures.py and commit the result"
    # other versions of matplotlib or its fonts may move an edge by a pixel
    changed = np.abs(stored - current).max(axis=2) > 0.25
    assert changed.mean() < 0.01, "run python experiments/figures.py and commit the result"


@pytest.mark.parametrize("page", [*PAGES, *(f"docs/{page.name}" for page in DOCS.glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
