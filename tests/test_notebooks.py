"""Every notebook runs from top to bottom, is thin, and was stored clean and with its outputs."""

import ast
import re
import shutil
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

from gmseg.training.protocol import load_protocol, shortened

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 120
LINES_PER_CELL = 15
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|work|root|tmp|Users)\b|[A-Za-z]:\\+Users", re.I)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(content):
    """Yield every string in a notebook but the pictures, whose letters mean nothing."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            # a slider keeps its picture as {"data": ...} or under image/png
            if not key.startswith("image/"):
                yield from texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from texts(value)


def kinds(cell):
    """Return what a cell shows: names of streams and types of pictures and values."""
    found = set()
    for output in cell.outputs:
        found |= {output.name} if output.output_type == "stream" else set(output.get("data", ()))
    return found


def told(cell):
    """Return what a cell prints, but for versions and differences of rounding."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    lines = text.splitlines()
    return [line for line in lines if not re.search(r"^gmseg \d|largest difference", line)]


def assert_tells_the_same(ran, stored):
    """Words are the same, and numbers nearly so: they may differ a little between machines."""
    number = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
    hint = "execute and store it again (make notebooks)"
    assert [number.sub("#", line) for line in ran] == [number.sub("#", li) for li in stored], hint
    numbers = (
        [float(n) for line in lines for n in number.findall(line)] for lines in (ran, stored)
    )
    assert next(numbers) == pytest.approx(next(numbers), rel=0.05, abs=2e-3), hint


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Let the kernel python3 be this environment's Python, whatever is registered elsewhere."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures inline, as in Jupyter
    return "python3"


def test_the_notebooks_that_the_paper_links_to_are_there():
    names = {"challenge-opensource-model", "challenge-pytorch-opensource-model"}
    assert names <= {path.stem for path in NOTEBOOKS}


@each_notebook
def test_runs_from_top_to_bottom_and_shows_what_is_stored(path, kernel, tmp_path):
    if "pytorch" in path.stem:
        pytest.importorskip("torch")
    folder = tmp_path / "notebooks"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".*"))
    notebook = read(folder / path.name)
    started = time.monotonic()
    nbclient.NotebookClient(
        notebook, kernel_name=kernel, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert time.monotonic() - started < SECONDS
    for ran, stored in zip(code_cells(notebook), code_cells(read(path)), strict=True):
        assert kinds(ran) == kinds(stored), f"execute and store it again: {stored.source}"
        if path.stem != "train-gm-challenge":  # where roundings grow from step to step
            assert_tells_the_same(told(ran), told(stored))
    assert {file.name for file in folder.iterdir()} == {
        file.name for file in FOLDER.iterdir() if not file.name.startswith(".")
    }, "it wrote a file beside itself"


@each_notebook
def test_is_stored_clean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < 1e6
    assert notebook.metadata.kernelspec.name == "python3"
    assert [match[0] for text in texts(notebook) if (match := MACHINE_PATH.search(text))] == []
    for number, cell in enumerate(code_cells(notebook), 1):
        assert cell.execution_count == number
        assert "execution" not in cell.metadata  # times, which change with every run
        assert all(output.output_type != "error" for output in cell.outputs)
        assert "stderr" not in kinds(cell)


@each_notebook
def test_calls_the_package_and_has_no_logic_of_its_own(path):
    for cell in code_cells(read(path)):
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        lines = [line for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
        assert len(lines) <= LINES_PER_CELL, cell.source
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.ClassDef), cell.source
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 1, cell.source


def test_the_training_notebook_is_a_trial_unless_told_otherwise():
    notebook = read(FOLDER / "train-gm-challenge.ipynb")
    chosen = {}
    exec(code_cells(notebook)[0].source, chosen)
    assert chosen["STEPS"] < 100
    assert [chosen[name] for name in ("CHALLENGE", "OUT", "SPLIT", "START")] == [None] * 4
    [shortening] = [c.source for c in code_cells(notebook) if "shortened(protocol," in c.source]
    assert "shortened(protocol, STEPS, " in shortening
    paper = load_protocol("paper2018")
    assert shortened(paper, None, batch=4, size=80) is paper
    said = notebook.cells[0].source
    windows = paper.optimiser.steps * paper.windows.batch
    for number in (f"{paper.optimiser.steps:,} steps", f"{windows:,} windows", "10.5 PFLOP"):
        assert number in said
    assert 1.045e16 < windows * 4.97e9 * 2 * 3 < 1.055e16


def test_the_training_notebook_prints_no_recalled_value_without_saying_so():
    for cell in code_cells(read(FOLDER / "train-gm-challenge.ipynb")):
        shown = "".join(text for output in cell.outputs for text in texts(output))
        if "[recalled]" in shown or "0.85 ±" in shown:
            assert "verify against the paper" in shown
            assert "transcribed" in shown
