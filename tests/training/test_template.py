"""Template cross-sections painted over cords."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from gmseg import InputError
from gmseg.datasets.phantom import make_phantom
from gmseg.training.protocol import load_protocol
from gmseg.training.template import Sections, Template, paste_section, read_template

LIMITS = load_protocol().template
# sections without deformation, in clear contrast
PLAIN = Template(
    share=1,
    rotation_deg=0,
    elastic_strain=0,
    gm_size=0,
    contrast=(0.4, 0.4),
    texture=0,
    brightness=0,
    blur_mm=(0.01, 0.02),
    noise=0,
)


def write_template(folder, axes=((0, 1), (1, 1), (2, 1))):
    """Write a small template: a cord of 12 x 8 mm at 0.2 mm."""
    phantom = make_phantom(seed=5, spacing_mm=(0.2, 0.2, 2), shape=(90, 80, 3))
    labels = np.asarray(phantom.mask.dataobj)
    gm, cord = phantom.gm_fraction, labels > 0
    maps = {"gm": gm, "wm": cord - np.minimum(gm, cord)}
    folder.mkdir(exist_ok=True)
    for tissue, data in maps.items():
        image = nib.Nifti1Image(np.asarray(data, np.float32), phantom.image.affine)
        nib.save(image.as_reoriented(np.array(axes)), folder / f"T_{tissue}.nii.gz")
    return folder


@pytest.fixture
def sections(tmp_path):
    return read_template(write_template(tmp_path / "template"))


@pytest.fixture
def slice_():
    phantom = make_phantom(seed=1, spacing_mm=(0.25, 0.25, 5), shape=(160, 160, 1), noise=0)
    labels = np.asarray(phantom.mask.dataobj)[..., 0]
    return (
        np.asarray(phantom.image.dataobj)[..., 0].astype(np.float32),
        phantom.gm_fraction[..., 0],
        (labels > 0).astype(np.float32),
    )


def test_orientation_does_not_change_the_sections(tmp_path, sections):
    turned = read_template(write_template(tmp_path / "turned", ((1, -1), (2, 1), (0, -1))))
    np.testing.assert_array_equal(turned.gm, sections.gm)
    assert turned.spacing_mm == pytest.approx(sections.spacing_mm)
    assert sections.gm.shape[0] == 3
    assert (sections.cord >= sections.gm - 1e-6).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_covers_the_painted_gray_matter(sections, slice_, seed):
    plane, mask, cord = slice_
    painted, gm, _ = paste_section(np.random.default_rng(seed), plane, mask, cord, sections, PLAIN)
    inside = ndimage.binary_erosion(cord > 0.5, iterations=5)
    assert gm[cord < 0.5].max() < 0.5  # all of it inside the slice's own cord
    white, gray = painted[inside & (gm < 0.01)], painted[gm > 0.99]
    assert gray.mean() / white.mean() == pytest.approx(1.4, abs=0.03)
    bright = (painted > 1.2 * np.median(white)) & inside
    labelled = (gm > 0.5) & inside
    assert 2 * (bright & labelled).sum() / (bright.sum() + labelled.sum()) > 0.95


def test_surroundings_and_arguments_do_not_change(sections, slice_):
    plane, mask, cord = (part.copy() for part in slice_)
    painted, *_ = paste_section(np.random.default_rng(0), plane, mask, cord, sections, LIMITS)
    for part, before in zip((plane, mask, cord), slice_, strict=True):
        np.testing.assert_array_equal(part, before)
    far = ndimage.distance_transform_edt(cord < 0.5) > 4 / 0.25  # 4 mm
    np.testing.assert_allclose(painted[far], plane[far], rtol=1e-5)
    assert (painted[cord > 0.5] != plane[cord > 0.5]).mean() > 0.9


def test_the_section_takes_orientation_and_size_of_the_cord(slice_):
    """A cord of 40 x 30 pixels of 0.2 mm has a spot of GM in front; columns run to the front."""
    rows, columns = np.ogrid[:60, :60]
    cord = (((rows - 30) / 20) ** 2 + ((columns - 30) / 15) ** 2 < 1).astype(np.float32)
    spot = ((rows - 30) ** 2 + (columns - 39) ** 2 < 9).astype(np.float32)
    section = Sections(spot[None], cord[None], (0.2, 0.2))
    inside = slice_[2] > 0.5
    middle, spread = np.argwhere(inside).mean(axis=0), np.argwhere(inside).std(axis=0)
    for seed in range(5):
        _, gm, _ = paste_section(np.random.default_rng(seed), *slice_, section, PLAIN)
        place = np.argwhere(gm > 0.5).mean(axis=0)
        # 9 of the cord's 15 pixels to the front, in units of its spread (half its half-width)
        ahead = (place - middle) / spread
        assert ahead[1] == pytest.approx(1.2, abs=0.2)
        assert ahead[0] == pytest.approx(0, abs=0.1)


def test_gray_matter_varies_in_size_and_contrast(sections, slice_):
    areas, contrasts = [], []
    limits = dataclasses.replace(LIMITS, texture=0, noise=0)
    for seed in range(30):
        painted, gm, _ = paste_section(np.random.default_rng(seed), *slice_, sections, limits)
        inside = ndimage.binary_erosion(slice_[2] > 0.5, iterations=5)
        areas.append(gm.sum())
        contrasts.append(painted[gm > 0.95].mean() / painted[inside & (gm < 0.05)].mean())
    assert np.std(areas) / np.mean(areas) > 0.1
    assert min(contrasts) < 1.15 < 1.3 < max(contrasts)


def test_a_slice_with_little_cord_does_not_change(sections, slice_):
    plane, mask, _ = slice_
    cord = np.zeros_like(mask)
    cord[50:55, 50:55] = 1
    pasted = paste_section(np.random.default_rng(0), plane, mask, cord, sections, LIMITS)
    assert pasted[0] is plane
    assert pasted[1] is mask
    assert pasted[2] is cord


def test_the_painted_cord_contains_the_gray_matter_and_takes_the_place_of_the_old(sections, slice_):
    plane, mask, cord = slice_
    _, gm, new = paste_section(np.random.default_rng(0), plane, mask, cord, sections, LIMITS)
    assert (new >= gm - 1e-6).all()
    both = ((new > 0.5) & (cord > 0.5)).sum()
    assert 2 * both / ((new > 0.5).sum() + (cord > 0.5).sum()) > 0.85
    assert (new != cord).any()


def test_folders_without_a_template_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"contains 0 files \*_gm.nii.gz"):
        read_template(tmp_path)
    folder = write_template(tmp_path / "t")
    image = nib.load(folder / "T_wm.nii.gz")
    nib.save(image.slicer[:-1], folder / "T_wm.nii.gz")
    with pytest.raises(InputError, match="different grids"):
        read_template(folder)
    (folder / "T_wm.nii.gz").write_bytes(b"junk")
    with pytest.raises(InputError, match="is not an image that can be read"):
        read_template(folder)


def test_a_real_template(shared):
    sections = read_template(shared / "data/amu7t-template")
    assert len(sections.gm) > 200
    areas = (sections.gm > 0.5).sum(axis=(1, 2)) * np.prod(sections.spacing_mm)
    assert 5 < areas.min() < areas.max() < 20  # mm^2
