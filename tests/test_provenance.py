"""Every store and export says which code and which versions made it, and a command gives the same bytes again."""

import json
from pathlib import Path

import pytest
from folders import pack

from tte_tee.cli import main
from tte_tee.data.store import EchoStore
from tte_tee.provenance import made_with, provenance

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
