"""Files and folders that appear whole or not at all, and texts without the folders of a machine."""

import shutil
from pathlib import Path

import pytest

from tte_tee.errors import UserError
from tte_tee.files import read_json, whole_folder, without_folders


@pytest.fixture
def older(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "old").touch()
    return folder


def put(folder: Path) -> None:
    with whole_folder(folder) as temporary:
        (temporary / "new").touch()


def test_a_folder_takes_the_place_of_an_older_one(older: Path) -> None:
    put(older)
    assert [path.name for path in older.parent.rglob("*")] == ["made", "new"]


def test_a_kill_while_the_older_folder_goes_loses_neither(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(path: Path, **_: bool) -> None:
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        put(older)
    assert [path.name for path in older.iterdir()] == ["new"]


def test_an_older_folder_comes_back_when_the_new_one_cannot_take_its_name(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if ".tmp-" in self.name:
            raise OSError("out of order")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=r"made: cannot write there \(out of order\)"):
        put(older)
    assert [path.name for path in older.parent.rglob("*")] == ["made", "old"]


def test_what_the_block_raises_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "made"):
        (tmp_path / "elsewhere").read_bytes()
    assert not list(tmp_path.iterdir())


def test_what_is_no_folder_is_not_replaced(older: Path) -> None:
    (older.parent / "link").symlink_to(older)
    for path in (older / "old", older.parent / "link"):
        with pytest.raises(UserError, match="is no folder that can be replaced"):
            put(path)
    assert (older / "old").is_file()


def test_where_one_is_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is where you are"):
        put(Path())


def test_a_missing_record_is_said_with_the_callers_advice_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "metrics.json", "evaluation")
    assert str(caught.value).endswith("no evaluation folder, for it holds no metrics.json")
    with pytest.raises(UserError, match=r"metrics\.json; go and make one$"):
        read_json(tmp_path / "metrics.json", "evaluation", advice=lambda: "go and make one")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("fit --out /home/jane/echo", "fit --out echo"),
        ("fit '/home/Jane Doe/echo' x", "fit 'echo' x"),
        ('"/home/Jane Doe/my store.h5"', '"my store.h5"'),
        ("'/a b/c' '/d e/f'", "'c' 'f'"),
        ("'~/Jane Doe/f.h5'", "'f.h5'"),
        ("file:///home/jane/x.h5", "x.h5"),
        ("'file:///home/Jane Doe/x.h5'", "'x.h5'"),
        ("https://host/a/b, 1/2 and don't", "https://host/a/b, 1/2 and don't"),
    ],
)
def test_a_text_names_no_folder(text: str, left: str) -> None:
    assert without_folders(text) == left
