"""Where an artefact comes from: commit, versions, time."""

import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tte_tee

PACKAGES = ("torch", "lightning", "diffusers", "peft", "numpy", "h5py")


def made_with() -> dict[str, Any]:
    """Package version, git commit (``+changes`` when the tree differs from it) and library versions.

    The same at every call, for what the same command shall give again to the byte.
    """
    return {
        "tte_tee": tte_tee.__version__,
        "commit": git_commit(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def provenance() -> dict[str, Any]:
    """:func:`made_with`, and the UTC time."""
    return {**made_with(), "time": datetime.now(UTC).isoformat(timespec="seconds")}


@cache
def git_commit() -> str:
    """Commit of the source tree as this process first found it, or ``unknown`` outside of one.

    Modules that git does not know are changes, too. A repository in whose folder the package is installed is another's.
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
