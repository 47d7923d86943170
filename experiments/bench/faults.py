"""Kills and hostile files, counted: what survives, what is lost, what ends in a traceback.

    python experiments/bench/faults.py [--pack 140] [--fit 40] [--synthesize 20] [--fuzz 500] [--out FILE.json]

Kills: the real command, in a process of its own, gets SIGKILL at a random time between the first sign of its
work and its end, then the same command is given again (``fit`` with its last checkpoint). *Survived*: the end is to
the bit that of an undisturbed run, and nothing else is left. *Lost*: it is not. A command that is done before its
kill is no trial. Fuzz: inputs that work, spoilt at random, in bytes or in values. *Survived*: the command does its
work (counted) or refuses in one line, and leaves nothing half. Times and spoilt places follow from ``--seed`` and
the number of the trial. Beside FILE.json goes FILE.md; both are written after each trial, so a stopped run leaves
what it has.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fuzzing import fuzz
from recipes import write_recipe
from safetensors.numpy import load_file

from tte_tee.data.phantom import PhantomSpec, write_phantom
from tte_tee.data.store import EchoStore
from tte_tee.errors import UserError
from tte_tee.files import write_json, write_whole
from tte_tee.models.denoiser import Denoiser, DenoiserConfig
from tte_tee.models.diffusion import noise_schedule
from tte_tee.models.folders import save_base
from tte_tee.provenance import provenance

PATIENTS = 300  # of two frames each, for `data pack`
SIZE = 16
OUTCOMES = ("survived", "lost", "traceback")
NETWORK = DenoiserConfig(
    image_size=SIZE, channels=(8, 16), heads=(1, 2), attention=(False, True), patch=4, token_channels=8, norm_groups=4
)


@dataclass
class Job:
    """A command that can be killed and given again: its words, what it makes, what that holds, what must not stay."""

    words: Callable[[Path], list[str]]
    made: Callable[[Path], Path]
    content: Callable[[Path], str]
    strays: Callable[[Path], list[str]]


def prepare(folder: Path) -> None:
    """Pictures, stores, a base and an adapter, all of them tiny."""
    (folder / "pictures").mkdir(parents=True)
    for patient in range(PATIENTS):
        for frame in range(2):
            image = np.random.default_rng((patient, frame)).integers(1, 255, (32, 32), dtype=np.uint8)
            for suffix, array in (("", image), ("_gt", image // 64)):
                path = folder / f"pictures/p{patient}_{frame}{suffix}.png"
                path.write_bytes(cv2.imencode(".png", array)[1].tobytes())
    sector = {"apex": [0, 16], "edges": [-80, 80], "radii": [0, 60]}
    write_recipe(folder / "recipe.yaml", size=64, sector=sector)
    write_phantom(PhantomSpec("tee", 24, size=SIZE), folder / "tee.h5")
    save_base(folder / "base", Denoiser(NETWORK), noise_schedule(), {"made": "for a bench"}, half=False)
    run(jobs(folder)["fit"].words(folder / "first"), folder, check=True)
    shutil.copytree(jobs(folder)["fit"].made(folder / "first"), folder / "adapter")


def fit_words(folder: Path, out: Path) -> list[str]:
    """A fit of a few seconds that saves often."""
    words = ["--model=TEEAdapter", f"--model.base={folder / 'base'}", "--model.scope=[cross_attention, convolution]"]
    words += ["--model.warmup_steps=0", "--model.sampling.steps=2", "--data=EchoDataModule"]
    words += [f"--data.store={folder / 'tee.h5'}", "--data.batch_size=4", "--trainer.max_steps=60"]
    words += ["--trainer.val_check_interval=10", "--checkpoint.every_n_train_steps=5", "--trainer.accelerator=cpu"]
    words += ["--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={out}", "--trainer.logger.name=run"]
    words += ["--trainer.logger.version=0", "--resume=auto"]
    return ["fit", *words]


def adapter_of(out: Path) -> Path:
    """Where the adapter of such a fit stands."""
    return out / "run/version_0/adapter"


def adapter_content(folder: Path) -> str:
    """Weights and rule; the rest says when they were made."""
    weights = load_file(folder / "adapter_model.safetensors")
    digest = hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights)))
    return digest.hexdigest() + (folder / "maskr2.json").read_text()


def jobs(folder: Path) -> dict[str, Job]:
    """The commands that are killed, by name."""
    store = ["--root", str(folder / "pictures"), "--workers", "2", "--out"]
    pack = ["data", "pack", str(folder / "recipe.yaml"), *store]
    draw = ["synthesize", "--adapter", str(folder / "adapter"), "--masks", str(folder / "tee.h5"), "--split", "train"]
    draw += ["--samples-per-mask", "2", "--batch-size", "4", "--steps", "10", "--out"]

    def others(*kept: str) -> Callable[[Path], list[str]]:
        return lambda out: sorted(path.name for path in out.iterdir() if path.name not in kept)

    def halves(out: Path) -> list[str]:
        return [str(path.relative_to(out)) for path in out.rglob("*") if "tmp" in path.name]

    def to_store(words: list[str], *kept: str) -> Job:
        def command(out: Path) -> list[str]:
            return [*words, str(out / "made.h5")]

        return Job(command, lambda out: out / "made.h5", lambda path: EchoStore(path).content_hash, others(*kept))

    def fitted(out: Path) -> list[str]:
        return fit_words(folder, out)

    return {
        "pack": to_store(pack, "made.h5"),
        "fit": Job(fitted, adapter_of, adapter_content, halves),
        "synthesize": to_store(draw, "made.h5", "made.md"),
    }


def run(words: list[str], folder: Path, *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(command_of(words), cwd=folder, capture_output=True, text=True, check=check, env=environment())


def command_of(words: list[str]) -> list[str]:
    """The command line of a subcommand."""
    return [sys.executable, "-m", "tte_tee", *words]


def environment() -> dict[str, str]:
    """One thread, so that a network of 16x16 does not fight over the cores; hashes that compare between runs."""
    root = str(Path(__file__).parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


def start(job: Job, folder: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command, in a process of its own and a folder of its own."""
    out.mkdir()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command_of(job.words(out)), cwd=folder, env=environment(), **quiet)  # type: ignore[call-overload]


def undisturbed(job: Job, folder: Path, out: Path) -> tuple[float, float, str]:
    """Seconds until the first sign of work and until the end, and what is made."""
    clock, begins = time.monotonic(), 0.0
    with start(job, folder, out) as process:
        while process.poll() is None:
            begins = begins or (time.monotonic() - clock if any(out.iterdir()) else 0.0)
            time.sleep(0.01)
    return begins, time.monotonic() - clock, job.content(job.made(out))


def kill_once(job: Job, folder: Path, out: Path, delay: float, expected: str) -> tuple[str, str] | None:
    """Kills, looks at what stands there, goes on, and compares: outcome and reason; None if it was done before."""
    with start(job, folder, out) as process:
        time.sleep(delay)
        process.kill()
    if process.returncode != -signal.SIGKILL:
        return None
    if stands(job, out) not in ("", expected):
        return "lost", "half a result stood under its name"
    done = run(job.words(out), folder)
    said = done.stderr.strip().splitlines() or ["another result"]
    if "Traceback" in done.stderr:
        return "traceback", said[-1]
    if done.returncode or stands(job, out) != expected:
        return "lost", said[-1]
    strays = job.strays(out)
    return ("lost", f"left behind: {', '.join(strays)}") if strays else ("survived", "")


def stands(job: Job, out: Path) -> str:
    """What stands under the name of the result; empty if nothing does."""
    try:
        return job.content(job.made(out)) if job.made(out).exists() else ""
    except (OSError, UserError) as error:
        return f"unreadable: {error}"


def kills(name: str, count: int, folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Kills one command ``count`` times; after each, counts of outcomes, and the trials that did not survive."""
    job = jobs(folder)[name]
    begins, ends, expected = undisturbed(job, folder, folder / f"{name}-whole")
    words = " ".join(job.words(Path("OUT"))).replace(str(folder), "FOLDER")
    result: dict[str, Any] = {
        "trials": 0,
        **dict.fromkeys(OUTCOMES, 0),
        "done_before_the_kill": 0,
        "command": f"python -m tte_tee {words}",
        "killed_between_s": [round(0.9 * begins, 2), round(ends, 2)],
        "killed_after_s": [],
        "failures": [],
    }
    for number in range(count):
        rng = np.random.default_rng((seed, list(jobs(folder)).index(name), number))
        out = folder / f"{name}-{number}"
        while True:
            delay = float(rng.uniform(0.9 * begins, ends))
            tried = kill_once(job, folder, out, delay, expected)
            shutil.rmtree(out)
            if tried:
                break
            result["done_before_the_kill"] += 1
        outcome, reason = tried
        result["trials"] += 1
        result[outcome] += 1
        result["killed_after_s"].append(round(delay, 2))
        if reason:
            result["failures"].append({"trial": number, "outcome": outcome, "reason": reason})
        yield result


def report(record: dict[str, Any]) -> str:
    """What is said of it in Markdown."""
    results, asked = record["results"], record["asked"]
    rows = [
        f"| {name} | {result['trials']} | {' | '.join(str(result[o]) for o in OUTCOMES)} | {result.get('worked', '')} |"
        for name, result in results.items()
    ]
    said = " ".join((__doc__ or "").split("\n\n", 2)[2].split()).replace("``", "`")
    counts = " ".join(f"--{name} {count}" for name, count in asked.items())
    done = sum(result["trials"] for result in results.values())
    lines = [
        "# Kills and hostile files",
        "",
        f"`python experiments/bench/faults.py {counts} --seed {record['seed']}`, on commit {record['commit']}, "
        f"{record['time'][:10]}, {record['cpus']} CPU cores: {done} of {sum(asked.values())} trials. {said}",
        "",
        f"| what | trials | {' | '.join(OUTCOMES)} | of the survivors, did their work |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "Commands:",
        "",
        *(f"- `{name}`: `{result['command']}`" for name, result in results.items()),
        "",
        *(f"- {name}: {fail}" for name, result in results.items() for fail in result["failures"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Prepares, kills, fuzzes, prints and, where asked for, writes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the temporary folder goes
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = {"pack": 140, "fit": 40, "synthesize": 20, "fuzz": 500}
    for name, count in asked.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"trials (default: {count})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write, beside it the same as .md")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    record = {
        **provenance(),
        "cpus": os.cpu_count(),
        "seed": options.seed,
        "asked": {name: getattr(options, name) for name in asked},
        "results": results,
    }

    def keep(name: str) -> None:
        counts = ", ".join(f"{outcome} {results[name][outcome]}" for outcome in OUTCOMES)
        print(f"{time.strftime('%H:%M:%S')} {name} {results[name]['trials']}: {counts}", flush=True)
        if options.out:
            write_json(options.out, record)
            write_whole(options.out.with_suffix(".md"), report(record).encode())

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bench"
        prepare(folder)
        for name in filter(lambda name: getattr(options, name), jobs(folder)):
            for result in kills(name, getattr(options, name), folder, options.seed):
                results[name] = result
                keep(name)
        for kind, result in fuzz(folder, options.fuzz, options.seed):
            results[kind] = result
            keep(kind)
    print(report(record))


if __name__ == "__main__":
    main()
