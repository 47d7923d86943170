"""Gathers what ``evidence.sh`` left: one JSON with every summary, and tables in Markdown.

python experiments/evidence.py WORK_FOLDER OUT_FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

GUIDANCE = ("1", "2")
SHOWN = ("KID", "precision", "recall", "density", "coverage", "SSIM")
Json = dict[str, Any]


def read(path: Path) -> Json:
    """A record."""
    values: Json = json.loads(path.read_text())
    return values


def of_masks(values: Json) -> Json:
    """Scores by structure, drawn and real, without cases and patients."""
    parts = {name: values[name] for name in ("synthetic", "real")}
    kept = {name: {key: part[key] for key in ("name", "hash", "summary")} for name, part in parts.items()}
    return {"commit": values["commit"], "split": values["split"], "segmenter": values["segmenter"]["hash"], **kept}


def of_fidelity(values: Json) -> Json:
    """Everything but the points of the picture."""
    return {key: value for key, value in values.items() if key != "planes"}


def of_copies(values: Json) -> Json:
    """Everything but the names of patients and folders."""
    return {key: value for key, value in values.items() if key not in ("seen", "command")}


def percent(share: float | None) -> str:
    """A share as a cell."""
    return "-" if share is None else f"{100 * share:.1f}"


def side(value: Json) -> str:
    """One side of a row of fidelity as a cell."""
    return "not estimable" if "not_estimable" in value else f"{value['mean']:.3g} ± {value['sd']:.1g}"


def tables(record: dict[str, dict[str, Json]]) -> list[str]:
    """The tables of the README of the results."""
    first = record["masks"][GUIDANCE[0]]
    names = list(first["real"]["summary"]["structures"])
    lines = [f"| frames | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for label, part in [(f"guidance {g}", record["masks"][g]["synthetic"]) for g in GUIDANCE] + [
        ("real", first["real"])
    ]:
        scores = part["summary"]["structures"]
        lines.append(f"| {label} | {' | '.join(percent(scores[name]['dice']) for name in names)} |")
    head = " | ".join(f"guidance {g}" for g in GUIDANCE)
    lines += ["", f"| | {head} | floor | ceiling |", "|---" * (len(GUIDANCE) + 3) + "|"]
    for number, row in enumerate(record["fidelity"][GUIDANCE[0]]["rows"]):
        if row["measure"].startswith(SHOWN) or row["measure"] in ("grey level", "contrast"):
            drawn = [side(record["fidelity"][g]["rows"][number]["synthetic"]) for g in GUIDANCE]
            what = f"{row['measure']} {row.get('structure', '')}".strip()
            cells = [f"{row['group']}: {what}", *drawn, side(row["floor"]), side(row["ceiling"])]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| copies | frames | share | interval |", "|---|---|---|---|"]
    for g in GUIDANCE:
        for masks, rates in record["copies"][g]["rates"].items():
            found = rates["any"]
            share = "not estimable" if "not_estimable" in found else percent(found["share"])
            interval = "-" if "not_estimable" in found else f"{percent(found['low'])} to {percent(found['high'])}"
            lines.append(f"| guidance {g}, {masks} | {rates['frames']} | {share} | {interval} |")
    return lines


def main() -> None:
    """Reads, writes and prints."""
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    record = {
        "masks": {g: of_masks(read(work / f"masks_{g}/mask_fidelity.json")) for g in GUIDANCE},
        "fidelity": {g: of_fidelity(read(work / f"fidelity_{g}/fidelity.json")) for g in GUIDANCE},
        "copies": {g: of_copies(read(work / f"copies_{g}/copies.json")) for g in GUIDANCE},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "evidence.json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(tables(record)))


if __name__ == "__main__":
    main()
