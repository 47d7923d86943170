"""How one heart differs from another: the shape modes, and what a beat does to them."""

from dataclasses import dataclass

import numpy as np

from tte_tee.data.phantom.body import Array, Body, Valve
from tte_tee.data.phantom.heart import Heart
from tte_tee.data.phantom.population import POPULATIONS
from tte_tee.data.phantom.population import normal as _normal


def _opening(rng: np.random.Generator) -> float:
    """Angle of a valve's leaflets at end-diastole: about to close in some hearts, shut in the others."""
    return float(rng.uniform(0.2, 1.0)) if rng.random() < 0.45 else 0.0


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def _frame(axis: Array) -> Array:
    """Orthonormal rows: nearest to ``x``, nearest to ``y``, and ``axis`` itself."""
    axis = _unit(axis)
    first = _unit(np.array([1.0, 0, 0]) - axis[0] * axis)
    return np.stack([first, np.cross(axis, first), axis])


@dataclass(frozen=True)
class HeartShape:
    """The modes of one heart at end-diastole, and how it beats. Lengths in mm, shares in 0-1.

    Attributes:
        lv_length, lv_radii, lv_waist, lv_mouth, lv_power, lv_bend, lv_lobes: left ventricle.
        septal, lateral, apical, right_wall: walls, as in :class:`Heart`.
        ejection: left ejection fraction.
        descent: how far the mitral ring moves to the apex in systole.
        right_ejection, right_descent: the same for the right ventricle and the tricuspid ring.
        ring_tilt: of the mitral ring against the ventricle's axis, along x and y, radians.
        la, ra: length, radii and slope (along x and y) of each atrium, ``[5]``.
        atrial_lobes: of both atria, ``[2, 2, 2]``.
        rv: length as a share of the left ventricle's, radii, gap to the septum as a share of the
            radius, and how far the apex leans to the left as a share of the offset, ``[5]``.
        rv_lobes: of the right ventricle.
        offset: how far the tricuspid ring stands nearer to the apex than the mitral ring.
        tents: of mitral and tricuspid valve.
        openings: of mitral and tricuspid valve at end-diastole, radians.
        papillary: direction (radians) and size (share of radius) of each papillary muscle.
    """

    lv_length: float
    lv_radii: tuple[float, float]
    lv_waist: float
    lv_mouth: float
    lv_power: float
    lv_bend: tuple[float, float]
    lv_lobes: Array
    septal: float
    lateral: float
    apical: float
    right_wall: float
    ejection: float
    descent: float
    right_ejection: float
    right_descent: float
    ring_tilt: tuple[float, float]
    la: Array
    ra: Array
    atrial_lobes: Array
    rv: Array
    rv_lobes: Array
    offset: float
    tents: tuple[float, float]
    openings: tuple[float, float]
    papillary: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, population: str = "patients") -> "HeartShape":
        """One heart of :data:`POPULATIONS`; failing ones are larger, hypertrophied ones thicker."""
        of = POPULATIONS[population]
        size = _normal(rng, *of.size)
        ejection = float(np.clip(_normal(rng, *of.ejection), 0.2, 0.72))
        dilation = 1 + 0.5 * max(0.0, 0.5 - ejection) + _normal(rng, *of.dilation)
        radius = 24.0 * size * dilation
        thickness = of.thickness[0] * size * _normal(rng, 1.0, of.thickness[1])
        lean = _normal(rng, *of.rv_lean)
        return cls(
            lv_length=_normal(rng, *of.lv_length) * size,
            lv_radii=(radius * _normal(rng, 1, 0.05), radius * _normal(rng, 1, 0.05)),
            lv_waist=float(rng.uniform(0.28, 0.45)),
            lv_mouth=float(rng.uniform(0.68, 0.86)),
            lv_power=float(rng.uniform(1.9, 2.5)),
            lv_bend=(_normal(rng, *of.lv_bend), _normal(rng, 0, of.lv_bend[1])),
            lv_lobes=rng.normal(0, 0.035 * of.lobes, (2, 2)),
            septal=thickness * _normal(rng, *of.septal),
            lateral=thickness * _normal(rng, *of.lateral),
            apical=float(rng.uniform(0.55, 0.9)),
            right_wall=float(rng.uniform(3, 5)),
            ejection=ejection,
            descent=float(np.clip(22 * ejection * _normal(rng, 1, 0.12), 4, 17)),
            right_ejection=float(np.clip(0.2 + 0.5 * ejection + _normal(rng, 0, 0.05), 0.25, 0.6)),
            right_descent=float(rng.uniform(10, 20)) * min(1.0, 0.4 + ejection),
            ring_tilt=(_normal(rng, 0.05, 0.1), _normal(rng, 0, 0.1)),
            la=np.array([_normal(rng, *of.la_length), _normal(rng, *of.la_radius), _normal(rng, *of.la_radius), 0, 0])
            * size
            + np.array([0, 0, 0, _normal(rng, -0.02, 0.1), _normal(rng, 0, 0.08)]),
            ra=np.array([_normal(rng, *of.ra_length), _normal(rng, *of.ra_radius), _normal(rng, *of.ra_radius), 0, 0])
            * size
            + np.array([0, 0, 0, _normal(rng, -0.05, 0.1), _normal(rng, 0, 0.1)]),
            atrial_lobes=rng.normal(0, 0.04 * of.lobes, (2, 2, 2)),
            rv=np.array(
                [
                    _normal(rng, *of.rv_length),
                    _normal(rng, *of.rv_across) * size,
                    _normal(rng, *of.rv_deep) * size,
                    _normal(rng, *of.rv_gap),
                    lean,
                ]
            ),
            rv_lobes=rng.normal(0, 0.04 * of.lobes, (2, 2)),
            offset=float(rng.uniform(3, 9)),
            tents=(float(rng.uniform(0.5, 5)), float(rng.uniform(0.5, 5))),
            openings=(_opening(rng), _opening(rng)),
            papillary=np.stack([rng.uniform([-2.2, 1.2], [-0.9, 2.6]), rng.uniform(0.14, 0.24, 2)], axis=1),
        )

    def at(self, phase: str) -> Heart:
        """The heart at ``ED`` or ``ES``; the apex and the roofs of the atria stay where they are."""
        systole = phase == "ES"
        drop, right_drop = (self.descent, self.right_descent) if systole else (0.0, 0.0)
        lv, shrink = self._left_ventricle(drop, self.ejection if systole else 0.0)
        septal, lateral = (self._wall(t, drop, shrink) for t in (self.septal, self.lateral))
        normal = _unit(np.array([np.tan(self.ring_tilt[0]), np.tan(self.ring_tilt[1]), 1.0]))
        mitral = Valve(
            centre=np.array([0, 0, drop]),
            normal=normal,
            radius=self.lv_mouth * float(np.mean(lv.radii)) * 1.04,
            tent=self.tents[0] + (2.0 if systole else 0.0),
            opening=0.0 if systole else self.openings[0],
            thickness=1.6,
        )
        rv = self._right_ventricle(right_drop, self.right_ejection if systole else 0.0)
        tricuspid = Valve(
            centre=rv.base,
            normal=_unit(rv.frame[2] + np.array([0.1, 0, 0])),
            radius=0.85 * rv.radii[0],
            tent=self.tents[1],
            opening=0.0 if systole else self.openings[1],
            thickness=1.3,
        )
        return Heart(
            lv=lv,
            la=_atrium(self.la, mitral.centre, drop, self.atrial_lobes[0]),
            rv=rv,
            ra=_atrium(self.ra, rv.base, right_drop + self.offset, self.atrial_lobes[1]),
            mitral=mitral,
            tricuspid=tricuspid,
            septal=septal,
            lateral=lateral,
            apical=self.apical,
            right_wall=self.right_wall * (1.3 if systole else 1.0),
            papillary=self._papillary(lv),
        )

    def _left_ventricle(self, drop: float, ejection: float) -> tuple[Body, float]:
        """Volume goes as length times radius squared, which gives how far the radius shrinks."""
        length = self.lv_length - drop
        shrink = float(np.sqrt((1 - ejection) * self.lv_length / length))
        body = Body(
            base=np.array([0, 0, drop]),
            frame=np.eye(3),
            length=length,
            radii=(self.lv_radii[0] * shrink, self.lv_radii[1] * shrink),
            waist=self.lv_waist,
            mouth=min(0.93, self.lv_mouth / shrink**0.5),
            power=self.lv_power,
            bend=self.lv_bend,
            lobes=self.lv_lobes,
        )
        return body, shrink

    def _wall(self, thickness: float, drop: float, shrink: float) -> float:
        """Thickness that keeps the muscle's volume, which is nearly incompressible."""
        radius = float(np.mean(self.lv_radii))
        muscle = ((radius + thickness) ** 2 - radius**2) * self.lv_length / (self.lv_length - drop)
        return min(float(np.sqrt(muscle + (radius * shrink) ** 2)) - radius * shrink, 1.7 * thickness)

    def _right_ventricle(self, drop: float, ejection: float) -> Body:
        share, across, deep, gap, lean = self.rv
        reach = self.lv_radii[0] + self.septal
        base = np.array([-(reach * 0.92 + gap * across), 0, self.offset + drop])
        apex = np.array([base[0] * (1 - lean * 0.55), 0, share * self.lv_length])
        axis = apex - base
        length = float(np.linalg.norm(axis))
        full = length + drop
        shrink = float(np.sqrt((1 - ejection) * full / length))
        return Body(
            base=base,
            frame=_frame(axis),
            length=length,
            radii=(across * shrink, deep * shrink),
            waist=0.28,
            mouth=0.88,
            power=2.1,
            bend=(-3.0, 0.0),
            lobes=self.rv_lobes,
        )

    def _papillary(self, lv: Body) -> Array:
        muscles = []
        for angle, size in self.papillary:
            out = np.array([np.cos(angle) * lv.radii[0], np.sin(angle) * lv.radii[1]]) * 0.84
            centre = lv.base + np.array([*out, 0.55 * lv.length])
            radius = size * lv.radii[0]
            muscles.append([centre, [radius, radius, 0.2 * lv.length]])
        return np.array(muscles)


def _atrium(modes: Array, ring: Array, drop: float, lobes: Array) -> Body:
    """An atrium from a ring to a roof that stays in place while the ring descends by ``drop``."""
    length, across, deep, slope_x, slope_y = modes
    roof = np.array([ring[0] + slope_x * length, slope_y * length, -length])
    axis = roof - ring
    fill = 1 + 0.006 * drop
    frame = _frame(axis)
    return Body(
        base=ring,
        frame=frame,
        length=float(np.linalg.norm(axis)),
        radii=(across * fill, deep * fill),
        waist=0.5,
        mouth=0.72,
        power=2.4,
        bend=(0.0, 0.0),
        lobes=lobes,
    )
