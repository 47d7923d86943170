"""How hard the phantom is and how near it comes to real frames; run before freezing a version of it.

    python experiments/phantom_study.py difficulty --work FOLDER --out difficulty.json
    python experiments/phantom_study.py camus --store CAMUS.h5 --work FOLDER --out camus.json
    python experiments/phantom_study.py texture --camus CAMUS224/train --cine TEE_CINE --out texture.json
    python experiments/phantom_study.py populations --out populations.json

``difficulty`` trains segmenters on 20 TEE phantom patients (160 frames) and on 200, for as many
steps, and asks both about 80 others. ``camus`` trains on TTE phantom alone and on CAMUS, and
asks both about real validation patients. ``texture`` measures grey levels, envelope and
correlation lengths of phantom and real frames (see ``speckle.py``). ``populations`` compares
areas of patients with those of the masks without frames. All use tuning seeds, no cohort's.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from segmenter import patient_dice, train_segmenter
from speckle import ASSUMED_RANGE, Texture

from tte_tee.anatomy import TEE
from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.phantom.frame import (
    DOMAINS,
    PATIENTS,
    Patient,
    acquire,
    draw_heart,
    draw_patient,
    survey,
    trace,
)
from tte_tee.data.phantom.heart import Tissue
from tte_tee.data.phantom.masks import SOURCES
from tte_tee.data.phantom.planes import PHASES, acquisition_seed
from tte_tee.data.phantom.version import stamp
from tte_tee.data.pictures import colour_mask, contact_sheet, grey, write_png
from tte_tee.data.store import EchoStore
from tte_tee.provenance import provenance

FEW, MANY, ASKED, TRANSTHORACIC, TEXTURE = (21, 26), 22, 23, 24, 25
"""Tuning seeds: two sets of 20 patients, 200 patients, those asked about, TTE for CAMUS, texture."""
PLANES = (15, 75)
SIZE = 224


def _phantom(folder: Path, spec: PhantomSpec) -> EchoStore:
    path = folder / f"{spec.domain}-s{spec.seed}-{spec.patients}.h5"
    if not path.exists() or EchoStore(path).provenance.get("phantom") != stamp():
        write_phantom(spec, path)
    return EchoStore(path)


def _tee(folder: Path, patients: int, seed: int) -> EchoStore:
    return _phantom(folder, PhantomSpec("tee", patients, seed=seed, angles=PLANES, val=0, test=0))


def difficulty(options: argparse.Namespace) -> dict:
    """Dice on 80 TEE phantom patients after training on 20 (one or more sets of them) and on 200."""
    asked = _tee(options.work, 80, ASKED)
    results = {}
    many = () if options.few_only else ((200, MANY),)
    for patients, seed in ((20, options.few[0]), *many, *((20, seed) for seed in options.few[1:])):
        store = _tee(options.work, patients, seed)
        net = train_segmenter(store, options.steps, split=None, augment=True, half=options.half)
        dice = patient_dice(net, asked, asked.indices(), four_chamber=("RV", "RA"))
        results[f"{patients} patients, seed {seed}"] = {"store": store.content_hash, "dice_percent": dice}
        print(patients, seed, json.dumps(dice), flush=True)
    return {"asked": asked.content_hash, "planes": [0, *PLANES, 90], "results": results}


def camus(options: argparse.Namespace) -> dict:
    """Dice on CAMUS validation patients after training on TTE phantom alone, and on CAMUS."""
    real = EchoStore(options.store)
    phantom = _phantom(options.work, PhantomSpec("tte", options.patients, seed=TRANSTHORACIC, val=0.1, test=0))
    results = {}
    for name, store in (("phantom", phantom), ("camus", real)):
        net = train_segmenter(store, options.steps, augment=True, half=options.half)
        results[f"trained on {name}"] = {"camus val": patient_dice(net, real, real.indices(split="val"))}
        results[f"trained on {name}"]["phantom val"] = patient_dice(net, phantom, phantom.indices(split="val"))
        print(name, json.dumps(results[f"trained on {name}"]), flush=True)
    return {"camus": real.content_hash, "phantom": phantom.content_hash, "results": results}


def texture(options: argparse.Namespace) -> dict:
    """Texture of real and phantom frames, by domain and structure."""
    rows = {
        "camus": _real_tte(options.camus, options.patients),
        "phantom tte": _phantom_texture("tte", options.patients // 2),
        "tee cine": _real_tee(options.cine),
        "phantom tee": _phantom_texture("tee", options.patients // 2),
    }
    if options.curves:
        curves(rows, options.curves)
    if options.gallery:
        gallery(options.gallery)
    summary = {domain: {s: t.summary() for s, t in textures.items()} for domain, textures in rows.items()}
    return {"assumed_range_db": ASSUMED_RANGE, "size": SIZE, "texture": summary}


def populations(options: argparse.Namespace) -> dict:
    """Area in the sector at ME4C ED, mm2: patients, and the masks of oracle and atlas."""
    areas = {"patients": [_areas("tee", PATIENTS["tee"], i) for i in range(options.hearts)]}
    for source, population in SOURCES.items():
        areas[source] = [_areas(source, population, i) for i in range(options.hearts)]
    rows = {name: np.array(values) for name, values in areas.items()}
    return {
        "area_mm2": {
            name: {
                structure: {"mean": round(float(column.mean())), "sd": round(float(column.std(ddof=1)))}
                for structure, column in zip(TEE.structures, values.T, strict=True)
            }
            for name, values in rows.items()
        }
    }


def _areas(domain: str, population: str, index: int) -> list[float]:
    shape = draw_heart(domain, TEXTURE, index, population)
    plane, sector, _ = survey(Patient(shape), "tee", 0, acquisition_seed(domain, TEXTURE, index, 0))
    mask, _ = trace(shape.at("ED"), plane, sector, TEE, 128)
    pixel = float(np.prod(sector.spacing(128)))
    return [float((mask == label).sum()) * pixel for label in TEE.ids.values()]


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"{path}: not a picture")
    return picture


def _real_tte(folder: Path, patients: int) -> dict[str, Texture]:
    """CAMUS training patients drawn with seed 0, both views and phases."""
    names = sorted({path.name.split("_")[0] for path in folder.glob("patient*_gt.png")})
    chosen = np.random.default_rng(0).choice(names, min(patients, len(names)), replace=False)
    textures = {name: Texture() for name in ("LV", "LV_epi", "LA")}
    for path in sorted(p for name in chosen for p in folder.glob(f"{name}_*_gt.png")):
        mask, image = _read(path), _read(path.with_name(path.name.replace("_gt", "")))
        for label, name in enumerate(textures, start=1):
            textures[name].add(image, mask == label)
    return textures


def _real_tee(folder: Path) -> dict[str, Texture]:
    """Every frame of the one clip, brought to the common height."""
    textures = {name: Texture() for name in ("LV", "tissue", "LA", "RHS")}
    for path in sorted((folder / "images").glob("*.png")):
        image = cv2.resize(_read(path), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(_read(folder / "labels" / path.name), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
        for label, name in enumerate(textures, start=1):
            textures[name].add(image, mask == label)
    return textures


def _phantom_texture(domain: str, patients: int) -> dict[str, Texture]:
    """ED and ES of both views (TTE) or of ME4C (TEE, as the real clip)."""
    textures = {
        name: Texture() for name in (("LV", "LV_epi", "LA") if domain == "tte" else ("LV", "tissue", "LA", "RHS"))
    }
    for index in range(patients):
        patient = draw_patient(domain, TEXTURE, index)
        for angle in (0, 90) if domain == "tte" else (0,):
            seed = acquisition_seed(domain, TEXTURE, index, angle)
            plane, sector, _ = survey(patient, domain, angle, seed)
            for phase in PHASES:
                frame = acquire(patient, domain, angle, phase, seed, SIZE)
                tissue = patient.shape.at(phase).slice(plane.points(*sector.pixels(SIZE))).tissue
                for name, texture_ in textures.items():
                    texture_.add(frame.image, np.isin(tissue, _TISSUES[name]) & (frame.sector > 0), frame.spacing)
    return textures


_TISSUES = {
    "LV": [Tissue.LV],
    "LV_epi": [Tissue.MYOCARDIUM],
    "LA": [Tissue.LA],
    "tissue": [Tissue.MYOCARDIUM, Tissue.RIGHT_WALL, Tissue.FIBROUS],
    "RHS": [Tissue.RV, Tissue.RA],
}


def curves(rows: dict[str, dict[str, Texture]], path: Path) -> None:
    """Grey-level histograms, envelope residuals and autocorrelations: real solid, phantom dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7), constrained_layout=True)
    for line, (real, made) in zip(axes, (("camus", "phantom tte"), ("tee cine", "phantom tee")), strict=True):
        for colour, structure in enumerate(rows[real]):
            for domain, style in ((real, "-"), (made, "--")):
                one, drawn = rows[domain][structure], {"color": f"C{colour}", "linestyle": style}
                if not one.means:
                    continue
                levels = one.histogram.reshape(64, 4).sum(1) / one.histogram.sum()
                line[0].plot(np.arange(64) * 4, levels, label=f"{structure}, {domain}", **drawn)
                line[1].plot(np.arange(-128, 128), one.residual / one.residual.sum(), **drawn)
                for axis, alpha in ((0, 1.0), (1, 0.4)):
                    line[2].plot(one.correlation()[axis, :16], alpha=alpha, **drawn)
        titles = ("grey level", "grey less local mean", "autocorrelation over pixels (faint: lateral)")
        for axis_, title in zip(line, titles, strict=True):
            axis_.set_title(f"{real} / {made}: {title}", fontsize=9)
        line[0].set_ylim(0, 0.25)
        line[1].set_xlim(-60, 60)
        line[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


def gallery(path: Path) -> None:
    """Three patients of each domain with their masks: ED four-chamber, ES four-chamber, ED two-chamber."""
    rows = []
    for domain in DOMAINS:
        for index in range(3):
            patient, row = draw_patient(domain, TEXTURE, index), []
            for angle, phase in ((0, "ED"), (0, "ES"), (90, "ED")):
                seed = acquisition_seed(domain, TEXTURE, index, angle)
                frame = acquire(patient, domain, angle, phase, seed, 96)
                row += [grey(frame.image), colour_mask(frame.mask, frame.sector, DOMAINS[domain])]
            rows.append(row)
    write_png(path, contact_sheet(rows, ["4C ED", "", "4C ES", "", "2C ED", ""], scale=1))


def main() -> None:
    """Runs one study and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = parser.add_subparsers(required=True)
    for study in (difficulty, camus, texture, populations):
        sub = studies.add_parser(study.__name__, help=study.__doc__)
        sub.set_defaults(study=study)
        sub.add_argument("--out", required=True, type=Path)
        if study is texture:
            sub.add_argument("--camus", required=True, type=Path)
            sub.add_argument("--cine", required=True, type=Path)
            sub.add_argument("--patients", type=int, default=80, help="CAMUS patients; half as many phantom ones")
            sub.add_argument("--curves", type=Path, help="where to draw the curves (PNG)")
            sub.add_argument("--gallery", type=Path, help="where to draw phantom frames (PNG)")
        elif study is populations:
            sub.add_argument("--hearts", type=int, default=300)
        else:
            sub.add_argument("--work", required=True, type=Path, help="where the phantom stores go")
            sub.add_argument("--steps", type=int, default=2000)
            sub.add_argument("--half", action="store_true", help="train in bfloat16")
        if study is difficulty:
            sub.add_argument("--few", type=int, nargs="+", default=FEW, help="seeds of the sets of 20 patients")
            sub.add_argument("--few-only", action="store_true", help="leave the 200 patients out")
        if study is camus:
            sub.add_argument("--store", required=True, type=Path, help="CAMUS, packed")
            sub.add_argument("--patients", type=int, default=300)
    options = parser.parse_args()
    started = time.process_time()
    record = {**provenance(), "phantom": stamp(), **options.study(options)}
    asked = {k: v.name if isinstance(v, Path) else v for k, v in vars(options).items() if k not in ("study", "out")}
    record |= {"options": asked, "cpu_seconds": round(time.process_time() - started)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
