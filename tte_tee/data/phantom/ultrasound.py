"""From a slice of tissue to a B-mode picture: speckle, specular walls, attenuation, clutter, log compression.

Speckle is the envelope of complex Gaussian scatterers under a separable point spread (Bamber and
Dickinson, Phys Med Biol 25(3), 1980; Wagner et al., IEEE Trans Sonics Ultrason 30(3), 1983), made
in polar space, beam by depth, where the spread is shift-invariant but for its lateral width, and
then scan-converted.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from tte_tee.data.phantom.body import Array
from tte_tee.data.phantom.habitus import Dressing, Habitus, dress
from tte_tee.data.phantom.heart import BLOOD_FROM, Heart, Slice, Tissue
from tte_tee.data.phantom.probe import Plane, Sector

FWHM_TO_SIGMA = 1 / 2.355
IMPEDANCE = np.array([0.35, 1.0, 0.5, 0.5, 0.75, 0, 0, 0, 0], np.float32)
"""Acoustic impedance by :class:`Tissue`, relative to blood; its steps reflect."""


@dataclass(frozen=True)
class Scanner:
    """What the machine and the window do to a picture. Levels in dB over the mean myocardium.

    Attributes:
        axial: length of the pulse (full width at half maximum), mm.
        lateral: width of the beam at its focus (the same), degrees.
        focus: depth of the focus, mm.
        blood, pericardium, fibrous, leaflet, outside: mean levels.
        lung: how much darker the surroundings are where the lung lies beside the heart.
        far: how much brighter the surroundings are at full depth than at the probe.
        trabecula: how far the ragged inner surface of a wall reaches into the blood, mm.
        patch: spread of each tissue's level over centimetres.
        specular: level of a wall met at a right angle.
        anisotropy: how much weaker a wall's echo is along the beam than across it.
        attenuation: two-way loss in tissue beyond what the time-gain compensation expects, dB per cm.
        clutter, clutter_reach: level of the near-field clutter at the probe, and its decay in mm.
        haze: level of reverberation haze from the chest wall or the oesophagus, over all depths.
        side_lobes: level of the wide side lobes under the main beam.
        shadow: spread of the beams' levels (ribs, lung, poor contact).
        dropout: depth of the patches where echoes are lost.
        edge: extra loss at the sector's edges.
        noise: level of the electronic noise at full depth.
        gain: added to everything before compression.
        dynamic_range: from black to white.
        gamma: exponent of the grey map.
    """

    axial: float
    lateral: float
    focus: float
    blood: float
    pericardium: float
    fibrous: float
    leaflet: float
    outside: float
    lung: float
    far: float
    trabecula: float
    patch: float
    specular: float
    anisotropy: float
    attenuation: float
    clutter: float
    clutter_reach: float
    haze: float
    side_lobes: float
    shadow: float
    dropout: float
    edge: float
    noise: float
    gain: float
    dynamic_range: float
    gamma: float

    @classmethod
    def draw(cls, domain: str, rng: np.random.Generator) -> "Scanner":
        """One acquisition's settings, each uniform within the range of its domain."""
        low, high = np.array([_RANGES[domain][field.name] for field in fields(cls)]).T
        return cls(*rng.uniform(low, high).tolist())

    @classmethod
    def mixed(cls, domain: str, patient: Array, rng: np.random.Generator) -> "Scanner":
        """Settings that a patient mostly keeps from plane to plane.

        Args:
            domain: whose ranges.
            patient: share of each range that this patient keeps to, ``[settings]`` in 0-1.
            rng: draws how far this plane departs from it.
        """
        low, high = np.array([_RANGES[domain][field.name] for field in fields(cls)]).T
        share = 0.85 * patient + 0.15 * rng.uniform(0, 1, len(low))
        return cls(*(low + (high - low) * share).tolist())


_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "tte": {
        "axial": (1.3, 1.9), "lateral": (1.8, 2.8), "focus": (60, 100), "blood": (-24, -15),
        "pericardium": (4, 11), "fibrous": (0, 5), "leaflet": (2, 7), "outside": (-12, -1), "lung": (0, 10),
        "far": (-4, 6), "trabecula": (1.5, 4), "patch": (3, 5), "specular": (6, 13), "anisotropy": (3, 9),
        "attenuation": (0.2, 0.9), "clutter": (-6, 4), "clutter_reach": (7, 18), "haze": (-22, -11),
        "side_lobes": (-26, -18), "shadow": (2, 5), "dropout": (4, 14), "edge": (0, 12), "noise": (-28, -17),
        "gain": (-7, 6), "dynamic_range": (42, 56), "gamma": (0.95, 1.3),
    },
    "tee": {
        "axial": (0.6, 1.2), "lateral": (1.0, 2.2), "focus": (40, 100), "blood": (-37, -12),
        "pericardium": (-4, 9), "fibrous": (0, 5), "leaflet": (-4, 8), "outside": (-18, 1), "lung": (0, 16),
        "far": (-4, 16), "trabecula": (0.8, 3.0), "patch": (2.5, 5.5), "specular": (0, 12), "anisotropy": (3, 14),
        "attenuation": (0.1, 1.2), "clutter": (2, 12), "clutter_reach": (2.5, 10), "haze": (-40, -18),
        "side_lobes": (-36, -22), "shadow": (2, 9), "dropout": (6, 24), "edge": (0, 20), "noise": (-37, -20),
        "gain": (-16, 10), "dynamic_range": (36, 60), "gamma": (0.8, 1.4),
    },
}  # fmt: skip


def render(
    heart: Heart,
    plane: Plane,
    sector: Sector,
    scanner: Scanner,
    size: int,
    window: int,
    speckle: int,
    habitus: Habitus | None = None,
) -> Array:
    """One picture, uint8 ``[size, size]``; what lies outside the sector is for the caller to clear.

    Args:
        heart: at the phase shown.
        plane: what the probe cuts.
        sector: what it shows of that.
        scanner: what the machine makes of it.
        size: pixels per side.
        window: seed of what stays still during an acquisition: shadows, dropout, haze.
        speckle: seed of what changes from frame to frame: scatterers and noise.
        habitus: the patient's traits, if the pictures of this domain have any.
    """
    samples, beams = max(192, 3 * size // 2), max(96, size)
    radius, angle = sector.beams(samples, beams)
    right, down = radius[:, None] * np.sin(angle), radius[:, None] * np.cos(angle)
    points = plane.points(right, down)
    tissue = heart.slice(points)
    still, moving = np.random.default_rng(window), np.random.default_rng(speckle)
    level = _levels(tissue, scanner, radius, angle, moving)
    loss = _losses(tissue, scanner, radius, angle, still)
    coherent = _specular(tissue, scanner)
    if habitus is not None:
        dressing = dress(habitus, heart, plane, points, tissue)
        level, loss = _dressed(level, loss, tissue, scanner, habitus, dressing)
    envelope = _speckle(_amplitude(level), coherent, scanner, radius, angle, moving)
    envelope = _amplitude(loss) * envelope
    envelope = _add_clutter(envelope, scanner, radius, angle, still, moving)
    grey = _compress(envelope, scanner)
    return _scan_convert(grey, sector, size)


def _amplitude(decibel: Array | float) -> Array:
    return np.power(np.float32(10), np.asarray(decibel, np.float32) / np.float32(20))


def _smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """A smooth random field of unit spread with about ``cells`` bumps along each side."""
    coarse = rng.standard_normal((cells[0] + 3, cells[1] + 3), dtype=np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _incidence(distance: Array, radius: Array, angle: Array) -> Array:
    """Squared cosine between the beam and the normal of a surface given by its distance field."""
    along = np.gradient(distance, radius, axis=0)
    across = np.gradient(distance, angle, axis=1) / np.maximum(radius[:, None], 5)
    return along**2 / (along**2 + across**2 + np.float32(1e-6))


def _levels(tissue: Slice, scanner: Scanner, radius: Array, angle: Array, rng: np.random.Generator) -> Array:
    """Mean echo level of every sample, dB: tissue, its patchiness and its orientation."""
    shape = tissue.tissue.shape
    table = np.empty(len(Tissue), np.float32)
    table[[Tissue.OUTSIDE, Tissue.PERICARDIUM, Tissue.FIBROUS]] = scanner.outside, scanner.pericardium, scanner.fibrous
    table[[Tissue.MYOCARDIUM, Tissue.RIGHT_WALL]] = 0.0, -1.0
    table[BLOOD_FROM:] = scanner.blood
    level = table[tissue.tissue]
    solid = tissue.tissue < BLOOD_FROM
    patches = scanner.patch * (0.8 * _smooth_field(rng, shape, (16, 12)) + 0.7 * _smooth_field(rng, shape, (40, 20)))
    wall = _incidence(tissue.wall, radius, angle) - 1
    outer = _incidence(tissue.surface, radius, angle) - 1
    bright = tissue.tissue == Tissue.PERICARDIUM
    muscle = (tissue.tissue == Tissue.MYOCARDIUM) | (tissue.tissue == Tissue.RIGHT_WALL)
    # Sheets seen from far outside fade into a common background, with bands parallel to the heart.
    bands = 3 * np.sin(tissue.surface / np.float32(5)) * np.exp(-np.maximum(tissue.surface, 0) / np.float32(25))
    lung = scanner.lung * np.clip(0.5 + _smooth_field(rng, shape, (2, 5)), 0, 2) * np.clip(tissue.surface / 25, 0, 1)
    far = scanner.far * (radius[:, None] / radius[-1] - np.float32(0.6))
    fibrous = tissue.tissue == Tissue.FIBROUS
    level = level + solid * patches + scanner.anisotropy * ((muscle | fibrous) * wall + 1.2 * bright * outer)
    level = level + (tissue.tissue == Tissue.OUTSIDE) * (bands - lung + far)
    ragged = np.exp(np.minimum(tissue.wall, 0) / np.float32(scanner.trabecula)) * np.clip(0.4 + 0.5 * patches, 0, 1)
    level = np.where(solid, level, level - (scanner.blood + 5) * ragged)
    level = np.where(tissue.muscle, np.float32(-4) + patches, level)
    return np.where(tissue.leaflet, np.float32(scanner.leaflet) + 1.5 * patches, level).astype(np.float32)


def _dressed(
    level: Array, loss: Array, tissue: Slice, scanner: Scanner, habitus: Habitus, dressing: Dressing
) -> tuple[Array, Array]:
    """Level and loss of every sample under a patient's traits, dB."""
    names = tissue.tissue
    free = ~tissue.leaflet & ~tissue.muscle
    level = level + dressing.blood * free
    level = level + (names == Tissue.RIGHT_WALL) * np.float32(habitus.right_wall)
    level = level + (names == Tissue.FIBROUS) * np.float32(habitus.septa)
    reach = np.maximum(dressing.trabecula, np.float32(0.1))
    ragged = np.exp(np.minimum(tissue.wall, 0) / reach) * (dressing.trabecula > 0) * free
    level = np.where(ragged > 0.05, np.maximum(level, scanner.blood * (1 - ragged) - 4 * ragged), level)
    level = np.where(dressing.fluid, np.float32(scanner.blood), level)
    level = np.where(dressing.fat, level + np.float32(9), level)
    level = np.where(dressing.band, np.float32(-2), level)
    level = np.where(dressing.lead, np.float32(11), level)
    behind = np.minimum(np.cumsum(dressing.lead, axis=0), 6) * (~dressing.lead)
    return level.astype(np.float32), (loss + dressing.gain - 2 * behind).astype(np.float32)


def _specular(tissue: Slice, scanner: Scanner) -> Array:
    """Coherent reflection of impedance steps met along the beam; walls along the beam have none."""
    impedance = IMPEDANCE[tissue.tissue]
    impedance = np.where(tissue.leaflet, np.float32(0.9), np.where(tissue.muscle, np.float32(0.4), impedance))
    impedance = cv2.GaussianBlur(impedance, (5, 5), 0.8)
    step = np.zeros_like(impedance)
    step[1:] = np.abs(np.diff(impedance, axis=0))
    return step * _amplitude(scanner.specular)


def _losses(tissue: Slice, scanner: Scanner, radius: Array, angle: Array, rng: np.random.Generator) -> Array:
    """Loss of every sample, dB: attenuation on the way, shadows, dropout, the sector's edges."""
    shape = tissue.tissue.shape
    step = float(radius[1] - radius[0]) / 10
    solid = (tissue.tissue < BLOOD_FROM) | tissue.leaflet
    # Compensation is set for a heart half of tissue, half of blood.
    attenuation = np.cumsum((solid - np.float32(0.45)) * np.float32(scanner.attenuation * step), axis=0)
    shadow = scanner.shadow * _smooth_field(rng, (1, shape[1]), (1, 9))
    ramp = np.clip(radius[:, None] / 60, 0.3, 1)
    patches = np.maximum(_smooth_field(rng, shape, (5, 5)) - 0.4, 0) * scanner.dropout
    beyond = (
        np.clip((np.abs(angle) / angle[-1] - 0.7) / 0.3, 0, 1) ** 2
        * scanner.edge
        * rng.uniform(0, 1, 2)[(angle > 0).astype(int)]
    )
    return (-attenuation + ramp * shadow - patches - beyond).astype(np.float32)


def _speckle(
    amplitude: Array, coherent: Array, scanner: Scanner, radius: Array, angle: Array, rng: np.random.Generator
) -> Array:
    """Envelope of scatterers and reflectors under the point spread, ``[samples, beams]``."""
    scatter = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32) * amplitude[..., None]
    axial, width = _spread_samples(scanner, radius, angle)
    # Out of focus the beam widens: blend a narrow and a wide version by depth.
    defocus = np.clip(np.abs(scanner.focus / radius - 1), 0, 1.5)[:, None, None] / 1.5
    narrow, wide = (_spread(scatter, axial, width * factor) for factor in (1.0, 2.5))
    field = (1 - defocus) * narrow + defocus * wide
    smooth = cv2.GaussianBlur(coherent, (0, 0), sigmaX=width, sigmaY=max(axial, 0.4))
    field[..., 0] += smooth
    envelope = np.sqrt(np.square(field).sum(-1) / 2)
    lobes = cv2.blur(envelope, (2 * int(9 * width) + 1, 3))
    return np.hypot(envelope, lobes * _amplitude(scanner.side_lobes + 6))


def _spread_samples(scanner: Scanner, radius: Array, angle: Array) -> tuple[float, float]:
    """Standard deviation of the point spread at the focus, in samples and in beams."""
    axial = scanner.axial * FWHM_TO_SIGMA / float(radius[1] - radius[0])
    return axial, float(np.deg2rad(scanner.lateral)) * FWHM_TO_SIGMA / float(angle[1] - angle[0])


def _spread(scatter: Array, axial: float, lateral: float) -> Array:
    """Gaussian point spread of unit energy, so that the mean level does not depend on its size."""
    kernels = []
    for sigma in (axial, lateral):
        at = np.arange(-int(3 * sigma) - 1, int(3 * sigma) + 2)
        kernel = np.exp(-0.5 * (at / max(sigma, 0.3)) ** 2).astype(np.float32)
        kernels.append(kernel / np.sqrt(np.square(kernel).sum()))
    return cv2.sepFilter2D(scatter, -1, kernelX=kernels[1], kernelY=kernels[0], borderType=cv2.BORDER_REFLECT)


def _add_clutter(
    envelope: Array,
    scanner: Scanner,
    radius: Array,
    angle: Array,
    still: np.random.Generator,
    moving: np.random.Generator,
) -> Array:
    """Adds near-field clutter, reverberation haze and noise in power; all have a speckle of their own."""
    shape = envelope.shape
    axial, width = _spread_samples(scanner, radius, angle)
    grain = _spread(moving.standard_normal((*shape, 2), dtype=np.float32), axial, width)
    depth = (radius - radius[0])[:, None]
    near = scanner.clutter - 8.7 * depth / scanner.clutter_reach + 2 * _smooth_field(still, shape, (12, 2))
    uneven = 4 * _smooth_field(still, shape, (3, 4))
    haze = scanner.haze + uneven - 8 * depth / radius[-1]
    noise = scanner.noise * (1.4 - 0.4 * depth / radius[-1])
    power = _amplitude(near) ** 2 + _amplitude(haze) ** 2 + _amplitude(noise) ** 2
    return np.sqrt(envelope**2 + power * np.square(grain).sum(-1) / 2)


def _compress(envelope: Array, scanner: Scanner) -> Array:
    """Log compression and grey map, float32 in 0-255; the mean myocardium lies at about 60 % of white."""
    decibel = 20 * np.log10(envelope + np.float32(1e-6)) + np.float32(scanner.gain)
    grey = np.clip((decibel + np.float32(scanner.dynamic_range * 0.65)) / np.float32(scanner.dynamic_range), 0, 1)
    return np.power(grey, np.float32(scanner.gamma)) * np.float32(255)


def _scan_convert(grey: Array, sector: Sector, size: int) -> Array:
    """Polar to picture on a finer grid, then averaged down to ``size``."""
    factor = max(2, -(-192 // size))
    right, down = sector.pixels(size * factor)
    radius, angle = sector.to_polar(right, down)
    rows = (radius - np.float32(sector.start)) * np.float32((grey.shape[0] - 1) / (sector.depth - sector.start))
    columns = (angle + np.float32(sector.half_angle)) * np.float32((grey.shape[1] - 1) / (2 * sector.half_angle))
    fine = cv2.remap(grey, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.clip(np.rint(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)), 0, 255).astype(np.uint8)
