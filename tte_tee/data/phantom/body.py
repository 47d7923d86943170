"""The two solids of the phantom: a bent, lobed half-ellipsoid (a chamber) and a ring with leaflets (a valve).

Both are implicit functions: any set of points can be asked, so a slice costs no more than its
own pixels. Lengths are millimetres in the frame of the heart (see :mod:`.heart`).
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Body:
    """A chamber: superellipsoid around an axis from its mouth (the valve) to its tip.

    The gauge is ``(rho^p + t^p)^(1/p)``, with ``rho`` the transverse radius over the local
    radius and ``t`` the distance along the axis from the widest section, each scaled to 1 at
    the surface (superquadrics: Barr, IEEE CG&A 1(1), 1981).

    Attributes:
        base: centre of the mouth, ``[3]``.
        frame: rows are the two transverse directions and the axis, ``[3, 3]``, orthonormal.
        length: from mouth to tip.
        radii: semi-axes of the widest section along the transverse directions.
        waist: place of the widest section, as a share of the length from the mouth.
        mouth: radius at the mouth as a share of the widest.
        power: ``p``; 2 is an ellipsoid, more is boxier.
        bend: how far the tip leaves the axis along each transverse direction.
        lobes: cosine and sine amplitudes of the second and third angular harmonic, ``[2, 2]``,
            as shares of the radius.
    """

    base: Array
    frame: Array
    length: float
    radii: tuple[float, float]
    waist: float
    mouth: float
    power: float
    bend: tuple[float, float]
    lobes: Array

    def tip(self) -> Array:
        """The far end of the chamber, ``[3]``."""
        return self.base + np.array([*self.bend, self.length]) @ self.frame

    def distance(self, points: Array) -> tuple[Array, Array, Array]:
        """Approximate signed distance to the surface (mm, negative inside), and where along and around the axis.

        The mouth is not closed: below it the surface runs on to its own pole.

        Args:
            points: ``[..., 3]`` float32.

        Returns:
            distance, share of the length from the mouth, and cosine of the angle to the first
            transverse direction, each ``[...]``.
        """
        local = (points - self.base.astype(np.float32)) @ self.frame.T.astype(np.float32)
        along = local[..., 2] / np.float32(self.length)
        bow = np.square(np.maximum(along, 0))
        x = local[..., 0] - np.float32(self.bend[0]) * bow
        y = local[..., 1] - np.float32(self.bend[1]) * bow
        xn, yn = x / np.float32(self.radii[0]), y / np.float32(self.radii[1])
        rho = np.sqrt(xn * xn + yn * yn) + np.float32(1e-6)
        cos, sin = xn / rho, yn / rho
        rho = rho / (1 + self._lobes(cos, sin))
        below = self.waist / (1 - self.mouth**self.power) ** (1 / self.power)
        reach = np.where(along > self.waist, np.float32(1 - self.waist), np.float32(below))
        t = np.abs(along - np.float32(self.waist)) / reach
        power = np.float32(self.power)
        gauge = np.maximum((rho**power + t**power) ** np.float32(1 / self.power), np.float32(1e-3))
        from_centre = np.sqrt(x * x + y * y + np.square((along - np.float32(self.waist)) * np.float32(self.length)))
        return from_centre - from_centre / gauge, along, cos

    def _lobes(self, cos: Array, sin: Array) -> Array:
        (a2, b2), (a3, b3) = self.lobes.astype(np.float32)
        cos2, sin2 = cos * cos - sin * sin, 2 * cos * sin
        return a2 * cos2 + b2 * sin2 + a3 * (cos2 * cos - sin2 * sin) + b3 * (sin2 * cos + cos2 * sin)


@dataclass(frozen=True)
class Valve:
    """An atrioventricular valve: a flat ring and leaflets that dome or open into the ventricle.

    Attributes:
        centre: of the ring, ``[3]``.
        normal: toward the ventricle, ``[3]``, unit.
        radius: of the ring.
        tent: how far closed leaflets dome into the ventricle.
        opening: angle of the leaflets to the ring's plane, radians; 0 is closed.
        thickness: of a leaflet.
    """

    centre: Array
    normal: Array
    radius: float
    tent: float
    opening: float
    thickness: float

    def height(self, points: Array) -> tuple[Array, Array]:
        """Height above the surface that parts atrium and ventricle (mm), and whether a point is leaflet.

        The parting surface is that of the closed leaflets, whatever the opening, as the chord of
        the ring is in clinical tracings.
        """
        offset = points - self.centre.astype(np.float32)
        flat = offset @ self.normal.astype(np.float32)
        rho = np.sqrt(np.maximum(np.einsum("...i,...i->...", offset, offset) - flat * flat, 0)) / np.float32(
            self.radius
        )
        dome = np.float32(self.tent) * np.maximum(1 - rho * rho, 0)
        slope = float(np.tan(self.opening))
        leaf = dome + np.float32(slope * self.radius) * (1 - rho)
        reach = 1 - min(1.0, 1.1 * float(np.cos(self.opening)))
        half = np.float32(self.thickness / 2 * np.hypot(1, slope))
        return flat - dome, (np.abs(flat - leaf) < half) & (rho < 1.05) & (rho >= reach)
