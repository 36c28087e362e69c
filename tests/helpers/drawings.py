"""What a test reads from a figure: its panels' pixels and its texts."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from nibabel import orientations


def reoriented(image, codes):
    """Return an image with its axes in another order or direction."""
    start = orientations.io_orientation(image.affine)
    return image.as_reoriented(orientations.ornt_transform(start, orientations.axcodes2ornt(codes)))


def panels(figure):
    """Return the pixels of every panel, (rows, columns, 3) from the top, by its label."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    found = {}
    for ax in figure.axes:
        box = ax.get_window_extent()
        x0, x1, y0, y1 = (round(v) for v in (box.x0, box.x1, box.y0, box.y1))
        found[ax.get_label()] = pixels[len(pixels) - y1 : len(pixels) - y0, x0:x1]
    return found


def coloured(pixels, colour):
    """Return row and column (0 to 1) of the pixels of a colour, without those of labels below."""
    rows, columns = np.nonzero(np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.15)
    rows, columns = rows / len(pixels), columns / pixels.shape[1]
    return np.stack([rows, columns])[:, rows < 0.85]


def texts(figure):
    """Return all texts in the axes and in the figure."""
    return [text.get_text() for ax in figure.axes for text in ax.texts] + [
        text.get_text() for text in figure.texts
    ]
