"""Looking after stores: nobody leaks, choices are nested and repeatable, and what is shown is what is there."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import draw_frame
from curating import INFO, frames, refused, run, write
from hypothesis import given, settings
from hypothesis import strategies as st

from tte_tee.anatomy import STRUCTURES, TEE, VIEWS, LabelSpace
from tte_tee.cli import curate as words
from tte_tee.cli import main
from tte_tee.data.curate import split
from tte_tee.data.curate.card import card
from tte_tee.data.curate.choose import seeded_order, spread
from tte_tee.data.curate.copying import join_licences
from tte_tee.data.curate.numbers import count_store, structure_table
from tte_tee.data.curate.split import assign_splits, largest_remainder
from tte_tee.data.curate.verify import verify_store
from tte_tee.data.splits import unit_hash
from tte_tee.data.store import COHORTS, SPLITS, EchoStore, FrameInfo, StoreWriter

# merge


def test_merge_keeps_every_frame_and_remembers_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        EchoStore(write(tmp_path / "a.h5", *frames("p1"), licence="A")),
        EchoStore(write(tmp_path / "b.h5", *frames("p2", cohort="test", split="test"), licence="B; cite C")),
        EchoStore(write(tmp_path / "c.h5", replace(INFO, key="p1/more", patient="p1"), licence="A")),
    ]
    run("merge", *(part.path for part in parts), "--out", tmp_path / "m.h5")
    merged = EchoStore(tmp_path / "m.h5")
    pd.testing.assert_frame_equal(merged.table, pd.concat([part.table for part in parts], ignore_index=True))
    for frame, expected in zip(merged, (frame for part in parts for frame in part), strict=True):
        np.testing.assert_array_equal(frame, expected)
    assert merged.licence == "A AND B; cite C"
    assert merged.command.startswith("python -m tte_tee data merge ") and "--out" in merged.command
    assert [part["hash"] for part in merged.provenance["from"]] == [part.content_hash for part in parts]
    assert [part["command"] for part in merged.provenance["from"]] == ["a test"] * 3
    assert "left in" in capsys.readouterr().out
    assert not [finding for finding in verify_store(merged.path) if finding.error]


def test_licences_are_named_once() -> None:
    assert join_licences(["CC BY-NC", "CC BY", "CC BY AND MIT"]) == "CC BY-NC AND CC BY AND MIT"


@pytest.mark.parametrize(
    ("infos", "options", "says"),
    [
        (frames("q"), {"space": LabelSpace("tee", ("LA", "LV", "RV", "RA"))}, "hold LA, LV, RV, RA, those of"),
        (frames("q"), {"size": 8}, "b.h5: frames are 8x8, those of"),
        (frames("p", 1), {}, "frame key p/0 stands in"),
        ([replace(INFO, key="x", split="test")], {}, "patient p stands in split train of"),
        ([replace(INFO, key="x", cohort="pool")], {}, "patient p stands in cohort none of"),
    ],
)
def test_what_does_not_go_together_is_not_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], infos: list[FrameInfo], options: dict, says: str
) -> None:
    a, b = write(tmp_path / "a.h5", *frames("p")), write(tmp_path / "b.h5", *infos, **options)
    said = refused(capsys, "merge", a, b, "--out", tmp_path / "m.h5")
    assert says in said and "a.h5" in said and "b.h5" in said
    assert not (tmp_path / "m.h5").exists()


def test_one_store_is_not_merged(tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two stores or more" in refused(capsys, "merge", tee_store, "--out", tmp_path / "m.h5")


@pytest.mark.parametrize(
    "line", [["merge", "{}", "{}"], ["split", "{}", "--val=0", "--test=0"], ["subset", "{}", "--frames=1"]]
)
def test_what_is_read_is_not_written_over(tmp_path: Path, line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "f.h5", *frames("p"))
    (tmp_path / "g.h5").hardlink_to(path)
    before = path.read_bytes()
    for out in (path, tmp_path / "g.h5"):
        assert "is the store that is read" in refused(capsys, *(word.format(path) for word in line), "--out", out)
    (tmp_path / "text").write_text("a note")
    assert "no echo store" in refused(capsys, *(word.format(path) for word in line), "--out", tmp_path / "text")
    assert path.read_bytes() == before


# split


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


def many(path: Path) -> Path:
    """Twenty patients: half with one view, half with the other; five of them held out."""
    infos = []
    for n in range(20):
        held = {"cohort": "confirmatory", "split": "test"} if n >= 15 else {"cohort": "none", "split": "train"}
        infos += [replace(f, view=("ME4C", "ME2C")[n % 2]) for f in frames(f"p{n:02d}", 2, **held)]
    return write(path, *infos)


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


# subset


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


# inspect and card


def odd(path: Path) -> Path:
    """A frame without a mask, a mask without a picture, a generated frame, and one with everything unknown."""
    return write(
        path,
        replace(INFO, key="a", mask_source="none", sector_confidence=0.25),
        replace(INFO, key="b", origin="mask", mask_source="ssm", cohort="none"),
        replace(INFO, key="c", origin="generated", parent="b", spacing=None),
        replace(INFO, key="d" * 90, view="other", phase="unknown", spacing=None),
        space=LabelSpace("all", tuple(STRUCTURES)),
    )


def test_numbers_are_those_of_the_pixels(tmp_path: Path) -> None:
    store = EchoStore(odd(tmp_path / "f.h5"))
    numbers = count_store(store)
    assert (numbers.frames, numbers.patients, numbers.labelled, numbers.sampled) == (4, 1, 3, 3)
    assert (numbers.estimated, numbers.doubtful, len(numbers.spaced)) == (1, 1, 2)
    shares, areas = [], []
    for i in (1, 2, 3):
        _, mask, sector = store.frame(i)
        if n := (mask == 2).sum():
            shares.append(n / sector.sum())
            areas += [n * 0.25 / 100] * (i == 1)
    epi = numbers.structures[1]
    assert (epi.name, epi.frames) == ("LV_epi", len(shares))
    assert epi.area == pytest.approx(np.mean(shares))
    assert epi.area_cm2 == (pytest.approx(np.mean(areas)) if areas else None)


def test_a_large_store_is_sampled_and_says_so(tee_store: Path) -> None:
    numbers = count_store(EchoStore(tee_store), sample=5)
    assert numbers.sampled == 5 and all(s.frames <= 5 for s in numbers.structures)
    assert "over 5 of 16 frames with a mask" in structure_table(numbers).title
    assert count_store(EchoStore(tee_store), sample=5).structures == numbers.structures


def test_inspect_shows_what_there_is(tmp_path: Path, tee_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", tee_store)
    said = capsys.readouterr().out
    for word in ("CC0-1.0", "16 of 8 patients", "tee: LV, LA, RV, RA", "train", "ME2C", "phantom", "cm²", "2 x 1.5"):
        assert word in said, word


def test_inspect_of_odd_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", odd(tmp_path / "f.h5"), "--png", tmp_path / "f.png")
    said = capsys.readouterr().out
    assert "3 of 4" not in said.split("Spacing")[0] and "over all 3 frames with a mask" in said
    bare = write(tmp_path / "bare.h5", replace(INFO, mask_source="none"))
    run("inspect", bare, "--png", tmp_path / "bare.png", "--frames", 3)
    assert "no frame has a mask" in capsys.readouterr().out
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("f.png", "bare.png"))


@pytest.mark.parametrize("size", [16, 300])
def test_the_picture_shows_frames_and_masks_in_their_colours(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "f.h5", *frames("p"), *frames("q"), size=size)
    run("inspect", path, "--png", tmp_path / "f.png", "--frames", 4)
    picture = cv2.imread(str(tmp_path / "f.png"))[..., ::-1]
    assert all((picture == STRUCTURES[name].colour).all(axis=-1).any() for name in TEE.structures)
    run("inspect", path, "--png", tmp_path / "g.png", "--frames", 8)
    assert cv2.imread(str(tmp_path / "g.png")).size > picture.size


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["inspect", "--frames", "3"], "--png"),
        (["inspect", "--png", "f.h5"], ".png"),
        (["inspect", "--png", "folder.png"], "no file that can be replaced"),
        (["inspect", "--png", "pipe.png"], "no file that can be replaced"),
        (["card", "--out", "f.h5"], ".md"),
        (["card", "--out", "note/c.md"], "cannot write there"),
    ],
)
def test_pictures_and_cards_replace_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = write(tmp_path / "f.h5", INFO)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "note").write_text("")
    before = sorted(tmp_path.iterdir())
    assert says in refused(capsys, line[0], store, *line[1:])
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "pipe.png").is_fifo() and EchoStore(store)


def test_a_card_says_what_limits_the_store(tmp_path: Path) -> None:
    text = card(count_store(EchoStore(odd(tmp_path / "f.h5"))))
    for words_ in (
        "single-patient demonstration",
        "2 of 4 frames distances and areas are in pixels",
        "1 of 4 frames the edge of the sector is a guess, 1 of them",
        "1 of 4 frames have no mask",
        "Synthetic pictures: 1 of 4 frames",
        "1 of 4 frames are black",
        "the generator knows no plane for 1 of 4",
        "Licence: CC0-1.0.",
        EchoStore(tmp_path / "f.h5").content_hash,
    ):
        assert words_ in text, words_


def test_a_card_repeats_and_names_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(tmp_path / "f.h5")
    run("subset", tmp_path / "f.h5", "--patients=12", "--out", tmp_path / "g.h5")
    capsys.readouterr()
    run("card", tmp_path / "g.h5")
    printed = capsys.readouterr().out
    run("card", tmp_path / "g.h5", "--out", tmp_path / "new" / "g.md")
    assert (tmp_path / "new" / "g.md").read_text() == printed
    assert str(tmp_path) not in printed and "data subset f.h5 --patients=12 --out g.h5" in printed
    assert "held out" in printed and '"made_by": "subset"' in printed
    assert "Known limits" in printed and "acquired from a patient" not in printed


def test_provenance_of_any_length_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with StoreWriter(path, TEE, licence="x", command="x", provenance=json.dumps({"long": "x" * 200_000})) as writer:
        writer.append(*draw_frame(4, 0), INFO)
        writer.append(*draw_frame(4, 1), replace(INFO, key="b"))
    run("subset", path, "--frames=1", "--out", tmp_path / "g.h5")
    assert EchoStore(tmp_path / "g.h5").provenance["from"][0]["provenance"]["long"] == "x" * 200_000


# the command line


def test_the_words_of_the_options_are_those_of_the_store() -> None:
    assert (SPLITS, COHORTS, tuple(VIEWS), split.BY) == (words.SPLITS, words.COHORTS, words.VIEWS, words.BY)


@pytest.mark.parametrize("command", ["inspect", "verify", "merge", "split", "subset", "card"])
def test_each_command_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert not stop.value.code
    assert f"example:\n  python -m tte_tee data {command} " in capsys.readouterr().out
    main(["--help"])
    assert f"\n  data {command} " in capsys.readouterr().out


def test_brackets_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", write(tmp_path / "a[b].h5", INFO, licence="as [/stated] in [red]"))
    said = capsys.readouterr().out
    assert "as [/stated] in [red]" in said
    (tmp_path / "a[b].h5").unlink()
    with pytest.raises(SystemExit):
        run("verify", tmp_path / "a[b].h5")
    assert "a[b].h5: no such echo store" in capsys.readouterr().out


def test_a_missing_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        ["inspect"],
        ["card"],
        ["subset", "--frames=1", "--out=x.h5"],
        ["split", "--val=0", "--test=0", "--out=x.h5"],
    ):
        assert "no such echo store" in refused(capsys, line[0], tmp_path / "f.h5", *line[1:])
