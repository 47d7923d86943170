"""Where the probe stands, which plane it cuts, and the sector it shows."""

from dataclasses import dataclass

import numpy as np

from tte_tee.data.phantom.body import Array
from tte_tee.data.phantom.heart import Heart


@dataclass(frozen=True)
class Sector:
    """What the picture shows of the plane: a sector that fills the frame, its apex at the top.

    Attributes:
        depth: of the picture, mm.
        half_angle: half of the opening angle, radians.
        start: radius at which the picture begins (the footprint), mm.
    """

    depth: float
    half_angle: float
    start: float

    @property
    def width(self) -> float:
        """Width of the frame, mm."""
        return 2 * self.depth * float(np.sin(self.half_angle))

    def spacing(self, size: int) -> tuple[float, float]:
        """Millimetres per pixel, (rows, columns), in a square frame of ``size`` pixels."""
        return self.depth / size, self.width / size

    def pixels(self, size: int) -> tuple[Array, Array]:
        """Place of the pixel centres, (right, down) of the apex in mm, each ``[size, size]`` float32."""
        rows, columns = self.spacing(size)
        at = np.arange(size, dtype=np.float32) + np.float32(0.5)
        right, down = np.meshgrid(at * np.float32(columns) - np.float32(self.width / 2), at * np.float32(rows))
        return right, down

    def beams(self, samples: int, beams: int) -> tuple[Array, Array]:
        """Radius ``[samples]`` (mm) and angle ``[beams]`` (radians, right is positive) of the polar grid."""
        radius = np.linspace(self.start, self.depth, samples, dtype=np.float32)
        angle = np.linspace(-self.half_angle, self.half_angle, beams, dtype=np.float32)
        return radius, angle

    def to_polar(self, right: Array, down: Array) -> tuple[Array, Array]:
        """Radius (mm) and angle (radians) of places in the picture."""
        return np.hypot(right, down), np.arctan2(right, down)

    def inside(self, right: Array, down: Array) -> Array:
        """Whether places lie in the sector, as bool."""
        radius, angle = self.to_polar(right, down)
        return (radius <= self.depth) & (radius >= self.start) & (np.abs(angle) <= self.half_angle)


@dataclass(frozen=True)
class Plane:
    """A plane in the heart's frame: where the apex of the sector is, and the picture's two directions.

    Attributes:
        origin, right, down: ``[3]``; the directions are unit and orthogonal.
    """

    origin: Array
    right: Array
    down: Array

    def points(self, right: Array, down: Array) -> Array:
        """Places in the picture as points of the heart, ``[..., 3]`` float32 in mm."""
        frame = np.stack([self.right, self.down]).astype(np.float32)
        return np.stack([right, down], axis=-1) @ frame + self.origin.astype(np.float32)

    def height(self, point: Array) -> float:
        """Signed distance of a point ``[3]`` from the plane, mm."""
        return float((point - self.origin) @ np.cross(self.right, self.down))


def transthoracic(heart: Heart, angle: float, rng: np.random.Generator) -> tuple[Plane, Sector]:
    """Apical window: the probe on the chest over the apex, looking up to the mitral ring.

    Args:
        heart: at end-diastole, whatever is shown, since the probe does not follow the beat.
        angle: of the plane about the long axis, degrees; 0 is four-chamber, 90 two-chamber.
        rng: draws how far the probe misses the true apex (foreshortening), tilts and turns.
    """
    turned = _direction(angle + rng.normal(0, 5))
    across = np.cross([0, 0, 1.0], turned)
    chest = rng.uniform(8, 20)
    origin = heart.lv.tip() + np.array([0, 0, heart.septal + chest])
    origin = origin + turned * rng.normal(-1, 5) + across * rng.normal(0, 3)
    aim = heart.mitral.centre + turned * rng.normal(-5, 5) + across * rng.normal(0, 2)
    reach = float(np.linalg.norm(heart.la.tip() - origin))
    depth = float(np.clip(reach * rng.uniform(0.85, 1.1), 120, 190))
    sector = Sector(depth, float(np.deg2rad(rng.uniform(33, 41))), float(rng.uniform(1, 4)))
    return _plane(origin, aim, turned), sector


def transoesophageal(heart: Heart, angle: float, rng: np.random.Generator) -> tuple[Plane, Sector]:
    """Mid-oesophageal window: the probe behind the left atrium, looking down to the apex.

    Args:
        heart: at end-diastole.
        angle: of the omniplane, degrees; 0 is ME4C, 90 is ME2C (Hahn et al., J Am Soc
            Echocardiogr 26(9), 2013).
        rng: draws how deep the probe stands, its flexion and its turn.
    """
    turned = _direction(angle + rng.normal(0, 4))
    across = np.cross([0, 0, 1.0], turned)
    four = np.cos(np.deg2rad(angle))
    origin = heart.la.tip() + np.array([0, 0, -rng.uniform(3, 10)])
    # Toward the atrial septum, so that the right heart is in the sector.
    origin = origin + turned * rng.normal(-12 * four, 5) + across * rng.normal(0, 3)
    aim = heart.lv.tip() + turned * rng.normal(-20 * four, 7) + across * rng.normal(0, 4)
    reach = float(np.linalg.norm(heart.lv.tip() - origin)) + heart.septal
    depth = float(np.clip(reach * rng.uniform(0.95, 1.15), 120, 165))
    sector = Sector(depth, float(np.deg2rad(rng.uniform(38, 48))), float(rng.uniform(0.5, 2)))
    return _plane(origin, aim, turned), sector


def _direction(angle: float) -> Array:
    """The picture's right: lateral at 0 degrees, anterior at 90."""
    radians = np.deg2rad(angle)
    return np.array([np.cos(radians), np.sin(radians), 0.0])


def _plane(origin: Array, aim: Array, turned: Array) -> Plane:
    down = (aim - origin) / np.linalg.norm(aim - origin)
    right = turned - (turned @ down) * down
    return Plane(origin, right / np.linalg.norm(right), down)
