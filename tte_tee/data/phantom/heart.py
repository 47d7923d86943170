"""A parametric heart of four chambers in millimetres, at end-diastole and end-systole.

Frame: the origin is the centre of the mitral ring at end-diastole, ``z`` runs to the apex of
the left ventricle, ``x`` from the septum to the lateral wall, ``y`` from inferior to anterior.
Sizes are drawn around adult norms (Lang et al., J Am Soc Echocardiogr 28(1), 2015).
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tte_tee.data.phantom.body import Array, Body, Valve


class Tissue(IntEnum):
    """What a point is made of."""

    OUTSIDE = 0
    PERICARDIUM = 1
    MYOCARDIUM = 2
    RIGHT_WALL = 3
    FIBROUS = 4
    LV = 5
    LA = 6
    RV = 7
    RA = 8


BLOOD_FROM = Tissue.LV
ATRIAL_WALL = 2.5
PERICARDIUM_WIDTH = 2.5


@dataclass(frozen=True)
class Slice:
    """A heart asked at a set of points; every array has the points' shape.

    Attributes:
        tissue: :class:`Tissue`, uint8.
        leaflet: whether a valve's leaflet lies there; beneath it ``tissue`` names the chamber.
        muscle: whether a papillary muscle lies there; beneath it ``tissue`` names the cavity.
        wall: signed distance to the inner surface of the nearest chamber, mm.
        surface: signed distance to the outside of the heart, mm.
    """

    tissue: Array
    leaflet: Array
    muscle: Array
    wall: Array
    surface: Array


@dataclass(frozen=True)
class Heart:
    """A heart at one phase.

    Attributes:
        lv, la, rv, ra: the chambers; the ventricles' mouths are the valves' rings.
        mitral, tricuspid: the valves.
        septal, lateral: thickness of the left ventricle's wall at the septum and opposite, mm.
        apical: thickness at the apex as a share of that.
        right_wall: thickness of the right ventricle's free wall, mm.
        papillary: centre and radii of each papillary muscle, ``[n, 2, 3]``.
    """

    lv: Body
    la: Body
    rv: Body
    ra: Body
    mitral: Valve
    tricuspid: Valve
    septal: float
    lateral: float
    apical: float
    right_wall: float
    papillary: Array

    def slice(self, points: Array) -> Slice:
        """What lies at ``points``, ``[..., 3]`` float32 in mm."""
        above_mitral, mitral_leaf = self.mitral.height(points)
        above_tricuspid, tricuspid_leaf = self.tricuspid.height(points)
        wall, along, cos = self.lv.distance(points)
        thickness = self._thickness(along, cos)
        la, _, _ = self.la.distance(points)
        rv, _, _ = self.rv.distance(points)
        ra, _, _ = self.ra.distance(points)
        # The wall flares a little below the ring, as annotators draw it.
        below = -above_mitral - 0.35 * np.maximum(wall, 0) - 1
        muscle_shell = np.maximum(wall - thickness, below)
        in_lv = (wall < 0) & (above_mitral > 0)
        in_la = (la < 0) & (above_mitral <= 0)
        in_myocardium = (muscle_shell < 0) & ~in_lv & ~in_la
        taken = in_lv | in_la | in_myocardium | (la < ATRIAL_WALL) & (above_mitral <= 0)
        in_rv = (rv < 0) & (above_tricuspid > 0) & ~taken
        in_ra = (ra < 0) & (above_tricuspid <= 0) & ~taken
        right_shell = np.maximum(rv - self.right_wall, -above_tricuspid)
        atria = np.minimum(np.maximum(la - ATRIAL_WALL, above_mitral), np.maximum(ra - ATRIAL_WALL, above_tricuspid))
        surface = _smooth_min(_smooth_min(muscle_shell, right_shell, 6.0), atria, 8.0)

        tissue = np.zeros(wall.shape, np.uint8)
        tissue[surface < PERICARDIUM_WIDTH] = Tissue.PERICARDIUM
        tissue[surface < 0] = Tissue.FIBROUS
        tissue[(right_shell < 0)] = Tissue.RIGHT_WALL
        tissue[in_myocardium] = Tissue.MYOCARDIUM
        for inside, name in ((in_ra, Tissue.RA), (in_rv, Tissue.RV), (in_la, Tissue.LA), (in_lv, Tissue.LV)):
            tissue[inside] = name
        leaflet = (mitral_leaf | tricuspid_leaf) & (tissue >= BLOOD_FROM)
        nearest = np.minimum(np.minimum(wall, la), np.minimum(rv, ra))
        return Slice(tissue, leaflet, self._papillary(points) & in_lv, nearest, surface)

    def _thickness(self, along: Array, cos: Array) -> Array:
        around = (self.lateral + self.septal) / 2 + (self.lateral - self.septal) / 2 * cos
        taper = 1 - (1 - self.apical) * np.clip((along - 0.55) / 0.45, 0, 1) ** 2
        return (around * taper).astype(np.float32)

    def _papillary(self, points: Array) -> Array:
        inside = np.zeros(points.shape[:-1], bool)
        for centre, radii in self.papillary.astype(np.float32):
            scaled = (points - centre) / radii
            inside |= np.einsum("...i,...i->...", scaled, scaled) < 1
        return inside


def _smooth_min(a: Array, b: Array, width: float) -> Array:
    """Polynomial smooth minimum: rounds the groove between two solids over ``width`` mm."""
    blend = np.clip(width - np.abs(a - b), 0, None)
    return np.minimum(a, b) - blend * blend / np.float32(4 * width)
