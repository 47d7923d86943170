"""The grid as Snakemake runs it, on this machine and on a Slurm of two virtual nodes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slurm
import yaml

pytest.importorskip("snakemake", reason="the extra [grid] is not installed")

ROOT = Path(__file__).parents[1]
FILE = yaml.safe_load((ROOT / "experiments/grid.yaml").read_text())
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
Run = Callable[..., subprocess.Popen[str]]


def write_grid(path: Path, arms: list[dict[str, Any]], **stores: str) -> Path:
    """A grid file whose smoke grid has these arms and stores."""
    file = json.loads(json.dumps(FILE))
    file["grids"]["smoke"]["arms"] = arms
    file["studies"]["tiny"]["stores"] |= stores
    path.write_text(yaml.safe_dump(file))
    return path


def words(what: str, file: Path, work: Path, results: Path, *more: str) -> list[str]:
    folders = ("--file", str(file), "--work", str(work), "--results", str(results))
    return [sys.executable, "experiments/workflow.py", what, "--grid", "smoke", *folders, *more]


def start(*asked: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(asked, cwd=ROOT, env=environment, text=True, start_new_session=True, **pipes)


def run(*asked: str) -> tuple[int, str]:
    running = start(*asked)
    out, _ = running.communicate()
    return running.returncode, out


def cells(results: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in results.glob("tiny/*.json")}


@pytest.mark.parametrize("name", ["smoke", "laptop", "full"])
def test_dry_run_agrees_with_the_plan(name: str, tmp_path: Path) -> None:
    folders = ("--grid", name, "--work", str(tmp_path / "work"), "--results", str(tmp_path / "results"))
    status, planned = run(sys.executable, "experiments/workflow.py", "plan", *folders)
    assert not status
    jobs = next(line.split()[2] for line in planned.splitlines() if line.strip().startswith("in all"))
    status, out = run(sys.executable, "experiments/workflow.py", "run", *folders, "--", "--dry-run")
    assert not status, out
    assert f"total {int(jobs) + 1}" in " ".join(out.split())  # and rule all


def test_killed_rerun_changed_and_failed(tmp_path: Path) -> None:
    work, results = tmp_path / "work", tmp_path / "results"
    arms: list[dict[str, Any]] = [{"segmenter": ["seg_real", "seg_all_real"]}]
    file = write_grid(tmp_path / "grid.yaml", arms)

    killed = start(*words("run", file, work, results))
    while not list(work.glob("segment/*/log.txt")) and killed.poll() is None:
        time.sleep(0.5)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not cells(results)
    status, out = run(*words("run", file, work, results))
    assert not status, out
    first = cells(results)
    assert set(first) == {"seg_real_seed0", "seg_all_real_seed0"}

    times = {path: path.stat().st_mtime_ns for path in [*work.rglob("done"), *results.rglob("*.json")]}
    status, out = run(*words("run", file, work, results))
    assert not status and "all 2 cells are done" in out
    status, out = run(*words("run", file, tmp_path / "elsewhere", results))  # as after a fresh clone
    assert not status and "all 2 cells are done" in out

    pool = FILE["studies"]["tiny"]["stores"]["pool"].replace("--patients 10", "--patients 9")
    changed = write_grid(file, [*arms, {"segmenter": "seg_real", "patients": 99}], pool=pool)
    status, out = run(*words("run", changed, work, results))
    assert status  # one cell cannot be made, and says why; the others are
    second = cells(results)
    assert second["seg_real_seed0"] == first["seg_real_seed0"]
    assert second["seg_all_real_seed0"]["provenance"]["key"] != first["seg_all_real_seed0"]["provenance"]["key"]
    assert set(second) == set(first)
    assert all(path.stat().st_mtime_ns == made for path, made in times.items() if path.name == "done")
    _, out = run(*words("status", changed, work, results))
    assert "2 done, 1 failed, 0 missing" in out
    assert "--patients 99: only 6 are there" in out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Results of the smoke grid, and the seconds that it took."""
    folder, clock = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    status, out = run(*words("run", ROOT / "experiments/grid.yaml", folder / "work", folder / "results"))
    assert not status, out
    return folder / "results", time.monotonic() - clock


def report(results: Path, out: Path) -> str:
    """The numbers of a report."""
    status, said = run(sys.executable, "-m", "tte_tee", "report", str(results), "--out", str(out / "report.html"))
    assert not status, said
    return (out / "report.csv").read_text()


def test_killed_at_ten_random_points_it_ends_with_the_same_report(
    undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    results, seconds = undisturbed
    asked = words("run", ROOT / "experiments/grid.yaml", tmp_path / "work", tmp_path / "results")
    for delay in np.random.default_rng(0).uniform(0.02, 0.1, 10) * seconds:
        killed = start(*asked)
        time.sleep(delay)
        assert killed.poll() is None
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    status, out = run(*asked)
    assert not status, out
    measured = ("segmentation", "validation", "mask_fidelity", "fidelity", "copies", "patients")
    first, second = cells(results), cells(tmp_path / "results")
    assert first.keys() == second.keys()
    for name, cell in first.items():
        assert {key: second[name][key] for key in measured} == {key: cell[key] for key in measured}, name
    assert report(tmp_path / "results", tmp_path) == report(results, tmp_path / "of_the_other")


def test_the_smoke_grid_runs_every_rule(undisturbed: tuple[Path, float]) -> None:
    results, _ = undisturbed
    made = cells(results)
    assert len(made) == 8
    for cell in made.values():
        assert cell["segmentation"]["patients"] and cell["tested_on"] == "test"
        assert str(results.parent) not in json.dumps(cell)
        assert (cell["adapter"] is None) == cell["arm"].startswith("seg_")
    drawn = made["lora_mlp-ssm-1to1_seed0"]
    assert drawn["adapter"]["trained"] > 0 and drawn["synthesis"]["masks"] == "ssm"
    assert drawn["synthesis"]["frames"] == 24 and drawn["patients"] == 7
    assert all(drawn[part]["peak_memory_mib"] > 0 for part in ("adapter", "synthesis", "segmenter"))
    assert made["lora_mlp-rank2-real-synthetic_only-2patients_seed0"]["patients"] == 3  # one of them validates
    assert drawn["mask_fidelity"]["synthetic"]["summary"] and drawn["fidelity"]["rows"] and drawn["copies"]["rates"]
    assert {p.name for p in (results / "tiny/lora_mlp-ssm-1to1_seed0").iterdir()} >= {
        "drawn.webp",
        "gallery.webp",
        "ssm.webp",
        "worst.webp",
    }


@pytest.mark.skipif(bool(slurm.lacking()), reason=slurm.lacking() or "there is one")
def test_slurm_gives_the_numbers_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of two processes among them: srun starts their ranks, where here Lightning does."""
    file = write_grid(tmp_path / "grid.yaml", [{"segmenter": ["seg_real", "seg_pretrained_tte"]}])
    values = yaml.safe_load(file.read_text())
    values["grids"]["smoke"]["processes"] = {"segment": 2}
    values["grids"]["smoke"]["overrides"]["segmenter"]["data.batch_size"] = 8
    file.write_text(yaml.safe_dump(values))
    profile = yaml.safe_load((ROOT / "experiments/profiles/slurm/config.yaml").read_text())
    for resources in (profile["default-resources"], *profile["set-resources"].values()):
        resources["slurm_partition"] = "main"
    profile |= {
        "slurm-no-account": True,
        "slurm-status-command": "squeue",
        "slurm-init-seconds-before-status-checks": 3,
        "latency-wait": 10,
    }
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    status, out = run(*words("run", file, tmp_path / "work", tmp_path / "local"))
    assert not status, out
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # nobody knows virtual nodes by name
    with slurm.two_nodes(tmp_path / "slurm"):
        options = ("--executor", "slurm", "--profile", str(tmp_path / "profile"), "--jobs", "10")
        status, out = run(*words("run", file, tmp_path / "cluster", tmp_path / "far", *options))
    assert not status, out
    started = [log.read_text() for log in (tmp_path / "cluster/segment").glob("*/log.txt")]
    assert started and all("MEMBER: 2/2" in log for log in started)
    near, far = cells(tmp_path / "local"), cells(tmp_path / "far")
    assert len(near) == 2
    assert all(far[name]["segmentation"] == cell["segmentation"] for name, cell in near.items())
