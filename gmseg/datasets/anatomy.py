"""Shapes of a synthetic neck on one axial slice, and their signal.

Shapes are signed distances in mm, negative inside, on the grid of two vectors of world
coordinates, x and y. They change smoothly along the cord and differ between seeds.
`gmseg.datasets.phantom` makes scans of them.
"""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

LEVEL_HEIGHT_MM = 16.0
"""Distance between the centres of neighbouring vertebrae."""


# --- signed distances and textures ---------------------------------------------------------------


def _oval(u, v, half_axes, power=2.0):
    """Return the distance to a superellipse, along the ray from its centre."""
    half_u, half_v = half_axes
    size = (np.abs(u / half_u) ** power + np.abs(v / half_v) ** power) ** (1 / power) + 1e-6
    radius = np.hypot(u, v) + 1e-6 * min(half_u, half_v)
    return radius - radius / size


def _cone(u, v, start, end, radius_start, radius_end):
    """Return the distance to a round-ended bar whose radius changes along it."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = ((u - start[0]) * du + (v - start[1]) * dv) / (du**2 + dv**2)
    along = np.clip(along, 0, 1)
    across_u, across_v = u - start[0] - along * du, v - start[1] - along * dv
    across = np.sqrt(across_u * across_u + across_v * across_v)  # far faster than np.hypot
    return across - radius_start - (radius_end - radius_start) * along


def _join(first, second, blend_mm):
    """Return the union of two shapes, with a fillet."""
    share = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0, 1)
    return second + (first - second) * share - blend_mm * share * (1 - share)


def coverage(distance, edge_mm):
    """Return the share, 0 to 1, of a square of side `edge_mm` that lies inside a shape.

    Examples
    --------
    >>> coverage(np.array([-1.0, 0.0, 0.1, 1.0]), 0.5)
    array([1. , 0.5, 0.3, 0. ])
    """
    return np.clip(0.5 - distance / edge_mm, 0, 1)


def _paint(canvas, value, coverage):
    canvas += (value - canvas) * coverage


def _texture(rng, scale_mm, scale_z_mm=10.0, period_mm=144.0):
    """Return a smooth random field of unit variance: f(x, y, z), x and y being vectors in mm."""
    n, nz = round(period_mm / scale_mm), round(period_mm / scale_z_mm)
    lattice = rng.standard_normal((nz, n, n), dtype=np.float32)

    def weights(position, count):
        offset = np.atleast_1d(position)[:, None] - np.arange(count) * period_mm / count
        offset = (offset + period_mm / 2) % period_mm - period_mm / 2
        kernel = np.exp(-((offset * count / period_mm) ** 2)).astype(np.float32)
        kernel[kernel < 1e-4] = 0
        return csr_array(kernel / np.sqrt((kernel**2).sum(1, keepdims=True)))

    def field(x, y, z):
        layer = (weights(z, nz) @ lattice.reshape(nz, -1)).reshape(n, n)
        return (weights(y, n) @ (weights(x, n) @ layer).T).T

    return field


# --- subject, cord and dural sac ------------------------------------------------------------------


def draw_subject(seed, drift_mm):
    """Draw all that defines a subject and does not depend on the slice, from a seed."""
    rng = np.random.default_rng([seed, 0])

    def vary(sd):
        return float(1 + sd * np.clip(rng.standard_normal(), -2, 2))

    subject = SimpleNamespace(
        level=rng.uniform(3.6, 5.0),
        cord=(vary(0.035), vary(0.035)),
        sac=(vary(0.06), vary(0.06)),
        gm=vary(0.025),
        thick=vary(0.045),
        sides=[SimpleNamespace(front=vary(0.08), back=vary(0.07), spread=vary(0.07)) for _ in "lr"],
        turn=np.deg2rad(rng.normal(0, 2.0)),
        twist=np.deg2rad(rng.normal(0, 1.5, 2)),
        drift_mm=drift_mm,
        phase=rng.uniform(0, 2 * np.pi, 5),
        tilt=rng.normal(0, 0.02, 2),
        back=rng.uniform(0.4, 1.4),
        body=vary(0.08),
        lamina=vary(0.15),
        vessels=rng.normal(0, 1, (22, 4)).tolist(),
        bundles=rng.uniform((11, -1.6), (62, 1.6), (64, 2)).tolist(),
        neck=(vary(0.06), vary(0.06)),
    )
    subject.warp = [_texture(rng, 2.5) for _ in "uv"]
    subject.sway = [_texture(rng, 9.0, 16.0) for _ in "uv"]
    subject.grain = [_texture(rng, 1.6), _texture(rng, 4.0), _texture(rng, 14.0, 16.0)]
    return subject


def section_at(subject, z, offset_mm, level):
    """Return the dimensions of a subject's axial section at height `z` in mm.

    `level` is the vertebral level at height 0, 4.0 being the middle of C4.
    """
    here = float(np.clip(level - z / LEVEL_HEIGHT_MM, 0.8, 8.2))
    wide = float(np.exp(-(((here - 5.9) / 1.6) ** 2)))  # the cervical enlargement
    low = float(1 / (1 + np.exp(-(here - 3.4) * 2.5)))  # below C3 the canal is flat in front
    wave = np.sin(2 * np.pi * z / 90 + subject.phase) * subject.drift_mm
    return SimpleNamespace(
        z=z,
        level=here,
        wide=wide,
        low=low,
        disc=float(np.exp(-(((here % 1 - 0.5) / 0.17) ** 2))),
        centre=(
            float(offset_mm[0] + wave[0] + subject.tilt[0] * z),
            float(offset_mm[1] + wave[1] + subject.tilt[1] * z),
        ),
        turn=subject.turn,
        cord_turn=subject.twist[0] + subject.twist[1] * np.sin(z / 20 + subject.phase[2]),
        cord=((5.85 + 0.85 * wide) * subject.cord[0], (4.2 - 0.2 * wide) * subject.cord[1]),
        sac=((9.2 + 1.0 * low) * subject.sac[0], (7.2 - 0.5 * low) * subject.sac[1]),
    )


def _rotated(x, y, centre, angle):
    """Return the grid of x and y in coordinates about a centre, rotated by an angle."""
    u, v = x[:, None] - np.float32(centre[0]), y[None, :] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return u * cos + v * sin, v * cos - u * sin


def cord_shapes(subject, section, x, y):
    """Return distances to cord and GM, and cord coordinates, on the grid of `x` and `y`, in mm."""
    u, v = _rotated(x, y, section.centre, section.turn + section.cord_turn)
    cord = _oval(u, v, section.cord, 2.2)
    u = u + 0.13 * subject.warp[0](x, y, section.z)
    v = v + 0.13 * subject.warp[1](x, y, section.z)
    scale_u, scale_v = section.cord[0] / 6.3 * subject.gm, section.cord[1] / 4.1 * subject.gm
    p, q, w, thick = u / scale_u, v / scale_v, section.wide, subject.thick
    gm = _cone(p, q, (-1.2, 0.75), (1.2, 0.75), 0.36, 0.36)
    for sign, side in zip((-1, 1), subject.sides, strict=True):
        root = (sign * 1.15, 0.75)
        horn = (sign * (1.55 + 0.85 * w) * side.spread, (1.75 - 0.25 * w) * side.front)
        tip = (sign * (1.45 + 0.75 * w) * side.spread, (2.3 - 0.2 * w) * side.front)
        neck = (sign * (1.75 + 0.35 * w) * side.spread, -0.9)
        end = (sign * 3.05 * side.spread, -2.75 * side.back)
        for shape in (
            _cone(p, q, root, horn, 0.5, (0.6 + 0.27 * w) * thick),
            _cone(p, q, horn, tip, (0.55 + 0.25 * w) * thick, 0.4),
            _cone(p, q, root, neck, 0.55, 0.44 * thick),
            _cone(p, q, neck, end, 0.46 * thick, 0.34 * thick),
        ):
            gm = _join(gm, shape, 0.45)
    return cord, np.maximum(gm * float(np.sqrt(scale_u * scale_v)), cord + 0.35), u, v


def paint_sac(subject, section, x, y, edge_mm, tissue):
    """Return what lies inside the dura on the grid of `x` and `y`, in mm.

    Returns
    -------
    value, inside, in_gm, in_cord : numpy.ndarray
        (x, y): signal, and share of each point that lies in the dura, the GM and the cord.
    """
    u, v = _rotated(x, y, section.centre, section.turn)
    front = _oval(u, v - subject.back, section.sac, 2.1 + 0.8 * section.low)
    rear = _oval(u, v - subject.back, section.sac, 2.1 - 0.5 * section.low)
    sac = np.where(v > subject.back, front, rear)
    cord, gm, p, q = cord_shapes(subject, section, x, y)
    slow, fine = subject.grain[1](x, y, section.z), subject.grain[0](x, y, section.z)
    csf = tissue.csf * (1 + 0.035 * slow + 0.02 * fine)
    value = tissue.bone + np.zeros_like(sac)  # the dura itself is dark
    _paint(value, csf, coverage(sac + 0.45, edge_mm + 0.25))
    half_width, half_depth = section.cord
    for sign in (-1, 1):  # nerve roots, visible on some slices
        seen = 0.3 + 0.25 * np.sin(2 * np.pi * section.level + subject.phase[3 + (sign > 0)])
        for ends in (((0.4, 0.9), (1.45, 0.15)), ((0.55, -0.85), (1.5, -0.15))):
            start, end = [(sign * i * half_width, j * half_depth) for i, j in ends]
            root = _cone(u, v, start, end, 0.25, 0.5)
            _paint(value, tissue.wm, seen * coverage(root, edge_mm + 0.3))
    columns = np.exp(-((p / 1.7) ** 2) - ((q + 1.6) / 1.6) ** 2)
    wm = tissue.wm * (1 + 0.06 * columns + 0.02 * slow + 0.015 * fine)
    in_cord, in_gm = coverage(cord, edge_mm), coverage(gm, edge_mm)
    _paint(value, wm, in_cord)
    _paint(value, tissue.gm * (1 + 0.02 * slow + 0.015 * fine), in_gm)
    fissure = _cone(p, q, (0, half_depth + 0.2), (0, 1.9), 0.25, 0.1)
    _paint(value, csf, 0.5 * coverage(fissure, edge_mm))
    return value, coverage(sac, edge_mm), in_gm, in_cord


# --- around the dura ------------------------------------------------------------------------------


class _Local(NamedTuple):
    """Coordinates about the cord in mm, textures, and the front and rear of the dural sac."""

    u: np.ndarray
    v: np.ndarray
    fine: np.ndarray
    slow: np.ndarray
    broad: np.ndarray
    front: float
    rear: float


def paint_neck(subject, section, x, y, edge_mm, tissue):
    """Return the signal of everything around the dura on the grid of `x` and `y`, in mm."""
    u, v = _rotated(x, y, section.centre, section.turn)
    fine, slow, broad = (grain(x, y, section.z) for grain in subject.grain)
    sway = [field(x, y, section.z) for field in subject.sway]
    ends = subject.back + section.sac[1], subject.back - section.sac[1]
    value = _muscles(subject, _Local(u, v, fine, slow, broad, *ends), sway, tissue)
    place = _Local(u + 0.7 * sway[0], v + 0.7 * sway[1], fine, slow, broad, *ends)
    bone = _paint_vertebra(value, subject, section, place, edge_mm, tissue)
    _paint_epidural_space(value, subject, section, place, tissue)
    _paint_vessels(value, subject, section, place, bone, tissue)
    skin = _oval(place.u, place.v - 8, (60 * subject.neck[0], 56 * subject.neck[1]), 2.2)
    _paint(value, tissue.fat * (1 + 0.1 * slow), coverage(-skin - 5 - broad, 1.0))
    airway = _oval(place.u, place.v - place.front - 32, (8.5, 6.0))
    _paint(value, 0.01, coverage(np.minimum(-skin, airway), 1.0))
    return value


def _muscles(subject, place, sway, tissue):
    """Return muscles: sheets in layers around the vertebra, the same on left and right."""
    u, v, fine, slow, broad, _, _ = place
    value = tissue.muscle * (1 + 0.07 * fine + 0.09 * slow + 0.08 * broad)
    radius = np.hypot(u + 2.5 * sway[0], v + 2.5 * sway[1])
    angle = np.arctan2(v + 4 + 2.5 * sway[1], np.abs(u + 1.5 * sway[0]) + 2)
    nearest = np.full((2, *u.shape), np.inf, np.float32)
    for i, j in subject.bundles:
        distance = ((radius - i) * 1.3) ** 2 + ((angle - j) * 17) ** 2
        np.minimum(nearest[1], np.maximum(nearest[0], distance), out=nearest[1])
        np.minimum(nearest[0], distance, out=nearest[0])
    gap = (np.sqrt(nearest[1]) - np.sqrt(nearest[0])) / 2
    value *= 1 + 0.10 * np.sin(radius * 2.1 + 1.5 * slow) * np.clip(broad, 0, 1)
    _paint(value, tissue.septum, coverage(gap - np.clip(0.25 + 0.25 * broad, 0.1, 0.7), 0.7) * 0.8)
    _paint(value, tissue.fat, coverage(gap + 0.6 - 0.6 * slow, 0.8) * 0.8)
    return value


def _paint_vertebra(value, subject, section, place, edge_mm, tissue):
    """Paint vertebra and disc; return the distance to the bone."""
    u, v, fine, slow, _, front, rear = place
    half_width = section.sac[0]
    body_v = front + 1.2 + 8.0 * subject.body
    body_half = ((10.5 - 2 * (1 - section.low)) * subject.body, 8.0 * subject.body)
    body = _oval(u, v - body_v, body_half, 2.6)
    bone = body
    arch = 1 - 0.55 * section.disc
    middle = (0, rear - 2.6 * subject.lamina)
    for sign in (-1, 1):  # lateral mass, pedicle, lamina
        mass, foot = (sign * (half_width + 4.2), -0.5), (sign * (half_width + 1.5), rear + 4.0)
        side, pedicle = (sign * (half_width + 7), 0.5), (sign * 9.0, front + 3)
        for start, end, *radii in (
            (mass, side, 4.0 * arch, 3.2 * arch),
            (mass, pedicle, 2.6 * arch, 2.6 * arch),
            (mass, foot, 2.6, 2.2),
            (foot, middle, 2.0 * subject.lamina, 2.2),
        ):
            bone = _join(bone, _cone(u, v, start, end, radii[0], radii[1]), 1.5)
    tail = (0, rear - 5.0 - 13.0 * (1 - 0.6 * section.disc) * section.low)
    bone = _join(bone, _cone(u, v, middle, tail, 2.2, 1.6 + 0.8 * section.low), 2.0)
    raphe = _cone(u, v, tail, (0, rear - 45), 0.5, 0.5)
    _paint(value, tissue.septum * (1.3 + 0.5 * slow), 0.8 * coverage(raphe, 0.8))
    _paint(value, 0.55 * tissue.bone, coverage(bone, edge_mm + 0.3))
    marrow = tissue.bone * (1.15 + 0.12 * fine + 0.15 * slow)
    _paint(value, marrow, coverage(bone + 1.0, edge_mm + 0.6))
    dome = np.exp(-((u / 8) ** 2) - ((v - body_v) / 6) ** 2)
    disc = tissue.bone + (0.95 * tissue.muscle - tissue.bone) * dome
    _paint(value, disc, section.disc * coverage(body + 0.8, 0.8))
    return bone


def _paint_epidural_space(value, subject, section, place, tissue):
    """Paint veins and fat between dura and bone, and along the roots between two vertebrae."""
    half_width, half_depth = section.sac
    ring = _oval(place.u, place.v - subject.back, (half_width + 1.1, half_depth + 0.7), 2.3)
    for sign in (-1, 1):
        start, end = (sign * half_width, 1.5), (sign * (half_width + 5), 4.5)
        foramen = _cone(place.u, place.v, start, end, 1.8, 1.4)
        ring = np.minimum(ring, foramen + 3.0 * (1 - section.disc))
    veins = tissue.fat * (0.8 + 0.18 * place.slow + 0.1 * place.fine)
    _paint(value, veins, coverage(ring, 0.7) * np.clip(0.55 + 0.4 * place.slow, 0, 1))


def _paint_vessels(value, subject, section, place, bone, tissue):
    """Paint vertebral arteries, carotids and jugulars, and small vessels behind the bone."""
    u, v, _, slow, _, front, rear = place
    for sign, n in ((-1, 0), (1, 3)):
        tubes = ((13.5, front + 2.5, 2.0), (23, front + 12, 3.2), (28, front + 9, 4.2))
        for (i, j, r), jitter in zip(tubes, subject.vessels[n : n + 3], strict=True):
            tube = np.hypot(u - sign * i - jitter[0], v - j - jitter[1]) - r - 0.3 * jitter[2]
            _paint(value, tissue.septum, coverage(tube - 0.5, 0.6))
            flow = tissue.vessel * (0.85 + 0.06 * jitter[3] + 0.08 * slow)
            _paint(value, flow, coverage(tube, 0.8))
    for jitter in subject.vessels[6:]:
        i = 8 * jitter[0] + float(np.copysign(8, jitter[0])) + jitter[2] * section.z / 20
        start = (i, rear - 5 + 7 * jitter[1])
        end = (i + 1.5 * jitter[2] + 0.1, start[1] + 1.5 * jitter[3])
        radius = 0.2 - 0.9 * float(np.cos(section.z / 12 + 9 * jitter[1]))
        tube = np.maximum(_cone(u, v, start, end, radius, 0.6 * radius), -bone)
        _paint(value, tissue.vessel * (0.7 + 0.1 * jitter[3]), coverage(tube, 0.8))
