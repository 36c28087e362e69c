"""The combination of the echoes of one scan."""

import nibabel as nib
import numpy as np
import pytest

from gmseg.batch.multi_echo import combine_echoes
from gmseg.errors import InputError

AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
DATA = np.random.default_rng(0).uniform(1, 100, (3, 12, 10, 4)).astype(np.float32)


def write_echoes(folder, arrays, affines=(AFFINE,) * 3):
    files = [folder / f"echo-{k}.nii.gz" for k in range(len(arrays))]
    for file, array, affine in zip(files, arrays, affines, strict=False):
        nib.save(nib.Nifti1Image(array, affine), file)
    return files


def test_root_mean_square(tmp_path):
    combined = tmp_path / "new" / "rms.nii.gz"
    combine_echoes(write_echoes(tmp_path, DATA), combined)
    image = nib.load(combined)
    expected = np.sqrt(np.mean(DATA.astype(float) ** 2, axis=0))
    np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6)
    assert np.array_equal(image.affine, AFFINE)
    assert image.get_data_dtype() == np.float32


def test_volumes_of_4d_echoes(tmp_path):
    volumes = np.moveaxis(DATA, 0, -1)
    echoes = write_echoes(tmp_path, [volumes, volumes])
    with pytest.raises(InputError, match="average them"):
        combine_echoes(echoes, tmp_path / "none.nii")
    assert not (tmp_path / "none.nii").exists()
    combine_echoes(echoes, tmp_path / "mean.nii", mean=True)
    mean = nib.load(tmp_path / "mean.nii").get_fdata()
    np.testing.assert_allclose(mean, volumes.mean(axis=-1), rtol=1e-5)
    combine_echoes(echoes, tmp_path / "volume.nii", volume=1)
    volume = nib.load(tmp_path / "volume.nii").get_fdata()
    np.testing.assert_allclose(volume, volumes[..., 1], rtol=1e-6)


def test_only_a_combination_of_the_same_echoes_is_kept(tmp_path):
    echoes = write_echoes(tmp_path, DATA)
    file = tmp_path / "rms.nii.gz"
    combine_echoes(echoes, file)
    before = file.stat().st_mtime_ns
    combine_echoes(echoes, file, overwrite=True)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="was made from other echoes; set `overwrite=True`"):
        combine_echoes(echoes[:2], file)
    assert file.stat().st_mtime_ns == before
    combine_echoes(echoes[:2], file, overwrite=True)
    expected = np.sqrt(np.mean(DATA[:2].astype(float) ** 2, axis=0))
    np.testing.assert_allclose(nib.load(file).get_fdata(), expected, rtol=1e-6)


def test_echoes_on_different_grids_are_refused(tmp_path):
    moved = write_echoes(tmp_path, DATA[:2], [AFFINE, AFFINE + 0.1])
    with pytest.raises(InputError, match=r"echo-1\.nii\.gz: is not on the grid of .*echo-0"):
        combine_echoes(moved, tmp_path / "rms.nii")
    cropped = write_echoes(tmp_path, [DATA[0], DATA[1, :-1]])
    with pytest.raises(InputError, match="is not on the grid of"):
        combine_echoes(cropped, tmp_path / "rms.nii")
    assert not (tmp_path / "rms.nii").exists()
