"""The cross-validation: unseen subjects only, reused predictions, no folders of this machine."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError
from gmseg.core.model import Model
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation.calibration import Reliability
from gmseg.evaluation.metrics import METRICS
from gmseg.evaluation.score_table import shown
from gmseg.models.backend import import_keras
from gmseg.models.registry import save_model
from gmseg.paper.results import stored_results

cross_validation = pytest.importorskip("cross_validation")  # absent from the source distribution
import cross_validation_page  # noqa: E402
from folds import check_unseen  # noqa: E402
from pages import number  # noqa: E402

OTHERS = "1 scans: sub-b_run-1_T2starw; and 4 synthetic phantoms"


# ------------------------------------------------------------------------------------- folds


def card(**fields):
    return Model("model", Path("model.weights.h5"), "0" * 64, {}, **fields)


@pytest.mark.parametrize(
    ("trained_on", "command", "fault"),
    [
        (
            "2 scans: sub-b_T2starw, sub-aSes2_run-2_T2starw; and 4 more",
            "gmseg train",
            "scans of a",
        ),
        (OTHERS + "; begun with the weights of w (1 scans: sub-a_T2starw)", "", "scans of a"),
        (OTHERS, "gmseg train X --from w", "whose training scans are unknown"),
        (OTHERS + "; begun with the weights of w (unknown)", "--from w", "are unknown"),
        ("unknown", "unknown", "names no scan"),
    ],
)
def test_folds_that_may_have_seen_the_subject_are_refused(trained_on, command, fault):
    with pytest.raises(InputError, match=fault):
        check_unseen(card(trained_on=trained_on, command=command), "a", "FOLDS/a/model.json")


def test_folds_without_the_subject_are_accepted():
    check_unseen(card(trained_on=OTHERS, command="gmseg train"), "a", "a/model.json")
    start = OTHERS + "; begun with the weights of w (1 scans: sub-c_T2starw)"
    check_unseen(card(trained_on=start, command="--from w"), "a", "a/model.json")
    # a longer name is another subject
    check_unseen(card(trained_on="1 scans: sub-ab_T2starw"), "a", "a/model.json")


# ------------------------------------------------------------------------------ end to end


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write two subjects, scanned twice, in the layout of the shared folder."""
    root = tmp_path_factory.mktemp("secret") / "data"
    for i, name in enumerate(("sub-aSes1_run-1_T2starw", "sub-b_run-1_T2starw")):
        inner = f"{name.split('_')[0]}/anat"
        scans = root / "t2starw-multicentre" / inner
        labels = root / "t2starw-multicentre/derivatives/labels" / inner
        write(scans, labels, i, name, f"{name}_gmseg-manual", f"{name}_seg-manual")
        nib.save(phantom(i).image, scans / f"{name.replace('run-1', 'run-2')}.nii.gz")
    table = "participant_id\tSite\nsub-aSes1\tHere\nsub-b\tThere\n"
    (root / "t2starw-multicentre/participants.tsv").write_text(table)
    small = root / "t2s-small-fov"
    write(small, small, 2, "t2s", "t2s_gmseg_manual", "t2s_seg")
    return root


def phantom(seed):
    return make_phantom(seed=seed, shape=(110, 110, 2))


def write(scans, labels, seed, *names):
    synthetic = phantom(seed)
    tissues = np.asarray(synthetic.mask.dataobj)
    for folder, name, values in zip(
        (scans, labels, labels), names, (None, tissues == 1, tissues > 0), strict=True
    ):
        folder.mkdir(parents=True, exist_ok=True)
        image = synthetic.image
        if values is not None:
            image = nib.Nifti1Image(values.astype(np.uint8), synthetic.mask.affine)
        nib.save(image, folder / f"{name}.nii.gz")


def write_model(folder, trained_on, seed=0, name="model", outputs=1):
    import_keras().utils.set_random_seed(seed)
    from gmseg.core.network import NetworkSizes, build_network

    sizes = NetworkSizes(filters=2, dilation_rates=(3,), outputs=outputs)
    folder.mkdir(parents=True, exist_ok=True)
    return save_model(
        build_network(sizes),
        folder,
        name,
        network=dataclasses.asdict(sizes),
        trained_on=trained_on,
        command=f"gmseg train {folder}/bids --out DIR",
    )


def write_fold(folder, trained_on, seed=0):
    """Write the two models of a fold."""
    write_model(folder, trained_on, seed)
    write_model(folder, trained_on, seed + 10, "unet", outputs=2)


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """Return what runs the script on folds, and the folders of folds and page."""
    monkeypatch.setattr(cross_validation, "PIXELS_MM", (0.8,))
    monkeypatch.setattr(cross_validation, "PHANTOM_SLICES", 1)
    monkeypatch.setattr(cross_validation, "SITES", cross_validation.SITES[:1])
    write_model(tmp_path / "other", "unknown", seed=1)
    folds, out = tmp_path / "folds", tmp_path / "out"
    options = ["--published", tmp_path / "other" / "model.json", "--out", out]
    options += ["--results", out / "results"]

    def run(*more):
        cross_validation.main([str(word) for word in (data, folds, *options, *more)])
        return (out / "cross-validation.md").read_text()

    return run, folds, out


def test_page_picture_and_predictions_are_written(run, tmp_path):
    run, folds, out = run
    write_fold(folds / "a", OTHERS)
    page = run()
    assert "there is no fold yet for `b`" in page
    assert "`sub-aSes1_run-1_T2starw` | a | Here |" in page
    assert "sub-b_run-1_T2starw` |" not in page
    assert "nan" not in page
    cords = page.split("## Cord")[1].split("##")[0]
    assert "| scan | fold U-Net |" in cords  # the only model with a cord output
    assert "`sub-aSes1_run-1_T2starw`" in cords
    assert "t2s-small-fov" not in cords.split("|", 1)[1]  # needs a final model
    assert "| scan | model | DSC | MSD mm | HSD mm |" in page
    assert page.count("| **mean ± s.d.** | fold model |") == 2
    assert str(tmp_path.parent) not in page
    assert "secret" not in page
    assert (out / "img" / "reliability.png").stat().st_size > 10_000
    files = sorted((folds / "a" / "predictions").glob("*.nii.gz"))
    assert len(files) == 10  # of image, cord and place, and twice the small field of view
    kept = {file: file.stat().st_mtime_ns for file in files}
    assert run("--final", str(folds / "a" / "model.json")).count("| final |") == 2
    assert {file: file.stat().st_mtime_ns for file in files} == kept
    # other weights, other predictions
    for card in (folds / "a").glob("*.json"):
        card.unlink()
    write_fold(folds / "a", OTHERS, seed=2)
    run()
    assert all(file.stat().st_mtime_ns > kept[file] for file in files)


def test_fold_that_saw_its_subject_predicts_nothing(run):
    run, folds, out = run
    write_fold(folds / "b", OTHERS)
    with pytest.raises(InputError, match="was trained on scans of b"):
        run()
    assert not out.exists()
    assert {file.name for file in folds.glob("*/*")} == {
        f"{name}{end}" for name in ("model", "unet") for end in (".json", ".weights.h5")
    }


def test_folders_of_unknown_subjects_are_refused(run):
    run, folds, _ = run
    with pytest.raises(InputError, match="contains no SUBJECT/model"):
        run()
    write_fold(folds / "c", OTHERS)
    with pytest.raises(InputError, match=r"there is no subject c; .* \(a, b\)"):
        run()


def test_fold_without_its_u_net_is_refused(run):
    run, folds, _ = run
    write_fold(folds / "a", OTHERS)
    write_model(folds / "b", OTHERS.replace("sub-b", "sub-c"))
    with pytest.raises(InputError, match=r"lack model.json or unet.json"):
        run()


def test_spread_over_scanners_is_that_of_folds_without_the_subject(tmp_path, monkeypatch):
    scans = {"x": tmp_path / "sub-x_T2star.nii.gz", "y": tmp_path / "sub-y_T2star.nii.gz"}
    for seed, file in enumerate(scans.values()):
        nib.save(phantom(seed).image, file)
    seen, unseen = card(trained_on="sub-x_T2star, sub-b"), card(trained_on="sub-b_T2starw")
    used = []

    def segment(file, model, **_):
        used.append(model)
        areas = [0.0, 10.0, 12.0] if "sub-x" in file.name else [13.0, 13.0, 0.0]
        return SimpleNamespace(summary=SimpleNamespace(area_mm2=areas))

    monkeypatch.setattr(cross_validation, "segment", segment)
    folds = {"a": seen, "b": unseen}
    published = card(trained_on="others")
    found = cross_validation.scanner_areas(scans, folds, {"a": unseen, "b": unseen}, published)
    assert found == {key: {"x": 11.0, "y": 13.0} for key in ("fold", "unet", "published")}
    assert used == [unseen] * 4 + [published] * 2
    assert cross_validation.scanner_areas(scans, {"a": seen}, {"a": seen}, published) == {}
    page = cross_validation_page._scanners({"scanners": found})
    assert "| **coefficient of variation, %** | **11.8** | **11.8** | **11.8** |" in page


def test_references_that_began_as_network_output_are_noticed():
    even = np.arange(10) / 10 + 0.05
    steep = np.where(even < 0.5, even / 4, 1 - (1 - even) / 4)
    tables = {
        name: {"table": Reliability(np.ones(10), even, shares)}
        for name, shares in (("even", even), ("steep", steep))
    }
    assert cross_validation_page._step({"published": tables["even"], "fold": tables["steep"]}) == ""
    text = cross_validation_page._step({"published": tables["steep"], "fold": tables["even"]})
    assert "rises\nfrom 11.2 to 88.8 %" in text
    assert "45.0 to 55.0 %" in text


def test_numbers_have_three_digits():
    expected = ["0.870", "12.3", "103", "0", "0.0263"]
    assert [number(value) for value in (0.87, 12.345, 103.4, 0, 0.02634)] == expected
    assert number(1.5, sign=True) == "+1.50"
    assert number(float("nan")) == "-"


def test_stored_results_are_those_of_the_page():
    """The table over the labelled slices is that of data/results."""
    page = (cross_validation.ROOT / "docs" / "cross-validation.md").read_text(encoding="utf-8")
    results = stored_results("cross-validation")
    for method, name in zip(results.methods, ("fold model", "published"), strict=True):
        for scan in method.scans:
            start = f"| `{scan['name']}` | {name} | "
            row = page.split(start)[1].splitlines()[0].removesuffix(" |").split(" | ")
            for key, cell in zip(METRICS, row, strict=True):
                # five digits are stored; where they end in 5, either neighbour may be shown
                value = scan["scores"][key]
                assert cell in {shown(key, value * (1 + e)) for e in (-1e-5, 0, 1e-5)}, key
