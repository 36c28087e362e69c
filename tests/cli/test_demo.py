"""The demonstration."""

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from gmseg import InputError
from gmseg.cli.demo_run import run_demo
from gmseg.evaluation import metrics
from gmseg.io.resources import bundled


def test_demo_tells_what_it_wrote_and_how_good_it_is(tmp_path):
    lines = dict(line.split(maxsplit=1) for line in run_demo(tmp_path / "out"))
    mask = nib.load(lines["mask"])
    truth = nib.load(bundled("data/sample/phantom_t2s_gm.nii.gz"))
    score = metrics.dice(np.asarray(mask.dataobj), np.asarray(truth.dataobj))
    assert score > 0.8
    assert lines["Dice"].startswith(f"{score:.3f} against the truth of this made-up cord")
    areas = lines["area"].removesuffix(" mm^2, slice by slice").split(",")
    assert len(areas) == mask.shape[2]
    picture = imread(lines["picture"])
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.05

    before = (tmp_path / "out" / "phantom_t2s_gmseg.nii.gz").read_bytes()
    with pytest.raises(InputError, match="exists; use --overwrite"):
        run_demo(tmp_path / "out")
    run_demo(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "phantom_t2s_gmseg.nii.gz").read_bytes() == before


def test_sample_is_small():
    folder = bundled("data/sample")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000
