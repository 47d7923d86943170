"""The documentation: links lead somewhere, and commands, targets and YAML are what the package takes."""

import copy
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from shown import EXAMPLES, HELP, PAGES, ROOT, anchors, blocks, code, commands, links, targets

import tte_tee
from tte_tee import cli
from tte_tee.cli.parser import Parser
from tte_tee.data.recipe import load_recipe
from tte_tee.errors import UserError

sys.path.insert(0, str(ROOT / "experiments"))

from grid import Grid

GRID = yaml.safe_load((ROOT / "experiments/grid.yaml").read_text())
paged = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@paged
def test_links_lead_somewhere(page: Path) -> None:
    missing = [str(path) for path, _ in links(page) if not path.exists()]
    assert not missing
    lost = [f"{path.name}#{a}" for path, a in links(page) if a and path.suffix == ".md" and a not in anchors(path)]
    assert not lost


@paged
def test_make_targets_exist(page: Path) -> None:
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for text in code(page) for target in targets(text)} <= there


class Parsed(Exception):  # noqa: N818
    """Parsing ended well; what comes after is not wanted."""


def wrong(words: list[str]) -> str:
    """What the package's own parser says against a command; empty if it is right. Nothing is run."""
    if words == ["--help"]:
        return ""  # the package's own, which no parser answers
    training = words[0] in cli.TRAINING
    try:
        cli._run(words[0], [*words[1:], "--print_config"] if training else words[1:])
    except Parsed:
        return ""
    except SystemExit as stop:
        return f"status {stop.code}" if stop.code else ""
    except UserError as error:
        return str(error)
    return "nothing was parsed"


@pytest.fixture
def parses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Parser.parse_args

    def stop(self: Parser, *words: Any) -> NoReturn:
        parse(self, *words)
        raise Parsed

    monkeypatch.setattr(Parser, "parse_args", stop)


@pytest.mark.usefixtures("parses_only")
@pytest.mark.parametrize("page", [*PAGES, *HELP], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_taken(page: Path) -> None:
    shown = [words for text in code(page) for words in commands(text)]
    assert not {" ".join(words): said for words in shown if (said := wrong(words))}


@paged
def test_scripts_that_are_named_exist(page: Path) -> None:
    named = {name for text in code(page) for name in re.findall(r"\b((?:experiments|docs)/[\w/]+\.(?:py|sh))\b", text)}
    assert not [name for name in named if not (ROOT / name).is_file()]


@paged
def test_yaml_is_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(block for block in blocks(page) if block.kind == "yaml"):
        if page.parent != ROOT / "data":  # there, parts of recipes are explained
            check_yaml(block.text, tmp_path / f"{number}.yaml")


def check_yaml(text: str, path: Path) -> None:
    """Parses by the project's own parser what its keys say that it is: a recipe, a part of a grid, or of a config."""
    path.write_text(text)
    keys = set(yaml.safe_load(text))
    if "label_space" in keys:
        load_recipe(path)
    elif keys <= {"studies", "grids", "labels"}:
        file = with_grid(text)
        for name in yaml.safe_load(text)["grids"]:
            assert Grid(file, name).cells
    else:
        assert keys <= {"model", "data", "trainer", "seed_everything", "previews"}, f"what is {keys}?"
        nearest = [] if "class_path" in yaml.safe_load(text)["model"] else ["--config=lightning_configs/lora_mlp.yaml"]
        assert not wrong(["fit", *nearest, f"--config={path}"])


def with_grid(text: str) -> dict[str, Any]:
    """The grid file with a part added to it."""
    file, part = copy.deepcopy(GRID), yaml.safe_load(text)
    for key in part:
        file[key] |= part[key]
    return file


def test_the_citation_names_the_authors_and_the_paper() -> None:
    cited, project = yaml.safe_load((ROOT / "CITATION.cff").read_text()), (ROOT / "pyproject.toml").read_text()
    assert cited["authors"] == tomllib.loads(project)["project"]["authors"]
    assert cited["references"][0]["url"] == "https://arxiv.org/abs/2508.13077"


def test_release_changelog_and_citation_are_of_one_version() -> None:
    cited, changelog = yaml.safe_load((ROOT / "CITATION.cff").read_text()), (ROOT / "CHANGELOG.md").read_text()
    version, date = re.findall(r"^## \[(\d[^]]*)\] - (\S+)$", changelog, re.MULTILINE)[0]
    assert version == tte_tee.__version__ == cited["version"] and date == str(cited["date-released"])


def test_something_is_shown() -> None:
    """That nothing is wrong means something only where something is found."""
    everything = [text for page in PAGES for text in code(page)]
    assert len([words for text in everything for words in commands(text)]) > 60
    assert len([target for text in everything for target in targets(text)]) > 15
    assert len([link for page in PAGES for link in links(page)]) > 60
    assert EXAMPLES.is_dir()


@pytest.mark.usefixtures("parses_only")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python -m tte_tee data pack data/camus224.yaml --rot F --out o.h5", "--root"),
        ("python -m tte_tee fit --config lightning_configs/nothing.yaml", "nothing.yaml"),
        ("python -m tte_tee fit --config lightning_configs/lora_mlp.yaml --model.rnk 3", "rnk"),
        ("$ for c in tokens both; do python -m tte_tee evaluate masks --real $c; done", "--synthetic"),
    ],
)
def test_a_wrong_command_is_found(text: str, said: str) -> None:
    assert said in wrong(commands(text)[0])
