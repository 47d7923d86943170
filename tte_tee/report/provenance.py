"""Where the numbers come from, and warnings where cells that stand together were made differently."""

from collections.abc import Mapping, Sequence
from typing import Any

from tte_tee.files import without_folders
from tte_tee.report.cells import Cell, TestSet
from tte_tee.report.tables import number_words
from tte_tee.tables import Table

_UNKNOWN = "unknown"


def warnings(test_sets: Sequence[TestSet]) -> list[str]:
    """What makes a comparison doubtful: code, versions or test store that differ, seeds, settings, development."""
    found = []
    cells = [cell for test_set in test_sets for cell in test_set.cells]
    if len(commits := _commits(cells)) > 1:
        found.append(f"Cells come from {len(commits)} commits: {', '.join(commits)}.")
    if changed := [commit for commit in commits if commit.endswith("+changes")]:
        found.append(f"Uncommitted changes were in the code at {', '.join(changed)}: no commit gives it again.")
    if _UNKNOWN in commits:
        found.append("Some cells do not know their commit.")
    if differing := _differing_versions(cells):
        found.append(f"Cells differ in versions: {'; '.join(differing)}.")
    stores: dict[tuple[str, str], list[str]] = {}
    for test_set in test_sets:
        stores.setdefault((test_set.study, test_set.tested_on), []).append(test_set.store)
    for (study, tested_on), names in stores.items():
        if len(names) > 1:
            found.append(f"{study}, {tested_on}: test stores differ ({', '.join(names)}); each is compared by itself.")
    for test_set in test_sets:
        found += _of_test_set(test_set)
    return found


def _of_test_set(test_set: TestSet) -> list[str]:
    found = []
    if test_set.development:
        found.append(f"{test_set.title}: options were chosen on these patients; nothing here is a result.")
    everything = {seed for own in test_set.arms.values() for seed in own}
    if lacking := {arm: sorted(everything - set(own)) for arm, own in test_set.arms.items() if everything - set(own)}:
        alike: dict[str, list[str]] = {}
        for arm, seeds in lacking.items():
            alike.setdefault(number_words(seeds), []).append(arm)
        words = "; ".join(_lack(arms, seeds) for seeds, arms in alike.items())
        found.append(
            f"{test_set.title}: arms have unequal seeds ({words}); differences are of the seeds that both have."
        )
    for arm, own in test_set.arms.items():
        if len({cell.setting for cell in own.values()}) > 1:
            found.append(f"{test_set.title}: cells of arm {arm} differ in more than their seed; it is not one arm.")
        if len({cell.structures for cell in own.values()}) > 1:
            found.append(f"{test_set.title}: cells of arm {arm} are scored on different structures.")
    return found


def _lack(arms: Sequence[str], seeds: str) -> str:
    if len(arms) > 3:
        return f"{len(arms)} of them lack {seeds}"
    return f"{', '.join(arms)} {'lack' if arms[1:] else 'lacks'} {seeds}"


def cell_table(test_set: TestSet, numbers: Mapping[str, int]) -> Table:
    """Every cell of a cohort: commit, time, key, and the numbers of its commands, lower ones first."""
    rows = []
    for cell in test_set.cells:
        record = cell.part("provenance")
        words = (str(record.get(name) or _UNKNOWN) for name in ("time", "key"))
        drawn = (cell.part("fidelity").get("stores") or {}).get("synthetic", {}).get("hash", "-")
        commands = number_words(numbers[command] for command in _commands(cell)) if _commands(cell) else _UNKNOWN
        own = (cell.arm, str(cell.seed), _commit(cell), *words, str(drawn)[:12])
        rows.append((*own, f"{cell.name}.json", commands))
    header = ("arm", "seed", "commit", "time", "key", "store of drawn frames", "cell", "commands")
    return Table(f"Cells tested on {test_set.store}", header, rows)


def version_table(cells: Sequence[Cell]) -> Table:
    """Versions of libraries, and how many cells had them."""
    sets: dict[str, int] = {}
    for cell in cells:
        versions = cell.part("provenance").get("versions") or {}
        words = ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or _UNKNOWN
        sets[words] = sets.get(words, 0) + 1
    return Table("Versions", ("cells", "versions"), [(str(count), words) for words, count in sets.items()])


def store_table(cells: Sequence[Cell]) -> Table:
    """Content hashes of the stores that cells share."""
    found: dict[tuple[str, ...], None] = {}
    for cell in cells:
        store = cell.record["store"]
        found["test", without_folders(str(store.get("name", _UNKNOWN))), store["hash"]] = None
        for role, other in (cell.part("fidelity").get("stores") or {}).items():
            if role != "synthetic":
                name, content = (str(other.get(key, _UNKNOWN)) for key in ("name", "hash"))
                found[f"fidelity: {role}", without_folders(name), content] = None
    return Table("Stores", ("as", "name", "content hash"), list(found))


def numbered_commands(cells: Sequence[Cell]) -> dict[str, int]:
    """Every command once, with its number, without the folders of the machine it ran on."""
    found = dict.fromkeys(command for cell in cells for command in _commands(cell))
    return {command: number for number, command in enumerate(found, 1)}


def command_table(numbers: Mapping[str, int]) -> Table:
    """The commands by number."""
    return Table("Commands", ("number", "command"), [(str(number), command) for command, number in numbers.items()])


def _commands(cell: Cell) -> list[str]:
    return [without_folders(str(command)) for command in cell.part("provenance").get("commands") or ()]


def _commit(cell: Cell) -> str:
    commit, plus, changes = str(cell.part("provenance").get("commit") or _UNKNOWN).partition("+")
    return commit[:12] + plus + changes


def _commits(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(map(_commit, cells)))


def _differing_versions(cells: Sequence[Cell]) -> list[str]:
    found: dict[str, dict[str, Any]] = {}
    records = [cell.part("provenance").get("versions") or {} for cell in cells]
    for name in dict.fromkeys(name for versions in records for name in versions):
        found[name] = dict.fromkeys(str(versions.get(name, _UNKNOWN)) for versions in records)
    return [f"{name} {', '.join(versions)}" for name, versions in found.items() if len(versions) > 1]
