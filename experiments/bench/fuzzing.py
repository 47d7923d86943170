"""Inputs that work, spoilt at random, and the commands that read them; :mod:`faults` counts what comes of it.

    python experiments/bench/fuzzing.py FOLDER SEED FIRST COUNT    # one JSON line per case; run by faults.py

Cases run in a process one after the other; where one takes the process down, the next process goes on after it.
"""

import contextlib
import faulthandler
import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import yaml
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

MEMORY, SECONDS = 12 * 2**30, 60  # of one process, and of one case
ABSURD: tuple[Any, ...] = (
    None, -1, 0, 10**9, 10**30, float("nan"), float("inf"), 1e-300, True, "", "\0", "x" * 10**5, "../../etc/passwd",
    "/dev/zero", "os.system", [], {}, [[]], ["LV"] * 10**4, {"class_path": "os.system"}, "é\u202e", "!!python/name:os",
)  # fmt: skip


def spoil_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, a block zeroed, repeated, cut out or put in, or the end lost."""
    values = bytearray(data)
    start = int(rng.integers(0, max(1, len(values))))
    stop = min(len(values), start + int(rng.integers(1, 64)))
    kind = int(rng.integers(0, 6))
    if kind == 0:
        for place in rng.integers(0, max(1, len(values)), int(rng.integers(1, 16))):
            values[place : place + 1] = rng.bytes(1)
    elif kind == 1:
        values[start:stop] = bytes(stop - start)
    elif kind == 2:
        values[start:start] = values[start:stop] * int(rng.integers(1, 50))
    elif kind == 3:
        del values[start:stop]
    elif kind == 4:
        values[start:start] = rng.bytes(int(rng.integers(1, 64)))
    else:
        del values[start:]
    return bytes(values)


def spoil_values(values: Any, rng: np.random.Generator) -> Any:
    """One value somewhere in a mapping or list replaced by an absurd one, or taken away, or nested without need."""
    if isinstance(values, dict | list) and values and rng.random() < 0.8:
        keys = list(values) if isinstance(values, dict) else range(len(values))
        key = keys[int(rng.integers(0, len(keys)))]
        copied = dict(values) if isinstance(values, dict) else list(values)
        if rng.random() < 0.1:
            del copied[key]  # type: ignore[arg-type]
        else:
            copied[key] = spoil_values(values[key], rng)  # type: ignore[index]
        return copied
    if rng.random() < 0.1:
        for _ in range(200):
            values = [values]
        return values
    return ABSURD[int(rng.integers(0, len(ABSURD)))]


def spoil_text(path: Path, rng: np.random.Generator, load: Callable[..., Any], dump: Callable[..., str]) -> None:
    """A YAML or JSON file, spoilt in its bytes or in its values."""
    if rng.random() < 0.4:
        path.write_bytes(spoil_bytes(path.read_bytes(), rng))
    else:
        path.write_text(dump(spoil_values(load(path.read_text()), rng)))


def spoil_file(path: Path, rng: np.random.Generator) -> None:
    """Any file, spoilt in its bytes."""
    path.write_bytes(spoil_bytes(path.read_bytes(), rng))


def store(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """An echo store."""
    shutil.copy(folder / "tee.h5", case / "f.h5")
    spoil_file(case / "f.h5", rng)
    words: tuple[list[str], ...] = (
        ["data", "inspect", "f.h5"],
        ["data", "verify", "f.h5"],
        ["data", "subset", "f.h5", "--patients", "2", "--out", "out/made.h5"],
        ["data", "card", "f.h5", "--out", "out/made.md"],
    )
    return words[int(rng.integers(0, len(words)))]


def config(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A YAML of ``fit``; it builds everything, and takes one step."""
    adapter = {"base": str(folder / "base"), "scope": ["cross_attention"], "sampling": {"steps": 2}, "rank": 2}
    values = {
        "seed_everything": 0,
        "model": {"class_path": "TEEAdapter", "init_args": adapter},
        "data": {"class_path": "EchoDataModule", "init_args": {"store": str(folder / "tee.h5"), "batch_size": 2}},
        "trainer": {"max_steps": 2, "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}}},
    }
    (case / "c.yaml").write_text(yaml.safe_dump(values))
    spoil_text(case / "c.yaml", rng, yaml.safe_load, yaml.safe_dump)
    return ["fit", "--config", "c.yaml", "--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.devices=1"]


def small_folder(folder: Path, case: Path) -> list[str]:
    """Four pictures and their masks, and a recipe; the command that packs them."""
    (case / "root").mkdir()
    for name in ("p0_0", "p0_1", "p1_0", "p1_1"):
        for suffix in ("", "_gt"):
            shutil.copy(folder / f"pictures/{name}{suffix}.png", case / "root")
    shutil.copy(folder / "recipe.yaml", case / "r.yaml")
    return ["data", "pack", "r.yaml", "--root", "root", "--workers", "0", "--out", "out/made.h5"]


def recipe(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A recipe of pictures."""
    words = small_folder(folder, case)
    spoil_text(case / "r.yaml", rng, yaml.safe_load, yaml.safe_dump)
    return words


def png(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A picture or a mask."""
    words = small_folder(folder, case)
    files = sorted((case / "root").iterdir())
    spoil_file(files[int(rng.integers(0, len(files)))], rng)
    return words


def dicom(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A DICOM cine."""
    (case / "root").mkdir()
    write_dicom(case / "root/a.dcm")
    spoil_file(case / "root/a.dcm", rng)
    values = {"type": "dicom", "name": "fuzz", "licence": "none", "images": r".*\.dcm", "masks": "none"}
    values |= {"view": "ME4C", "salt": "r.salt", "label_space": "tee", "split": "train", "spacing": "unknown"}
    sector = {"apex": [0, 48], "edges": [-34, 34], "radii": [5, 88]}
    (case / "r.yaml").write_text(yaml.safe_dump({**values, "size": 32, "sector": sector, "region": [0, 0, 96, 96]}))
    return ["data", "pack", "r.yaml", "--root", "root", "--workers", "0", "--out", "out/made.h5"]


def write_dicom(path: Path) -> None:
    """Two frames of speckle."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID, file.StudyInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3", "1.2"
    file.Modality, file.PatientID, file.Rows, file.Columns = "US", "p1", 96, 96
    file.SamplesPerPixel, file.PhotometricInterpretation, file.NumberOfFrames = 1, "MONOCHROME2", 2
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = np.random.default_rng(0).integers(60, 200, (2, 96, 96), dtype=np.uint8).tobytes()
    file.save_as(path)


def adapter(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A JSON of an adapter, or its weights."""
    shutil.copytree(folder / "adapter", case / "adapter")
    names = ("adapter.json", "maskr2.json", "adapter_config.json", "adapter_model.safetensors")
    path = case / "adapter" / names[int(rng.integers(0, len(names)))]
    if path.suffix == ".json":
        spoil_text(path, rng, json.loads, json.dumps)
    else:
        spoil_file(path, rng)
    masks = ["--masks", str(folder / "tee.h5"), "--split", "val", "--steps", "1", "--processes", "1"]
    return ["synthesize", "--adapter", "adapter", *masks, "--device", "cpu", "--out", "out/made.h5"]


def checkpoint(folder: Path, case: Path, rng: np.random.Generator) -> list[str]:
    """A checkpoint."""
    (last,) = (folder / "first").glob("run/version_0/checkpoints/last.ckpt")
    shutil.copy(last, case / "last.ckpt")
    spoil_file(case / "last.ckpt", rng)
    words = ["--model=TEEAdapter", f"--model.base={folder / 'base'}", "--model.scope=[cross_attention, convolution]"]
    words += ["--data=EchoDataModule", f"--data.store={folder / 'tee.h5'}", "--trainer.accelerator=cpu"]
    return ["validate", *words, "--trainer.logger=false", "--ckpt_path=last.ckpt"]


KINDS = {made.__name__: made for made in (store, config, recipe, png, dicom, adapter, checkpoint)}


def judge(words: list[str]) -> tuple[str, str, bool]:
    """Runs a command in this process; outcome, reason, and whether it did its work."""
    from tte_tee.cli import main

    said = io.StringIO()
    code: object = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:  # whatever a user would see as a traceback
            where = traceback.extract_tb(error.__traceback__)[-1]
            return (
                "traceback",
                f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"[:300],
                False,
            )
    lines = said.getvalue().strip().splitlines()
    if "Traceback" in said.getvalue():
        return "traceback", lines[-1][:300], False
    if code and not (lines and lines[-1].startswith("tte_tee ")):
        return "traceback", f"status {code} without a line that says why", False
    half = [path.name for path in Path("out").rglob("*")] if code and Path("out").exists() else []
    half = [name for name in half if ".parts-" not in name and not name.endswith(".npz")]
    return ("lost", f"refused, and left {', '.join(half)}", False) if half else ("survived", "", not code)


def run_cases(folder: Path, seed: int, first: int, count: int) -> None:
    """Runs cases ``first`` to ``count``; a JSON line before and after each."""
    import tte_tee.cli.synthesize
    import tte_tee.cli.train
    import tte_tee.synthesis.generate  # noqa: F401  # what is slow to import is no case's time

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    for number in range(first, count):
        kind = list(KINDS)[number % len(KINDS)]
        case = folder / f"case-{number}"
        case.mkdir()
        words = KINDS[kind](folder, case, np.random.default_rng((seed, 9, number)))
        print(json.dumps({"case": number, "kind": kind, "words": words}), flush=True)
        with contextlib.chdir(case):
            signal.alarm(SECONDS)
            faulthandler.dump_traceback_later(SECONDS + 5, exit=True)  # where a library heeds no signal
            outcome, reason, worked = judge(words)
            faulthandler.cancel_dump_traceback_later()
            signal.alarm(0)
        print(
            json.dumps({"case": number, "kind": kind, "outcome": outcome, "reason": reason, "worked": worked}),
            flush=True,
        )
        shutil.rmtree(case, ignore_errors=True)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def fuzz(folder: Path, count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind of input and its results so far, as those of kills, after each case."""
    from faults import OUTCOMES

    results: dict[str, dict[str, Any]] = {}
    for line in answers(folder, count, seed):
        kind = f"fuzz {line['kind']}"
        words = " ".join(line["words"]).replace(str(folder), "FOLDER")
        counts = dict.fromkeys(("trials", *OUTCOMES, "worked"), 0)
        result = results.setdefault(kind, {**counts, "command": f"python -m tte_tee {words}", "failures": []})
        result["trials"] += 1
        result["worked"] += line["worked"]
        result[line["outcome"]] += 1
        if line["reason"]:
            result["failures"].append({key: line[key] for key in ("case", "words", "outcome", "reason")})
        yield kind, result


def answers(folder: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """What came of each case, from processes that run them one after the other until one takes its process down."""
    from faults import environment

    first = 0
    while first < count:
        command = [sys.executable, __file__, str(folder), str(seed), str(first), str(count)]
        asked: dict[str, Any] = {}
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment()) as process,
        ):
            for text in process.stdout or ():
                if not text.startswith('{"case"'):
                    continue
                asked = {**asked, **json.loads(text)}
                if "outcome" in asked:
                    yield asked
                    first, asked = asked["case"] + 1, {}
            if process.wait() and not asked:
                said.seek(0)
                raise RuntimeError(said.read())
        if asked:
            reason = f"the process died ({process.returncode}) or hung"
            yield {**asked, "outcome": "traceback", "reason": reason, "worked": False}
            first = asked["case"] + 1


if __name__ == "__main__":
    run_cases(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
