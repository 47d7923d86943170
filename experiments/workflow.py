"""Plans, runs and looks after a grid.

    python experiments/workflow.py plan --grid laptop
    python experiments/workflow.py run --grid laptop [--executor slurm] [--jobs 2] [-- --dry-run]
    python experiments/workflow.py status --grid laptop

A cell whose file in the results folder has the key of what the grid asks for is done and is not made again. What
follows ``--`` goes to Snakemake.
"""

import argparse
import fcntl
import json
import os
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

from gpus import devices
from grid import HERE, Cell, Grid, Stage, load_grid

MISSING, FAILED, DONE = "missing", "failed", "done"


def due(grid: Grid, work: Path, results: Path) -> tuple[list[Cell], list[Stage]]:
    """Cells that are not done, and the stages that have to be run for them."""
    cells, needed = grid.pending(results), dict[Stage, None]()

    def need(stage: Stage) -> None:
        if stage not in needed and not stage.done(work).exists():
            for before in stage.inputs:
                need(before)
            needed[stage] = None

    for cell in cells:
        for part in cell.parts.values():
            need(part)
    return cells, list(needed)


def seconds(grid: Grid, work: Path) -> dict[str, float]:
    """Seconds per unit of work of each rule: measured in this work folder, else the grid's own."""
    measured: dict[str, list[float]] = defaultdict(list)
    for stage in grid.stages.values():
        if (taken := benchmark(stage, work)) is not None:
            measured[stage.rule].append(taken / stage.units)
    return {**grid.values["seconds"], **{rule: statistics.median(values) for rule, values in measured.items()}}


def benchmark(stage: Stage, work: Path, column: str = "s") -> float | None:
    """What a finished stage took, as Snakemake measured it: seconds, or ``max_rss`` in MiB; None where it did not."""
    table = stage.folder(work) / "benchmark.tsv"
    if not (stage.done(work).exists() and table.exists()):
        return None
    head, values = (line.split("\t") for line in table.read_text().splitlines()[:2])
    measured = dict(zip(head, values, strict=True))[column]
    return float(measured) if measured not in ("NA", "-") else None


def plan(grid: Grid, work: Path, results: Path, jobs: int) -> str:
    """What is to be done and what it will cost."""
    cells, stages = due(grid, work, results)
    unit, rows = seconds(grid, work), []
    by_rule: dict[str, list[float]] = defaultdict(list)
    for stage in stages:
        by_rule[stage.rule].append(stage.units * unit[stage.rule])
    by_rule["cell"] = [unit["cell"]] * len(cells)
    for rule, times in by_rule.items():
        if times:
            rows.append(f"  {rule:<15} {len(times):>5} jobs {sum(times) / 3600:>8.2f} h")
    total = sum(map(sum, by_rule.values())) / 3600
    head = f"grid {grid.name}: {len(grid.cells)} cells, {len(grid.cells) - len(cells)} done, {len(cells)} to do"
    end = f"  {'in all':<15} {sum(map(len, by_rule.values())):>5} jobs {total:>8.2f} h"
    lines = [head, *rows, f"{end}, about {total / jobs:.1f} h with {jobs} at a time", slow(grid)]
    return "\n".join(line for line in lines if line)


def slow(grid: Grid) -> str:
    """What is to be said of a grid in bfloat16 on a machine that emulates it."""
    if "bf16" not in json.dumps([grid.values["overrides"], grid.values["synthesis"]]):
        return ""
    import torch  # seconds, which other grids need not wait

    from tte_tee.models.devices import slow_bf16

    return slow_bf16(torch.device(grid.device), "32 under synthesis and 32-true under overrides of its grid.yaml")


def status(grid: Grid, work: Path, results: Path) -> str:
    """Each cell: done, failed or missing; of failed ones, which stage and what it said last."""
    lines, broken, count = [], dict[Path, None](), Counter[str]()
    for cell in grid.cells:
        folders = [*(stage.folder(work) for stage in cell.stages()), work / "cell" / cell.name]
        failed = [folder for folder in folders if (folder / "failed").exists()]
        state = DONE if cell.finished(results) else FAILED if failed else MISSING
        broken |= dict.fromkeys(failed)
        count[state] += 1
        lines.append(f"{state:<8} {cell.arm} seed {cell.seed}")
    for folder in broken:
        log = folder / "log.txt"
        said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        lines.append(f"failed stage {folder.relative_to(work)}: {said[-1] if said else 'said nothing'} ({log})")
    return "\n".join([*lines, ", ".join(f"{count[state]} {state}" for state in (DONE, FAILED, MISSING))])


def run(grid: Grid, options: argparse.Namespace) -> None:
    """Becomes Snakemake, if there is anything to do.

    Raises:
        SystemExit: a folder is not given, or another run of this grid is going on.
    """
    if absent := [name for name in grid.given if not os.environ.get(name)]:
        raise SystemExit(
            f"grid {grid.name}: {absent[0]} is not given; set it to the folder that data/README.md describes"
        )
    if not grid.pending(options.results):
        print(f"grid {grid.name}: all {len(grid.cells)} cells are done")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    # Held by Snakemake and its jobs: a grid is run once at a time, and no lock outlives a run that was killed.
    lock = os.open(options.work / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"grid {grid.name}: a run is going on in {options.work}; wait for its jobs to end") from None
    os.set_inheritable(lock, True)
    words = ["-m", "snakemake", "--snakefile", str(HERE / "Snakefile"), "--nolock"]
    words += ["--profile", str(options.profile or HERE / "profiles" / options.executor)]
    # Keys say what is out of date; a cell that is asked for is one whose file has another key.
    words += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "input", "--forcerun", "cell"]
    if options.executor == "local":
        words += ["--cores", str(options.jobs), "--resources", f"gpu={len(devices())}"]
    else:
        words += ["--jobs", str(options.jobs)]
    given = {"grid": grid.name, "file": options.file, "work": options.work, "results": options.results}
    words += ["--config", *(f"{key}={value}" for key, value in given.items()), f"executor={options.executor}"]
    os.environ |= {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    os.environ.pop("SLURM_JOB_ID", None)  # else the plugin takes the jobs for steps of the one that this runs in
    os.execv(sys.executable, [sys.executable, *words, *options.snakemake])


def main() -> None:
    """Parses and does what is asked."""
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("plan", "run", "status"))
    parser.add_argument("--grid", required=True, help="smoke, laptop, full or another of the file")
    parser.add_argument("--file", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--work", type=Path, help="folder of stores and runs (default: runs/grid/GRID)")
    parser.add_argument("--results", type=Path, help="folder of the cells (default: experiments/results/GRID)")
    parser.add_argument("--executor", choices=("local", "slurm"), default="local")
    parser.add_argument("--profile", type=Path, help="of Snakemake (default: that of the executor)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time (default: as many as CPU cores)")
    options = parser.parse_args(words[:end])
    options.snakemake = words[end + 1 :]
    options.work = options.work or Path("runs/grid") / options.grid
    options.results = options.results or Path("experiments/results") / options.grid
    grid = load_grid(options.grid, options.file)
    if options.what == "run":
        run(grid, options)
    elif options.what == "plan":
        print(plan(grid, options.work, options.results, options.jobs))
    else:
        print(status(grid, options.work, options.results))


if __name__ == "__main__":
    main()
