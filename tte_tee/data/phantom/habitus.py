"""What sets one patient's transoesophageal pictures apart from another's, beside the heart itself.

One draw per patient, shared by all planes and both phases: a segmenter that has seen few
patients has seen few of these, however many frames each of them gave. Transthoracic pictures
have none of it. Lengths in mm in the frame of the heart, levels in dB over the mean myocardium.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from tte_tee.data.phantom.anatomy import HeartShape
from tte_tee.data.phantom.body import Array, Body
from tte_tee.data.phantom.heart import PERICARDIUM_WIDTH, Heart, Slice, Tissue
from tte_tee.data.phantom.probe import Plane

KNOTS = 6


@dataclass(frozen=True)
class Habitus:
    """The traits of one patient and of the hand that set the scanner.

    Attributes:
        settings: share of each scanner setting within its range, ``[settings]``; see :class:`Scanner`.
        right_wall, septa: levels of the right ventricle's free wall and of the fibrous septa.
        right_blood: how much brighter the right heart's blood is than the left's (contrast, slow flow).
        trabecula: how far trabeculae reach into the right ventricle.
        effusion: thickness of the fluid around the heart.
        fluids, fats: centre and radii of fluid and of fat beside the heart, ``[n, 2, 3]``.
        bands: muscle bands through the right ventricle: two ends in units of the ventricle, ``[n, 2, 3]``.
        lead: a pacing lead from the right atrium to the right apex: its points in units of the
            ventricle or of the atrium, ``[4, 3]``, or empty.
        depth_gain, side_gain: gain over depth and over the beams at equally spaced knots, dB.
    """

    settings: Array
    right_wall: float
    septa: float
    right_blood: float
    trabecula: float
    effusion: float
    fluids: Array
    fats: Array
    bands: Array
    lead: Array
    depth_gain: Array
    side_gain: Array

    @classmethod
    def draw(cls, shape: HeartShape, settings: int, rng: np.random.Generator) -> "Habitus":
        """The traits of the patient with this heart; ``settings`` is the number of scanner settings."""
        return cls(
            settings=rng.uniform(0, 1, settings),
            right_wall=float(rng.uniform(-14, 1)),
            septa=float(rng.uniform(-10, 5)),
            right_blood=float(rng.uniform(2, 18) if rng.random() < 0.45 else rng.uniform(-4, 2)),
            trabecula=float(rng.uniform(0.8, 6)),
            effusion=float(rng.uniform(4, 14) if rng.random() < 0.35 else 0.0),
            fluids=_beside(shape, rng, int(rng.integers(0, 5))),
            fats=_beside(shape, rng, int(rng.integers(0, 5))),
            bands=_bands(rng, int(rng.integers(0, 4))),
            lead=rng.normal(0, 0.25, (4, 3)) if rng.random() < 0.35 else np.empty((0, 3)),
            depth_gain=rng.normal(0, 5.5, KNOTS),
            side_gain=rng.normal(0, 5.5, KNOTS),
        )


@dataclass(frozen=True)
class Dressing:
    """A patient's traits on the samples of one picture, ``[samples, beams]`` each.

    Attributes:
        blood: what is added to the level of blood, dB.
        trabecula: reach of the trabeculae, mm; 0 where the scanner's own holds.
        fluid, fat, band, lead: whether a sample lies in one.
        gain: added to everything, dB.
    """

    blood: Array
    trabecula: Array
    fluid: Array
    fat: Array
    band: Array
    lead: Array
    gain: Array


def dress(habitus: Habitus, heart: Heart, plane: Plane, points: Array, tissue: Slice) -> Dressing:
    """Lays a patient's traits over a slice.

    Args:
        habitus: the traits.
        heart: at the phase shown.
        plane: in which the samples lie.
        points: of the samples, ``[samples, beams, 3]``, mm.
        tissue: the heart asked at these points.
    """
    shape = tissue.tissue.shape
    right = (tissue.tissue == Tissue.RV) | (tissue.tissue == Tissue.RA)
    beyond = tissue.surface > PERICARDIUM_WIDTH
    fluid = beyond & (_within(plane, points, habitus.fluids) | (tissue.surface < PERICARDIUM_WIDTH + habitus.effusion))
    band = np.zeros(shape, bool)
    for ends in habitus.bands:
        start, end = _place(heart.rv, ends)
        band |= _capsule(plane, points, start, end, 3.0)
    lead = np.zeros(shape, bool)
    if len(habitus.lead):
        course = np.array([[0, 0, 0.8], [0, 0, 0.3], [0, 0, 0.3], [0, 0, 0.85]]) + habitus.lead * [1, 1, 0.3]
        course = np.concatenate([_place(heart.ra, course[:2]), _place(heart.rv, course[2:])])
        for start, end in pairwise(course):
            lead |= _capsule(plane, points, start, end, 2.5)
    gain = _curve(habitus.depth_gain, shape[0])[:, None] + _curve(habitus.side_gain, shape[1])
    return Dressing(
        blood=np.where(right, np.float32(habitus.right_blood), np.float32(0)),
        trabecula=np.where(tissue.tissue == Tissue.RV, np.float32(habitus.trabecula), np.float32(0)),
        fluid=fluid,
        fat=beyond & ~fluid & _within(plane, points, habitus.fats),
        band=band & (tissue.tissue == Tissue.RV),
        lead=lead & right,
        gain=gain,
    )


def _beside(shape: HeartShape, rng: np.random.Generator, count: int) -> Array:
    """Ellipsoids whose centres stand around the heart, more of them on its right."""
    around = rng.uniform(0, 2 * np.pi, count)
    far = rng.uniform(45, 85, count) + np.where(np.cos(around) < 0, 20, 0)
    z = rng.uniform(-0.6, 1.1, count) * shape.lv_length
    centres = np.stack([far * np.cos(around), 0.7 * far * np.sin(around), z], axis=1)
    return np.stack([centres, rng.uniform(10, 30, (count, 3))], axis=1)


def _bands(rng: np.random.Generator, count: int) -> Array:
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.array([[0, np.pi]]) + rng.normal(0, 0.5, (count, 2))
    along = rng.uniform(0.35, 0.9, (count, 2))
    return np.stack([np.cos(angle), np.sin(angle), along], axis=2)


def _place(body: Body, units: Array) -> Array:
    """From units of a chamber (radii across, length along its axis) to the frame of the heart."""
    return body.base + (units * np.array([*body.radii, body.length])) @ body.frame


def _within(plane: Plane, points: Array, ellipsoids: Array) -> Array:
    inside = np.zeros(points.shape[:-1], bool)
    for centre, radii in ellipsoids.astype(np.float32):
        if abs(plane.height(centre)) > radii.max():
            continue
        scaled = (points - centre) / radii
        inside |= np.einsum("...i,...i->...", scaled, scaled) < 1
    return inside


def _capsule(plane: Plane, points: Array, start: Array, end: Array, radius: float) -> Array:
    ends = plane.height(start), plane.height(end)
    if min(ends) > radius or max(ends) < -radius:
        return np.zeros(points.shape[:-1], bool)
    axis = (end - start).astype(np.float32)
    offset = points - start.astype(np.float32)
    share = np.clip(offset @ axis / np.float32(axis @ axis + 1e-6), 0, 1)
    away = offset - share[..., None] * axis
    return np.einsum("...i,...i->...", away, away) < radius * radius


def _curve(knots: Array, count: int) -> Array:
    return cv2.resize(knots.astype(np.float32)[None], (count, 1), interpolation=cv2.INTER_CUBIC)[0]
