"""What is looked at to judge a segmentation."""

import nibabel as nib
import numpy as np

from gmseg import load_model
from gmseg.inference.quality import checks
from gmseg.inference.quality.features import Features
from gmseg.inference.session import Run
from gmseg.io.scan_reader import open_scan


def test_what_the_network_sees_beyond_the_field_counts_for_nothing():
    """Windows are larger than small fields; there is no GM where nothing was scanned."""
    rng = np.random.default_rng(0)
    scan = nib.Nifti1Image(
        rng.uniform(50, 90, (40, 36, 2)).astype(np.float32), np.diag([-0.5, 0.5, 5, 1])
    )
    model = load_model()
    run = Run(open_scan(scan), model, None, "volume")
    assert run.frame.shape == (80, 72, 2)
    centres = np.tile([40, 36], (2, 1))
    soft = np.zeros((2, 200, 200), np.float32)
    soft[:, 80:120, 110:] = 0.9  # the field ends at column 136 of the windows
    gathered = Features()
    checks.look(gathered, run, (0, 2), soft, centres, centres.astype(float), slice(None))
    assert gathered.count == 2
    assert np.count_nonzero(gathered.soft) == 40 * 26
    assert gathered.margin_mm == [0.25 * 35.5] * 2  # to the upper edge of the columns
