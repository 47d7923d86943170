"""Where an artefact comes from: commit, versions, time."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tte_tee

PACKAGES = ("torch", "lightning", "diffusers", "peft", "numpy", "h5py")


def provenance() -> dict[str, Any]:
    """Package version, git commit (``+changes`` when the tree differs from it), library versions, UTC time."""
    return {
        "tte_tee": tte_tee.__version__,
        "commit": git_commit(),
        "versions": {name: version(name) for name in PACKAGES},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_commit() -> str:
    """Commit of the source tree, or ``unknown`` outside of one; modules that git does not know are changes, too.

    A repository in whose folder the package is installed is another's.
    """
    root = Path(tte_tee.__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        new = ("ls-files", "--others", "--exclude-standard", "--", "tte_tee")
        changed = git("status", "--porcelain", "-uno") or git(*new)
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
