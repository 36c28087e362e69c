"""Every notebook runs from top to bottom, is short, and is stored clean with its outputs."""

import ast
import re
import shutil
import time
from pathlib import Path

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

from gmseg.datasets.sample import example_scan
from gmseg.training.protocol import load_protocol, shortened

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_SECONDS = 120
MAX_LINES_PER_CELL = 15
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|work|root|tmp|Users)\b|[A-Za-z]:\\+Users", re.I)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
HINT = "execute and store it again (make notebooks)"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def strings(content):
    """Yield every string in a notebook except encoded images."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            # a slider stores its image as {"data": ...} or as image/png
            if not key.startswith("image/"):
                yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


def output_kinds(cell):
    """Return the names of the streams and the types of the values that a cell shows."""
    kinds = set()
    for output in cell.outputs:
        kinds |= {output.name} if output.output_type == "stream" else set(output.get("data", ()))
    return kinds


def printed_lines(cell):
    """Return the lines that a cell prints, without versions and rounding errors."""
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    lines = text.splitlines()
    return [line for line in lines if not re.search(r"^gmseg \d|largest difference", line)]


def assert_same_lines(lines, stored):
    """Words must be equal; numbers may differ a little between machines."""
    assert [NUMBER.sub("#", line) for line in lines] == [NUMBER.sub("#", li) for li in stored], HINT
    numbers, expected = ([float(n) for n in NUMBER.findall("\n".join(x))] for x in (lines, stored))
    assert numbers == pytest.approx(expected, rel=0.05, abs=2e-3), HINT


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Make the kernel python3 the Python of this environment, whatever else is registered."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # figures inline, as in Jupyter
    return "python3"


def test_the_notebooks_that_the_paper_links_to_exist():
    names = {"challenge-opensource-model", "challenge-pytorch-opensource-model"}
    assert names <= {path.stem for path in NOTEBOOKS}


@each_notebook
def test_it_runs_from_top_to_bottom_and_shows_the_stored_outputs(path, kernel, tmp_path):
    if "pytorch" in path.stem:
        pytest.importorskip("torch")
    folder = tmp_path / "notebooks"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".*"))
    notebook = read(folder / path.name)
    resources = {"metadata": {"path": str(folder)}}
    start = time.monotonic()
    nbclient.NotebookClient(
        notebook, kernel_name=kernel, timeout=MAX_SECONDS, resources=resources
    ).execute()
    assert time.monotonic() - start < MAX_SECONDS
    for cell, stored in zip(code_cells(notebook), code_cells(read(path)), strict=True):
        assert output_kinds(cell) == output_kinds(stored), f"{HINT}: {stored.source}"
        if path.stem != "train-gm-challenge":  # rounding errors grow from step to step
            assert_same_lines(printed_lines(cell), printed_lines(stored))
    names = {file.name for file in FOLDER.iterdir() if not file.name.startswith(".")}
    assert {file.name for file in folder.iterdir()} == names, "it wrote a file into its folder"


@each_notebook
def test_it_is_stored_clean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < 1e6
    assert notebook.metadata.kernelspec.name == "python3"
    assert [match[0] for text in strings(notebook) if (match := MACHINE_PATH.search(text))] == []
    for number, cell in enumerate(code_cells(notebook), 1):
        assert cell.execution_count == number
        assert "execution" not in cell.metadata  # times, which change with every run
        assert all(output.output_type != "error" for output in cell.outputs)
        assert "stderr" not in output_kinds(cell)


@each_notebook
def test_it_calls_the_package_and_has_no_logic_of_its_own(path):
    for cell in code_cells(read(path)):
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        lines = [line for line in source.splitlines() if line.strip() and line.strip()[0] != "#"]
        assert len(lines) <= MAX_LINES_PER_CELL, cell.source
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.ClassDef), cell.source
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 1, cell.source


def test_the_training_notebook_is_a_trial_by_default():
    notebook = read(FOLDER / "train-gm-challenge.ipynb")
    settings = {}
    exec(code_cells(notebook)[0].source, settings)
    assert settings["STEPS"] < 100
    assert [settings[name] for name in ("CHALLENGE", "OUT", "SPLIT")] == [None] * 3
    assert (settings["START"], settings["PROTOCOL"]) == ("default", "default")
    load_protocol(settings["PROTOCOL"])
    [shortening] = [c.source for c in code_cells(notebook) if "shortened(protocol," in c.source]
    assert "shortened(protocol, STEPS, " in shortening
    paper = load_protocol("paper2018")
    assert shortened(paper, None, batch=4, size=80) is paper
    introduction = notebook.cells[0].source
    windows = paper.optimiser.steps * paper.windows.batch
    for number in (f"{paper.optimiser.steps:,} steps", f"{windows:,} windows", "10.5 PFLOP"):
        assert number in introduction
    assert 1.045e16 < windows * 4.97e9 * 2 * 3 < 1.055e16


def test_the_trial_of_the_training_notebook_ends_with_a_usable_model():
    [cell] = [c for c in code_cells(read(FOLDER / "train-gm-challenge.ipynb")) if c.id == "cell-22"]
    [means] = [line for line in printed_lines(cell) if line.startswith("mean  ")]
    before, after = map(float, NUMBER.findall(means))
    assert before > 0.8
    assert after > 0.8


def test_the_first_notebook_needs_no_network_by_default():
    notebook = read(FOLDER / "challenge-opensource-model.ipynb")
    settings = {}
    exec(code_cells(notebook)[0].source, settings)
    assert example_scan(settings["SCAN"], base_url="http://127.0.0.1:9/").scan.name == (
        "phantom_t2s.nii.gz"
    )


def test_the_training_notebook_marks_every_recalled_value():
    for cell in code_cells(read(FOLDER / "train-gm-challenge.ipynb")):
        shown = "".join(text for output in cell.outputs for text in strings(output))
        if "[recalled]" in shown or "0.85 ±" in shown:
            assert "verify against the paper" in shown
            assert "transcribed" in shown
