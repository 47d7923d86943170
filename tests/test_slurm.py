"""Training under a real Slurm: over nodes by srun, and preempted and requeued."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import slurm
from resuming import AUTO, assert_same, kept

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(slurm.lacking()), reason=slurm.lacking() or "there is one"),
]
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}


def command(out: Path, store: Path, *words: str) -> list[str]:
    """A fit whose run is ``out/run/version_0``."""
    return [
        *(sys.executable, "-m", "tte_tee", "fit", "--model=HeartSegmenter", "--model.network.channels=[4, 8, 8]"),
        *("--model.warmup_steps=0", "--model.network.dropout=0.3", "--data=SegmentationDataModule"),
        *(f"--data.real={store}", "--trainer.val_check_interval=5", "--trainer.log_every_n_steps=1"),
        *("--checkpoint.every_n_train_steps=5", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"),
        *("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={out}", "--trainer.logger.name=run"),
        *("--trainer.logger.version=0", AUTO, *words),
    ]


def here(words: list[str]) -> None:
    subprocess.run(words, check=True, env={**os.environ, **ENVIRONMENT}, capture_output=True)


def batch(path: Path, words: list[str], *srun: str) -> Path:
    """A batch script as the README has it."""
    lines = [
        "#!/bin/bash",
        "#SBATCH --requeue --open-mode=append",
        f"#SBATCH --output={path.with_suffix('.log')}",
        *(f"export {name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items()),
        shlex.join(["srun", "--kill-on-bad-exit=1", *srun, *words]),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_two_nodes_by_srun_are_two_processes_of_one(tee_store: Path, tmp_path: Path) -> None:
    words = ("--data.batch_size=2", "--trainer.max_steps=6", "--trainer.strategy=ddp")
    here(command(tmp_path / "one", tee_store, *words, "--trainer.devices=2"))
    over = command(tmp_path / "two", tee_store, *words, "--trainer.devices=1", "--trainer.num_nodes=2")
    with slurm.two_nodes(tmp_path / "slurm"):
        script = batch(tmp_path / "job.sh", over, "--ntasks-per-node=1")
        number = slurm.submit(script, "--nodes=2", "--ntasks-per-node=1", f"--chdir={ROOT}")
        slurm.wait_for(lambda: slurm.job(number)["JobState"] not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING"))
        assert slurm.job(number)["JobState"] == "COMPLETED", script.with_suffix(".log").read_text()
    assert_same(tmp_path / "two/run/version_0", tmp_path / "one/run/version_0")


def test_a_preempted_run_is_requeued_and_ends_as_an_undisturbed_one(tee_store: Path, tmp_path: Path) -> None:
    words = ("--data.batch_size=4", "--trainer.max_steps=1000")
    here(command(tmp_path / "one", tee_store, *words))
    script = batch(tmp_path / "job.sh", command(tmp_path / "two", tee_store, *words))
    run = tmp_path / "two/run/version_0"
    with slurm.two_nodes(tmp_path / "slurm"):
        number = slurm.submit(script, "--nodes=1", f"--chdir={ROOT}")
        slurm.wait_for((run / "checkpoints/last.ckpt").exists)
        (tmp_path / "urgent.sh").write_text("#!/bin/bash\nsleep 2\n")
        slurm.submit(
            tmp_path / "urgent.sh", "--partition=urgent", "--nodes=2", "--exclusive", f"--output={tmp_path}/urgent.log"
        )
        slurm.wait_for(lambda: slurm.job(number)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED"))
        found = slurm.job(number)
        assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1"), script.with_suffix(".log").read_text()
    assert "stopped by SIGTERM after step" in script.with_suffix(".log").read_text()
    assert kept(run) == {995, 1000}
    assert_same(run, tmp_path / "one/run/version_0")
