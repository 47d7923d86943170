"""Runs a command on GPUs of its own: waits until so many of this machine are free, and holds them until it ends.

    python experiments/gpus.py COUNT COMMAND ...

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


def take(names: list[str], count: int, folder: Path, wait: float = 1.0) -> list[str]:
    """The first devices that come free; their locks are inherited by whatever this process becomes.

    One process chooses at a time: two that each held some of what the other wants would wait for ever.
    """
    queue = os.open(folder / "tte_tee-gpu-queue.lock", os.O_RDWR | os.O_CREAT, 0o666)
    fcntl.flock(queue, fcntl.LOCK_EX)
    taken: list[str] = []
    while len(taken) < count:
        for name in names:
            if len(taken) < count and name not in taken and _lock(folder / f"tte_tee-gpu-{name}.lock"):
                taken.append(name)
        time.sleep(wait if len(taken) < count else 0)
    os.close(queue)
    return taken


def _lock(path: Path) -> bool:
    """Whether the lock could be taken."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    os.set_inheritable(lock, True)
    return True


def main() -> None:
    """Waits, and becomes the command."""
    if len(sys.argv) < 3 or not sys.argv[1].isdecimal():
        raise SystemExit("usage: python experiments/gpus.py COUNT COMMAND ...")
    count, names = int(sys.argv[1]), devices()
    if len(names) < count:
        raise SystemExit(f"gpus: this machine shows {len(names)} GPUs, and the grid asks for {count} at once")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(take(names, count, Path(tempfile.gettempdir())))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
