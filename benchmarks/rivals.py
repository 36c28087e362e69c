"""What the two rivals have in common: everything but the engine.

As the notebook of 2018 and the Spinal Cord Toolbox do it: the whole volume is brought to 0.25 mm,
windows are cut at the image's centre, and the whole volume is brought back.
"""

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

WINDOW = 200
SPACING_MM = 0.25
THRESHOLD = 0.5


def segment(scan, mask, model, predict):
    """Segment a scan and write the mask.

    Parameters
    ----------
    scan, mask : path-like
    model : object
        What `predict` needs.
    predict : callable
        From the model and standardised windows, float32 (slices, rows, columns), to soft ones.
    """
    image = read(scan)
    working = to_working(image)
    windows, corner = cut(working)
    soft = predict(model, windows)
    write(back(soft, corner, working, image) > THRESHOLD, scan, mask)


def read(scan):
    """Return a scan in LAS orientation, its voxels in memory."""
    image = nib.load(scan)
    las = nib.orientations.axcodes2ornt("LAS")
    way = nib.orientations.ornt_transform(nib.io_orientation(image.affine), las)
    image = image.as_reoriented(way)
    return nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine)


def to_working(image):
    """Bring all of a volume to 0.25 mm in plane."""
    step = np.append(SPACING_MM / nib.affines.voxel_sizes(image.affine)[:2], 1)
    shape = tuple(np.rint(image.shape / step).astype(int))
    # the corner of the field of view stays where it is
    affine = image.affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5)
    return resample_from_to(image, (shape, affine), order=1, mode="nearest")


def cut(working):
    """Cut the middle out of every slice and standardise: windows, and their corner."""
    volume = np.asarray(working.dataobj, np.float32)
    corner = [max(0, length // 2 - WINDOW // 2) for length in volume.shape[:2]]
    windows = np.moveaxis(volume[corner[0] :, corner[1] :][:WINDOW, :WINDOW], 2, 0)
    return (windows - windows.mean()) / windows.std(), corner


def back(soft, corner, working, image):
    """Paste soft windows into a volume, and bring all of it back to the scan's grid."""
    volume = np.zeros(working.shape, np.float32)
    rows, columns = soft.shape[1:]
    volume[corner[0] :, corner[1] :][:rows, :columns] = np.moveaxis(soft, 0, 2)
    pasted = nib.Nifti1Image(volume, working.affine)
    resampled = resample_from_to(pasted, image, order=1, mode="nearest")
    return np.asarray(resampled.dataobj)


def write(inside, scan, mask):
    """Write a mask, in LAS orientation, on the scan's own grid."""
    like = nib.load(scan)
    las = nib.orientations.axcodes2ornt("LAS")
    way = nib.orientations.ornt_transform(las, nib.io_orientation(like.affine))
    voxels = nib.orientations.apply_orientation(inside, way).astype(np.uint8)
    image = nib.Nifti1Image(voxels, like.affine, like.header)
    image.set_data_dtype(np.uint8)
    nib.save(image, mask)
