"""Segment a scan with two other pipelines: ``python rivals.py 2018|toolbox SCAN MASK``.

Both resample the whole volume to 0.25 mm, cut windows at the centre of the image and resample the
whole volume back, as the authors' released notebook and the Spinal Cord Toolbox do. They differ in
what runs the network: Keras on TensorFlow, or ONNX Runtime with all windows in one batch.
"""

import functools
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

WINDOW = 200
SPACING_MM = 0.25
THRESHOLD = 0.5
KERAS_BATCH = 8  # as in the first version of the toolbox's command


@functools.cache
def load(way):
    """Return the default model's network, ready to run."""
    if way == "2018":
        import gmseg

        return gmseg.load_network(gmseg.load_model())
    import onnxruntime

    from gmseg.io.resources import bundled

    return onnxruntime.InferenceSession(bundled("models") / "default.onnx")


def predict(way, network, windows):
    """Return the soft segmentation of windows, (slices, rows, columns)."""
    if way == "2018":
        return network.predict(windows[..., None], batch_size=KERAS_BATCH, verbose=0)[..., 0]
    return network.run(None, {"window": windows[..., None]})[0][..., 0]


def segment(way, scan, mask):
    """Segment a scan and write the mask."""
    image = read(scan)
    working = to_working(image)
    windows, corner = cut(working)
    soft = predict(way, load(way), windows)
    write(back(soft, corner, working, image) > THRESHOLD, scan, mask)


def read(scan):
    """Return a scan in LAS orientation, its voxels in memory."""
    image = nib.load(scan)
    las = nib.orientations.axcodes2ornt("LAS")
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), las)
    )
    return nib.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine)


def to_working(image):
    """Resample a whole volume to 0.25 mm in plane."""
    step = np.append(SPACING_MM / nib.affines.voxel_sizes(image.affine)[:2], 1)
    shape = tuple(np.rint(image.shape / step).astype(int))
    # the corner of the field of view stays in place
    affine = image.affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5)
    return resample_from_to(image, (shape, affine), order=1, mode="nearest")


def cut(working):
    """Return the standardised windows at the centre of every slice, and their corner."""
    volume = np.asarray(working.dataobj, np.float32)
    corner = [max(0, length // 2 - WINDOW // 2) for length in volume.shape[:2]]
    windows = np.moveaxis(volume[corner[0] :, corner[1] :][:WINDOW, :WINDOW], 2, 0)
    return np.ascontiguousarray((windows - windows.mean()) / windows.std()), corner


def back(soft, corner, working, image):
    """Paste soft windows into a volume and resample the whole volume to the native grid."""
    volume = np.zeros(working.shape, np.float32)
    rows, columns = soft.shape[1:]
    volume[corner[0] :, corner[1] :][:rows, :columns] = np.moveaxis(soft, 0, 2)
    pasted = nib.Nifti1Image(volume, working.affine)
    return np.asarray(resample_from_to(pasted, image, order=1, mode="nearest").dataobj)


def write(inside, scan, mask):
    """Write a mask in LAS orientation on the native grid of the scan."""
    like = nib.load(scan)
    las = nib.orientations.axcodes2ornt("LAS")
    to_native = nib.orientations.ornt_transform(las, nib.io_orientation(like.affine))
    voxels = nib.orientations.apply_orientation(inside, to_native).astype(np.uint8)
    image = nib.Nifti1Image(voxels, like.affine, like.header)
    image.set_data_dtype(np.uint8)
    Path(mask).parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, mask)


if __name__ == "__main__":
    segment(*sys.argv[1:])
