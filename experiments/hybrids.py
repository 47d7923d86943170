"""What tells drawn frames from acquired ones: frames that are part drawn and part acquired, as far from other patients.

    python experiments/hybrids.py --work W --out results/hybrids [--extractor mobilenet_v2=FILE ...]

The phantom has an acquired frame for every mask that was drawn for. A hybrid has one part of the other of the two:
its brightness, its grey levels, its fine detail, what lies in the chambers, or what lies around them. KID is against
other patients' frames. What the drawn frames gain by the acquired ones' part, as a share of the whole way between the
two, says how much of the distance that part makes; what the acquired ones lose by the drawn part says so from the
other side, and the two need not add up.

Frames are taken as bright as they are drawn. Beside them stand the same frames as bright as training frames
(``synthesize --gain training``), the training patients' own acquired frames, which say how near so few patients come,
and frames of the unadapted base. Stores and adapter are those of ``sampling.py``; no test patient is read.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sampling import USUAL, Frames, Study, kid, prepare, synthesize

from tte_tee.anatomy import TEE
from tte_tee.data.store import EchoStore
from tte_tee.files import write_json
from tte_tee.models.extractors import load_extractor
from tte_tee.provenance import provenance
from tte_tee.synthesis.gain import brightness, set_gain

Array = np.ndarray
Swap = Callable[[Array, Array, Array, Array], Array]
"""Own frame, the other one, mask and sector, to a frame; all ``[H, W]``, grey levels as float."""
SEAM = 1.0
"""Standard deviation, in pixels, by which regions fade into each other."""
HALVES = 200
Json = dict[str, Any]


def fine(below: float) -> Swap:
    """Detail below a standard deviation in pixels is the other's."""

    def swap(own: Array, other: Array, mask: Array, sector: Array) -> Array:
        return own + (other - cv2.GaussianBlur(other, (0, 0), below)) - (own - cv2.GaussianBlur(own, (0, 0), below))

    return swap


def brightness_of(own: Array, other: Array, mask: Array, sector: Array) -> Array:
    """The mean grey level is the other's."""
    return set_gain(own.astype(np.uint8), sector, brightness(other, sector))


def levels(own: Array, other: Array, mask: Array, sector: Array) -> Array:
    """The darkest pixel gets the other's darkest level, and so on: the other's grey levels in its own places."""
    result = np.empty(own.size)
    result[np.argsort(own, axis=None, kind="stable")] = np.sort(other, axis=None)
    return result.reshape(own.shape)


def within(labels: Callable[[Array], Array]) -> Swap:
    """What lies in a region is the other's."""

    def swap(own: Array, other: Array, mask: Array, sector: Array) -> Array:
        share = cv2.GaussianBlur(labels(mask).astype(np.float64), (0, 0), SEAM)
        return share * other + (1 - share) * own

    return swap


PARTS: dict[str, Swap] = {
    "brightness": brightness_of,
    "grey levels": levels,
    "detail below 1 pixel": fine(1.0),
    "detail below 2 pixels": fine(2.0),
    "detail below 4 pixels": fine(4.0),
    "left heart": within(lambda mask: _of(mask, "LV", "LA")),
    "right heart": within(lambda mask: _of(mask, "RV", "RA")),
    "within 4 pixels of the chambers": within(lambda mask: (_near(mask) > 0) & (mask == 0)),
    "farther away": within(lambda mask: _near(mask) == 0),
}


def _of(mask: Array, *structures: str) -> Array:
    return np.isin(mask, [TEE.ids[name] for name in structures])


def _near(mask: Array) -> Array:
    return cv2.dilate((mask > 0).astype(np.uint8), np.ones((9, 9), np.uint8))


@dataclass(frozen=True)
class Pairs:
    """Frames of the same masks, each ``[N, H, W]``, and the masks' patients, ``[N]``."""

    drawn: Array
    acquired: Array
    masks: Array
    sectors: Array
    patients: Array

    @classmethod
    def of(cls, drawn: EchoStore, masks: EchoStore) -> "Pairs":
        """Of a synthetic store and the store that it was drawn for."""
        index = {key: place for place, key in enumerate(masks.table["key"])}
        own = np.stack([frame[0] for frame in drawn])
        frames = (masks.frame(index[key]) for key in drawn.table["parent"])
        acquired, labels, sectors = map(np.stack, zip(*frames, strict=True))
        return cls(own, acquired, labels, sectors, np.asarray(drawn.table["patient"]))


def draw(study: Study, gain: str) -> EchoStore:
    """The adapter's frames for the study's masks."""
    path = study.work / f"gain_{gain}.h5"
    synthesize(path, study.adapter, study.masks, USUAL, f"--gain={gain}")
    return EchoStore(path)


def hybrid(part: str, own: Array, other: Array, masks: Array, sectors: Array) -> Array:
    """Own frames with a part of the other ones, uint8 ``[N, H, W]``."""
    frames = (
        PARTS[part](one.astype(np.float64), two.astype(np.float64), mask, sector)
        for one, two, mask, sector in zip(own, other, masks, sectors, strict=True)
    )
    return np.stack([np.clip(np.rint(frame), 0, 255) for frame in frames]).astype(np.uint8)


def measure(extractor: Any, study: Study) -> list[Json]:
    """A row per part: KID of both kinds of hybrids, and which share of the way the part makes."""
    pairs = Pairs.of(draw(study, "drawn"), EchoStore(study.masks))
    real = Frames.of_store(EchoStore(study.real), extractor)

    def distances(images: Array) -> Array:
        """Of all frames, then of random halves of the patients."""
        frames = Frames(extractor(images), pairs.patients)
        halves = [kid(frames, real, np.random.default_rng(seed)) for seed in range(HALVES)]
        return np.array([kid(frames, real), *halves])

    far, near = distances(pairs.drawn), distances(pairs.acquired)
    rows: list[Json] = [{"part": "nothing", "drawn": far[0], "acquired": near[0]}]
    for part in PARTS:
        better, worse = (
            distances(hybrid(part, *both, pairs.masks, pairs.sectors))
            for both in ((pairs.drawn, pairs.acquired), (pairs.acquired, pairs.drawn))
        )
        rows.append(
            {
                "part": part,
                "drawn": better[0],
                "acquired": worse[0],
                "gained": share(far - better, far - near),
                "lost": share(worse - near, far - near),
            }
        )
    return rows


def references(extractor: Any, study: Study) -> Json:
    """KID, against the same frames, of what the parts are to be seen beside."""
    real = Frames.of_store(EchoStore(study.real), extractor)
    few = EchoStore(study.few)
    known = few.indices(split="train")
    stores = {
        "drawn, as bright as training frames": draw(study, "training"),
        "acquired, of other patients": EchoStore(study.masks),
        "drawn by the unadapted base": EchoStore(study.unadapted),
    }
    found = {name: kid(Frames.of_store(store, extractor), real) for name, store in stores.items()}
    own = extractor(np.stack([few.frame(int(index))[0] for index in known]))
    return {
        **found,
        "acquired, of the training patients": kid(Frames(own, np.asarray(few.table["patient"])[known]), real),
    }


def share(part: Array, whole: Array) -> Json:
    """Of the whole way, with a 95 % interval; the spread over halves is the standard error of the whole."""
    shares = part / whole
    error = 1.96 * float(np.std(shares[1:], ddof=1))
    return {"mean": float(shares[0]), "low": float(shares[0]) - error, "high": float(shares[0]) + error}


def table(rows: list[Json]) -> str:
    """The rows in Markdown."""
    lines = [
        "| part | drawn, with the acquired part | gained, % | acquired, with the drawn part | lost, % |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gained, lost = (shown(row.get(name)) for name in ("gained", "lost"))
        lines.append(f"| {row['part']} | {row['drawn']:.4f} | {gained} | {row['acquired']:.4f} | {lost} |")
    return "\n".join(lines)


def shown(values: Json | None) -> str:
    """A share in percent."""
    if values is None:
        return ""
    return f"{100 * values['mean']:.0f} [{100 * values['low']:.0f}, {100 * values['high']:.0f}]"


def main() -> None:
    """Draws, mixes, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and runs, as of sampling.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--extractor", nargs="+", default=[], help="beside the judge's features: KIND=FILE")
    options = parser.parse_args()
    study = prepare(options.work)
    options.out.mkdir(parents=True, exist_ok=True)
    found: Json = {}
    for word in (f"segmenter={study.judge}", *options.extractor):
        extractor = load_extractor(word)
        rows, beside = measure(extractor, study), references(extractor, study)
        found[f"{extractor.name} {extractor.version[:8]}"] = {"rows": rows, "references": beside}
        listed = "\n".join(f"- {name}: {value:.4f}" for name, value in beside.items())
        print(f"{extractor.name}\n\n{table(rows)}\n\n{listed}\n")
    write_json(options.out / "hybrids.json", {**provenance(), "extractors": found})


if __name__ == "__main__":
    main()
