"""The list of mutations: each still says what it breaks, and which tests have to notice. `make mutations` breaks it."""

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

from mutations import ROOT, Mutation, broken, mutations


@pytest.mark.parametrize("mutation", mutations(), ids=lambda mutation: mutation.name)
def test_a_mutation_breaks_one_line_that_is_there(mutation: Mutation) -> None:
    text = (ROOT / "tte_tee" / mutation.file).read_text()
    assert text.count(mutation.line) == 1
    ast.parse(text.replace(mutation.line, mutation.broken))
    assert (ROOT / "tests" / mutation.tests).is_file()


def test_a_broken_line_is_mended(tmp_path: Path) -> None:
    (tmp_path / "tte_tee").mkdir()
    path = tmp_path / "tte_tee/some.py"
    path.write_text("a = 1\nb = 2\n")
    with pytest.raises(KeyboardInterrupt), broken(tmp_path, Mutation("", "some.py", "b = 2", "b = 3", "")):
        assert path.read_text() == "a = 1\nb = 3\n"
        raise KeyboardInterrupt
    assert path.read_text() == "a = 1\nb = 2\n"
