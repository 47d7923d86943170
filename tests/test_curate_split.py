"""Splits and subsets: nobody leaks, shares are exact, choices are nested and repeatable."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from curating import INFO, frames, many, refused, run, write
from hypothesis import given, settings
from hypothesis import strategies as st

from tte_tee.data.curate import split
from tte_tee.data.curate.choose import seeded_order, spread
from tte_tee.data.curate.split import assign_splits, largest_remainder
from tte_tee.data.curate.verify import verify_store
from tte_tee.data.splits import unit_hash
from tte_tee.data.store import SPLITS, EchoStore


@settings(deadline=None)
@given(
    total=st.integers(0, 500),
    shares=st.tuples(st.integers(0, 100), st.integers(0, 100)).filter(lambda pair: sum(pair) < 100),
)
def test_largest_remainder_is_exact(total: int, shares: tuple[int, int]) -> None:
    val, test = (share / 100 for share in shares)
    counts = largest_remainder(total, {"train": 1 - val - test, "val": val, "test": test})
    assert sum(counts.values()) == total
    assert abs(counts["val"] - val * total) < 1 and abs(counts["test"] - test * total) < 1


@settings(deadline=None)
@given(
    kinds=st.lists(st.sampled_from("abcde"), min_size=1, max_size=80),
    shares=st.tuples(st.integers(0, 60), st.integers(0, 39)),
    seed=st.integers(0, 5),
)
def test_splits_are_exact_and_every_kind_gets_its_share(kinds: list[str], shares: tuple[int, int], seed: int) -> None:
    given_kinds = {f"p{n}": kind for n, kind in enumerate(kinds)}
    wanted = {"val": shares[0] / 100, "test": shares[1] / 100}
    splits = assign_splits(given_kinds, wanted, seed)
    counts = largest_remainder(len(kinds), {"train": 1 - sum(wanted.values()), **wanted})
    assert Counter(splits.values()) == +Counter(counts)
    for kind in set(kinds):
        members = [patient for patient, its in given_kinds.items() if its == kind]
        for name in SPLITS:
            share = counts[name] / len(kinds) * len(members)
            assert abs(sum(splits[p] == name for p in members) - share) <= 2
    assert assign_splits(dict(reversed(given_kinds.items())), wanted, seed) == splits


def splits_of(path: Path) -> dict[str, str]:
    table = EchoStore(path).table
    return dict(zip(table["patient"], table["split"], strict=True))


def test_split_is_by_patient_seeded_and_leaves_the_held_out_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = many(tmp_path / "f.h5")
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("split", source, "--val=0.2", "--test=0.2", f"--seed={seed}", "--out", tmp_path / f"{out}.h5")
    said = capsys.readouterr().out
    assert "confirmatory" in said and "left in" in said
    a, b, c = (splits_of(tmp_path / f"{name}.h5") for name in "abc")
    assert a == b != c
    assert Counter(a.values()) == {"train": 9, "val": 3, "test": 8}
    assert all(a[f"p{n}"] == c[f"p{n}"] == "test" for n in range(15, 20))
    for name in SPLITS:  # both views in each
        assert {EchoStore(source).table.set_index("patient")["view"][p].iloc[0] for p in a if a[p] == name} == {
            "ME4C",
            "ME2C",
        }
    before, after = EchoStore(source), EchoStore(tmp_path / "a.h5")
    pd.testing.assert_frame_equal(before.table.drop(columns="split"), after.table.drop(columns="split"))
    assert after.provenance["from"][0]["hash"] == before.content_hash and after.provenance["seed"] == 1
    assert not [finding for finding in verify_store(after.path) if finding.error]


@pytest.mark.parametrize("by", split.BY)
def test_kinds_are_told_apart_by_what_is_named(tmp_path: Path, by: str) -> None:
    infos = [
        replace(INFO, key="a", patient="a"),
        replace(INFO, key="b", patient="b", view="other", phase="ES", origin="mask", mask_source="none", cohort="pool"),
    ]
    kinds = split.patient_kinds(EchoStore(write(tmp_path / "f.h5", *infos)), [by])
    assert len(set(kinds.values())) == 2
    assert by != "structures" or kinds["a"] == "LV LA RV RA"


@pytest.mark.parametrize("shares", [("0.5", "0.5"), ("-0.1", "0.2"), ("nan", "0")])
def test_shares_that_leave_no_training_are_refused(
    tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str], shares: tuple[str, str]
) -> None:
    said = refused(capsys, "split", tee_store, "--val", shares[0], "--test", shares[1], "--out", tmp_path / "g.h5")
    assert "leave some for train" in said or "expected one argument" in said


def test_a_store_of_held_out_patients_is_not_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "f.h5", *frames("p", split="test", cohort="test"))
    assert "held-out cohort" in refused(capsys, "split", path, "--val=0.2", "--test=0", "--out", tmp_path / "g.h5")


TABLES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["A4C", "A2C"]), st.sampled_from(["ED", "ES"])),
    min_size=1,
    max_size=40,
).map(
    lambda rows: pd.DataFrame(
        [(f"{n}", *row) for n, row in enumerate(rows)], columns=["key", "patient", "view", "phase"]
    )
)


@settings(deadline=None, max_examples=40)
@given(table=TABLES, count=st.integers(1, 40), seed=st.integers(0, 3))
def test_spread_is_even_and_nested(table: pd.DataFrame, count: int, seed: int) -> None:
    chosen = spread(table, count, seed)
    assert len(chosen) == min(count, len(table)) == len(set(chosen))
    assert set(chosen) <= set(spread(table, count + 1, seed))
    taken = table.iloc[chosen]["patient"].value_counts().reindex(table["patient"].unique(), fill_value=0)
    have = table["patient"].value_counts()
    most = taken.max()
    assert all(taken[p] >= most - 1 or taken[p] == have[p] for p in taken.index)
    for patient in taken.index:  # and over the views of each patient
        rows = table[table["patient"] == patient]
        views = table.iloc[chosen].query("patient == @patient")["view"].value_counts()
        for view, there in rows["view"].value_counts().items():
            assert views.get(view, 0) >= views.max() - 1 or views.get(view, 0) == there if len(views) else True


def test_a_choice_has_nothing_to_do_with_splits_by_hash() -> None:
    names = pd.Series([f"patient{n:04d}" for n in range(400)])
    first = seeded_order(names, 0)[:40]
    assert sum(unit_hash(name, 0) < 0.1 for name in first) < 15


def keys(path: Path) -> set[str]:
    return set(EchoStore(path).table["key"])


def test_subsets_are_nested_and_repeatable(tmp_path: Path) -> None:
    source = write(tmp_path / "f.h5", *(info for n in range(12) for info in frames(f"p{n:02d}", 8)))
    made = {}
    for name, line in {
        "5": ["--patients=5"],
        "10": ["--patients=10"],
        "again": ["--patients=5"],
        "other": ["--patients=5", "--seed=1"],
        "16": ["--patients=5", "--frames=16"],
        "20": ["--patients=5", "--frames=20"],
    }.items():
        run("subset", source, *line, "--out", tmp_path / f"{name}.h5")
        made[name] = keys(tmp_path / f"{name}.h5")
    assert made["5"] < made["10"] and made["16"] < made["20"] < made["5"]
    assert made["5"] == made["again"] != made["other"]
    assert EchoStore(tmp_path / "5.h5").content_hash == EchoStore(tmp_path / "again.h5").content_hash
    table = EchoStore(tmp_path / "20.h5").table
    assert set(table["patient"].value_counts()) == {4}
    assert set(table.groupby(["patient", "view", "phase"]).size()) == {1}
    rule = EchoStore(tmp_path / "20.h5").provenance
    assert (rule["made_by"], rule["patients"], rule["frames"], rule["seed"]) == ("subset", 5, 20, 0)


def test_filters_are_combined(tmp_path: Path) -> None:
    infos = [
        *frames("a", split="train", cohort="adaptation"),
        *frames("b", split="train", cohort="pool"),
        *frames("c", split="val", cohort="adaptation"),
        replace(INFO, key="d/0", patient="d", view="other", cohort="adaptation"),
        replace(INFO, key="d/1", patient="d", mask_source="none", cohort="adaptation"),
    ]
    source, out = write(tmp_path / "f.h5", *infos), tmp_path / "g.h5"
    for line, expected in {
        "--split train": {"a", "b", "d"},
        "--split train val --cohort adaptation": {"a", "c", "d"},
        "--view A4C A2C ME4C ME2C --labelled": {"a", "b", "c"},
        "--split train --cohort adaptation --labelled --view ME2C": {"a"},
        "--view other": {"d"},
    }.items():
        run("subset", source, *line.split(), "--out", out)
        assert set(EchoStore(out).table["patient"]) == expected, line
    run("subset", source, "--labelled", "--out", out)
    assert keys(source) - keys(out) == {"d/1"}


def test_a_cohort_is_set_where_that_is_no_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = many(tmp_path / "f.h5")
    out = tmp_path / "g.h5"
    run("subset", source, "--cohort", "none", "--set-cohort", "adaptation", "--out", out)
    assert set(EchoStore(out).table["cohort"]) == {"adaptation"}
    said = refused(capsys, "subset", source, "--set-cohort", "adaptation", "--out", tmp_path / "h.h5")
    assert "p15 is of the held-out cohort confirmatory" in said
    said = refused(capsys, "subset", source, "--cohort", "none", "--set-cohort", "test", "--out", tmp_path / "h.h5")
    assert "split test alone" in said
    assert not (tmp_path / "h.h5").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "is the store itself"),
        ("--seed 3", "--seed decides which"),
        ("--patients 9", "only 8 are there"),
        ("--split train --frames 9", "only 8 are there"),
        ("--view A4C", "no frame is left"),
        ("--patients 0", "no whole number of 1 or more"),
        ("--frames x", "no whole number of 1 or more"),
        ("--view PLAX", "invalid choice"),
    ],
)
def test_a_subset_that_cannot_be_is_refused(
    tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    assert says in refused(capsys, "subset", tee_store, *line.split(), "--out", tmp_path / "g.h5")
    assert not list(tmp_path.iterdir())
