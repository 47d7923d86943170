"""Every worked example of docs/labels.md: what it solves to, what it is refused for, and that it trains."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from conftest import Train, write_store
from shown import ROOT, blocks

from tte_tee.anatomy import CAMUS, LabelSpace, solve
from tte_tee.data.recipe import load_recipe
from tte_tee.errors import UserError

PAGE = ROOT / "docs/labels.md"
SOLVED = "MaskR²: "


def worked() -> Iterator[tuple[str, LabelSpace, str, str]]:
    """Heading, label space of its recipe, the YAML shown and the line that stands below it."""
    parts = {part.partition("\n")[0]: part for part in PAGE.read_text().split("\n## ")}
    spaces = {
        heading: load_recipe(ROOT / "data" / found[1]).label_space
        for heading, part in parts.items()
        if (found := re.search(r"\(\.\./data/(\w+\.yaml)\)", part))
    }
    shown = blocks(PAGE)
    for block, below in pairwise(shown):
        if block.kind == "yaml":
            assert below.kind == "text", f"what does {block.text!r} come to?"
            yield block.heading, spaces[block.heading], block.text, below.text.strip()


WORKED = list(worked())
IDS = [f"{space.name}-{number}" for number, (_, space, _, _) in enumerate(WORKED)]
exemplified = pytest.mark.parametrize(("heading", "space", "text", "line"), WORKED, ids=IDS)


def test_label_formats_are_worked_out() -> None:
    assert {space.name for _, space, _, _ in WORKED} >= {"tee", "echonet", "mvseg"}
    assert len([line for *_, line in WORKED if line.startswith(SOLVED)]) > 5
    assert len([line for *_, line in WORKED if not line.startswith(SOLVED)]) > 4


@exemplified
def test_a_worked_example_comes_to_what_is_shown(heading: str, space: LabelSpace, text: str, line: str) -> None:
    rules = yaml.safe_load(text)["model"]["init_args"]["maskr2"]
    if line.startswith(SOLVED):
        assert SOLVED + solve(CAMUS.structures, space.structures, **rules).describe() == line
    else:
        with pytest.raises(UserError) as refused:
            solve(CAMUS.structures, space.structures, **rules)
        assert str(refused.value) == line


@exemplified
def test_a_worked_example_trains_or_is_refused(
    heading: str, space: LabelSpace, text: str, line: str, adapt: Train, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    store = write_store(tmp_path / "masks.h5", space)
    words = [f"--config={tmp_path / 'rules.yaml'}", f"--data.store={store}", "--trainer.max_steps=1"]
    if line.startswith(SOLVED):
        assert (adapt(tmp_path, *words) / "adapter/maskr2.json").is_file()
        assert line in " ".join(capfd.readouterr().err.split())
    else:
        with pytest.raises(SystemExit):
            adapt(tmp_path, *words)
        assert line in capfd.readouterr().err
