"""``gmseg demo`` and ``gmseg phantom``."""

import nibabel as nib
import numpy as np
from command import run
from matplotlib.image import imread

from gmseg.evaluation import metrics
from gmseg.io.resources import bundled


def test_demo_prints_what_it_wrote_and_its_dice(tmp_path, capsys):
    command = ["demo", "--out-dir", tmp_path / "out"]
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    mask = nib.load(lines["mask"])
    reference = nib.load(bundled("data/sample/phantom_t2s_gm.nii.gz"))
    score = metrics.dice(np.asarray(mask.dataobj), np.asarray(reference.dataobj))
    assert score > 0.8
    assert lines["Dice"] == f"{score:.3f} with the reference of this synthetic phantom"
    areas = lines["area"].removesuffix(" mm^2, slice by slice").split(",")
    assert len(areas) == mask.shape[2]
    picture = imread(lines["picture"])
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.05

    before = (tmp_path / "out" / "phantom_t2s_gmseg.nii.gz").read_bytes()
    code, _, err = run(capsys, *command)
    assert code == 2
    assert "exists; " in err
    assert run(capsys, *command, "--overwrite")[0] == 0
    assert (tmp_path / "out" / "phantom_t2s_gmseg.nii.gz").read_bytes() == before


def test_sample_is_small():
    folder = bundled("data/sample")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000


def test_phantom(tmp_path, capsys):
    assert run(capsys, "phantom", tmp_path / "p", "--seed", "3")[0] == 0
    assert (tmp_path / "p" / "site4-sc01-mask-r4.nii.gz").exists()
    assert run(capsys, "phantom", tmp_path / "p")[0] == 2
