"""Measures what a user waits for, as ratios of interleaved runs, and writes results.json and README.md.

    python experiments/bench/run.py [--device cpu|cuda] [--only PART ...] [--quick] [--out DIR]

Each part is written as soon as it is measured, in the place of what the same kind of device gave before; other
parts and other devices stay. --quick tries every part on tiny networks, and writes where --out says or nowhere.
"""

import argparse
import importlib
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from ratios import Options, table
from rich.console import Console
from rich.markdown import Markdown

from tte_tee.files import read_json, write_json, write_whole
from tte_tee.provenance import provenance

HERE = Path(__file__).parent
PARTS = ("sampling", "adapting", "peer", "loading", "segmenting", "starting", "scaling", "phantom", "paper")
HEAD = """\
# Bench

What a user waits for. `make bench` measures it and writes this page and [results.json](results.json). A number in
bold is a **ratio of medians of interleaved runs**: the rivals take turns in one process run, after a round that is not
counted, so a machine that is busy for a while is busy for both. Below 1, *what* takes less than *against*. Beside it
stand the quartiles of the rounds' own ratios and both medians, which are this machine's and nobody else's.
"""


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on and a ratio does not show."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else platform.machine()
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}


def measured(part: str, options: Options) -> dict[str, Any]:
    """One part's rows, with where and when they come from."""
    module, start = importlib.import_module(f"parts.{part}"), time.perf_counter()
    of_machine = machine(options.device)
    with warnings.catch_warnings(action="ignore"):
        rows = [row.to_json() for row in module.measure(options)]
    took = round(time.perf_counter() - start)
    return {**provenance(), **of_machine, "quick": options.quick, "took_s": took, "rows": rows}


def about(part: str) -> str:
    """The paragraph on a part: its module's own words."""
    return " ".join((importlib.import_module(f"parts.{part}").__doc__ or "").split())


def page(record: dict[str, Any]) -> str:
    """The record as Markdown: of every part a paragraph, and a table per device."""
    sections = [HEAD]
    for part in (part for part in PARTS if part in record):
        sections.append(f"\n## {part.capitalize()}\n\n{about(part)}\n")
        for kind, run in record[part].items():
            where = f"{run['device']}, {run['cores']} cores, {run['threads']} threads, load {run['load']:.1f} before"
            tiny = "; **tiny networks: a trial, no result**" if run["quick"] else ""
            sections.append(f"\n{kind} ({where}; {run['time'][:10]}, commit {run['commit'][:7]}){tiny}:\n\n")
            sections.append(table(run["rows"]))
    return "".join(sections)


def main(words: list[str] | None = None) -> None:
    """Measures part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny networks, two rounds")
    parser.add_argument("--out", type=Path, help="folder of results.json and README.md (default: beside this script)")
    given = parser.parse_args(words)
    options, kind = Options(given.device, given.quick), torch.device(given.device).type
    with tempfile.TemporaryDirectory() as nowhere:
        out = given.out or (Path(nowhere) if given.quick else HERE)
        results = out / "results.json"
        for part in given.only:
            run = measured(part, options)
            record = read_json(results, "bench") if results.exists() else {}
            record.setdefault(part, {})[kind] = run
            write_json(results, record)
            write_whole(out / "README.md", page(record).encode())
            Console().print(f"{part}: {run['took_s']} s", Markdown(table(run["rows"])))


if __name__ == "__main__":
    main()
