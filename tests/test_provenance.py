"""Which commit is recorded: that of the source tree, and of no other repository that happens to be around it."""

import subprocess
from pathlib import Path

import pytest

import tte_tee
from tte_tee.synthesis.provenance import git_commit

NOBODY = ("-c", "user.name=n", "-c", "user.email=n@n")


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    package = tmp_path / "tte_tee"
    package.mkdir()
    (package / "__init__.py").touch()
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, *NOBODY, "commit", "-m", "first")
    return tmp_path


def installed(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(tte_tee, "__file__", str(root / "tte_tee/__init__.py"))


def test_the_commit_is_of_the_source_tree(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, repository)
    head = git(repository, "rev-parse", "HEAD")
    (repository / "notes.txt").write_text("of no module")
    assert git_commit() == head
    new = repository / "tte_tee/new.py"
    new.touch()
    assert git_commit() == f"{head}+changes"
    new.unlink()
    (repository / "tte_tee/__init__.py").write_text("x = 1")
    assert git_commit() == f"{head}+changes"


def test_a_repository_around_an_installed_package_is_not_its(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, repository / ".venv/lib/site-packages")
    (repository / ".venv/lib/site-packages/tte_tee").mkdir(parents=True)
    assert git_commit() == "unknown"


def test_there_may_be_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tmp_path)
    assert git_commit() == "unknown"
