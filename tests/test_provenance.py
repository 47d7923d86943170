"""Every store and export says which code and which versions made it, and a command gives the same bytes again."""

import json
import subprocess
from pathlib import Path

import pytest
from folders import pack

import tte_tee
from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.provenance import git_commit, made_with, provenance

NOBODY = ("-c", "user.name=n", "-c", "user.email=n@n")
PHANTOM = ["data", "phantom", "--domain=tee", "--patients=4", "--size=16", "--workers=0"]


def test_code_and_versions_are_the_same_at_every_call() -> None:
    assert made_with() == made_with()
    assert set(provenance()) - set(made_with()) == {"time"}
    assert len(made_with()["commit"].removesuffix("+changes")) in (40, len("unknown"))


@pytest.mark.parametrize(
    "words",
    [
        PHANTOM,
        ["masks", "heart", "--source=atlas", "--hearts=1", "--size=16"],
        ["data", "merge", "a.h5", "b.h5"],
        ["data", "split", "a.h5", "--val=0.25", "--test=0.25"],
        ["data", "subset", "a.h5", "--patients=2"],
    ],
)
def test_a_store_says_what_made_it_and_is_the_same_again(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main([*PHANTOM, "--out=a.h5"])
    main([*PHANTOM, "--seed=1", "--out=b.h5"])
    main([*words, "--out=f.h5"])
    before = Path("f.h5").read_bytes()
    assert EchoStore("f.h5").provenance.items() >= made_with().items()
    main([*words, "--out=f.h5"])
    assert Path("f.h5").read_bytes() == before


def test_a_packed_store_says_what_made_it(root: Path) -> None:
    assert pack(root).provenance == made_with()


def test_an_export_says_what_made_it(tee_store: Path, tmp_path: Path) -> None:
    main(["export", "png", "--store", str(tee_store), "--out", str(tmp_path / "png")])
    assert json.loads((tmp_path / "png/provenance.json").read_text()).items() >= made_with().items()


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
    assert git_commit.__wrapped__() == head
    new = repository / "tte_tee/new.py"
    new.touch()
    assert git_commit.__wrapped__() == f"{head}+changes"
    new.unlink()
    (repository / "tte_tee/__init__.py").write_text("x = 1")
    assert git_commit.__wrapped__() == f"{head}+changes"


def test_a_repository_around_an_installed_package_is_not_its(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, repository / ".venv/lib/site-packages")
    (repository / ".venv/lib/site-packages/tte_tee").mkdir(parents=True)
    assert git_commit.__wrapped__() == "unknown"


def test_there_may_be_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, tmp_path)
    assert git_commit.__wrapped__() == "unknown"
