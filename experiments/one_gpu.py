"""Runs a command on a GPU of its own: waits until one of this machine is free, and holds it until the command ends.

    python experiments/one_gpu.py COMMAND ...

The devices are those of CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists; each has a lock file, which the kernel
frees when its holder ends, however it ends. Slurm needs none of this: it hands out devices itself.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def devices() -> list[str]:
    """Devices of this machine that may be used."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def take(names: list[str], folder: Path, wait: float = 1.0) -> str:
    """The first of the devices that comes free; its lock is inherited by whatever this process becomes."""
    while True:
        for name in names:
            lock = os.open(folder / f"tte_tee-gpu-{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                os.set_inheritable(lock, True)
                return name
        time.sleep(wait)


def main() -> None:
    """Waits, and becomes the command."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python experiments/one_gpu.py COMMAND ...")
    if not (names := devices()):
        raise SystemExit("one_gpu: this machine shows no GPU; the grid's device is cuda")
    os.environ["CUDA_VISIBLE_DEVICES"] = take(names, Path(tempfile.gettempdir()))
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
