"""The page and the files beside it: numbers come from the cells, and nothing else is needed to read it."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import cells as made
import cv2
import numpy as np
import pytest

from tte_tee.errors import UserError
from tte_tee.metrics.statistics import paired_differences, paired_interval
from tte_tee.report import figures, paper
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import Cell, by_test_set, read_cells
from tte_tee.report.write import write_report

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what a reader sees and what the page refers to."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.words, self.references, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def report(folder, out):
    notes = write_report(folder, out / "r.html", resamples=500)
    return Page((out / "r.html").read_text()), notes


@pytest.fixture
def folder(tmp_path):
    return made.study(tmp_path / "cells")


def write_picture(path):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


def test_the_page_is_whole_and_needs_nothing_beside_it(folder, tmp_path):
    write_picture(folder / "phantom" / "lora_mlp-ssm-1to1_seed0" / "gallery.webp")
    page, _ = report(folder, tmp_path)
    source = (tmp_path / "r.html").read_text()
    assert source.startswith("<!DOCTYPE html>")
    assert {"html", "head", "title", "main", "table", "img"} <= set(page.tags)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(
        ref.startswith(("data:image/svg+xml;base64,", "data:image/webp;base64,", "#")) for ref in page.references
    )
    assert not re.search(r"https?://|url\(|@import", source)
    anchors = [ref[1:] for ref in page.references if ref.startswith("#")]
    assert anchors
    assert all(f'id="{anchor}"' in source for anchor in anchors)


def test_no_folder_of_a_machine_is_told(folder, tmp_path):
    report(folder, tmp_path)
    for name in ("r.html", "r.md", "r.csv", "r.json"):
        text = re.sub(r"base64,[\w+/=]+", "", (tmp_path / name).read_text())
        assert str(tmp_path) not in text
        assert "/home" not in text
    assert "python -m tte_tee fit --config arm.yaml" in (tmp_path / "r.md").read_text()


def test_all_files_say_the_headline_that_the_statistics_give(folder, tmp_path):
    page, _ = report(folder, tmp_path)
    runs = []
    for arm in ("lora_mlp-ssm-1to1", "seg_pretrained_tte"):
        scores = [made.cell(arm, seed, made.GAINS[arm])["segmentation"]["patients"] for seed in range(4)]
        runs.append(
            [{p: 50 * sum(s["structures"][n]["dice"] for n in ("RV", "RA")) for p, s in one.items()} for one in scores]
        )
    expected = paired_interval(paired_differences(*runs)[0], resamples=500)
    words = f"{expected.estimate:+.2f} points, 95 % interval [{expected.low:+.2f}, {expected.high:+.2f}]: gain"
    assert words in page.text
    assert words in (tmp_path / "r.md").read_text()
    headline = json.loads((tmp_path / "r.json").read_text())["cohorts"][0]["headline"]
    assert (headline["low"], headline["high"]) == pytest.approx((expected.low, expected.high))
    rows = {(r["arm"], r["measure"]): r for r in csv.DictReader((tmp_path / "r.csv").read_text().splitlines())}
    line = rows["lora_mlp-ssm-1to1", "RV and RA"]
    assert float(line["difference"]) == pytest.approx(expected.estimate)
    assert float(line["low"]) <= expected.low, "simultaneous intervals are wider"
    assert (line["verdict"], line["seeds"], line["baseline"]) == ("gain", "0 1 2 3", "seg_pretrained_tte")


def test_the_headlines_means_are_over_the_seeds_of_its_difference(folder, tmp_path):
    arm, baseline = "lora_mlp-ssm-1to1", "seg_pretrained_tte"
    made.write(folder, made.cell(arm, 4, 0.25))  # a seed that the baseline lacks
    words = rf"([+-][\d.]+) points.*\({arm} ([\d.]+) % against {baseline} ([\d.]+) %; 4 seeds"
    said = re.search(words, report(folder, tmp_path)[0].text)
    difference, ours, theirs = map(float, said.groups())
    assert ours - theirs == pytest.approx(difference, abs=0.1)


CHANGES = {
    "Dice": lambda r: r["segmentation"]["patients"]["p00"]["structures"]["LV"].update(dice=0.05),
    "global": lambda r: r["segmentation"]["patients"]["p00"].update(global_dice=0.05),
    "validation": lambda r: r["validation"]["structures"].update(RV=0.05),
    "parameters": lambda r: r["adapter"].update(trained=123456),
    "share": lambda r: r["adapter"].update(share=0.4321),
    "time": lambda r: r["synthesis"].update(seconds=7777.0),
    "label": lambda r: r.update(label="another label"),
    "mask fidelity": lambda r: r["mask_fidelity"]["synthetic"]["summary"]["structures"]["RV"].update(dice=0.1),
    "fidelity": lambda r: r["fidelity"]["rows"][0]["synthetic"].update(mean=0.987),
    "floor": lambda r: r["fidelity"]["rows"][0]["floor"].update(mean=0.987),
    "copies": lambda r: r["copies"]["rates"]["ssm"]["any"].update(share=0.77),
    "false alarms": lambda r: r["copies"]["thresholds"]["correlation"]["false_alarms"].update(share=0.77),
    "memory": lambda r: r["segmenter"].update(peak_memory_mib=4321),
    "commit": lambda r: r["provenance"].update(commit="f" * 40 + "+changes"),
    "versions": lambda r: r["provenance"]["versions"].update(numpy="9.9"),
    "commands": lambda r: r["provenance"].update(commands=["python -m tte_tee other"]),
    "key": lambda r: r["provenance"].update(key="another"),
    "store": lambda r: r["fidelity"]["stores"]["real"].update(hash="d" * 64),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_cell_changes_the_page(folder, tmp_path, what, monkeypatch):
    monkeypatch.setattr(figures, "_svg", lambda figure: b"<?xml")  # the words are looked at; drawing takes long
    before, _ = report(folder, tmp_path)
    arm = "seg_real" if what == "validation" else "lora_mlp-ssm-1to1"
    record = made.cell(arm, 0, made.GAINS[arm])
    made.write(folder, record)
    assert report(folder, tmp_path)[0].text == before.text, "the same cells give the same page"
    CHANGES[what](record)
    made.write(folder, record)
    assert report(folder, tmp_path)[0].text != before.text


def test_cohorts_are_never_compared_and_development_is_marked(folder, tmp_path):
    alone, _ = report(folder, tmp_path)
    dice = json.loads((tmp_path / "r.json").read_text())["cohorts"][0]
    for arm in made.GAINS:
        for seed in range(4):
            made.write(folder / "pool", made.cell(arm, seed, 0.1, tested_on="pool"))
    page, notes = report(folder, tmp_path)
    cohorts = json.loads((tmp_path / "r.json").read_text())["cohorts"]
    assert [cohort["tested_on"] for cohort in cohorts] == ["test", "pool"]
    assert cohorts[0] == dice
    assert "(development)" not in alone.text
    assert "phantom, pool (development)" in page.text
    assert any("nothing here is a result" in note for note in notes)


def test_cells_made_differently_are_warned_of(folder, tmp_path):
    arm = "lora_mlp-ssm-1to1"
    origin = {"commit": "f" * 40 + "+changes", "versions": {"numpy": "2.5"}}
    made.write(folder, made.cell(arm, 3, 0.08, provenance=origin, adapter={**made.ADAPTER, "rank": 8}))
    (folder / "phantom" / "seg_real_seed2.json").unlink()
    made.write(folder / "other", made.cell("seg_real", 2, 0, store={"name": "test.h5", "hash": "e" * 64}))
    page, notes = report(folder, tmp_path)
    for said in (
        "Cells come from 2 commits: 0123456789ab, ffffffffffff+changes",
        "Uncommitted changes were in the code at ffffffffffff+changes",
        "numpy 2.4.6, 2.5",
        "test stores differ",
        "seg_real lacks 2",
        f"cells of arm {arm} differ in more than their seed",
    ):
        assert any(said in note for note in notes), said
        assert said in page.text


def test_what_was_to_be_checked_is_answered_or_not_yet_computed(folder, tmp_path):
    report(folder, tmp_path)
    record = json.loads((tmp_path / "r.json").read_text())
    first, later = ([answer["status"] for answer in record[part]] for part in ("first", "next"))
    missing = "not yet computed"
    assert first == ["answered", missing, "not estimable"]
    assert later == [missing, missing, "answered", missing]
    for seed in range(4):
        alone = {**made.SYNTHESIS, "ratio": None}
        made.write(folder, made.cell("lora_alone", seed, -0.1, synthesis=alone))
        made.write(folder, made.cell("lora_few", seed, -0.1) | {"patients": 5})
    made.write(folder, made.cell("lora_cine", 0, 0, study="tee_cine") | _only("LV", "LA"))
    page, _ = report(folder, tmp_path)
    record = json.loads((tmp_path / "r.json").read_text())
    assert [answer["status"] for answer in record["next"]] == ["answered"] * 4
    assert record["first"][1]["status"] == "answered"
    assert "lora_alone: loss of LV" in page.text


def _only(*names):
    segmentation = made.cell("lora_cine", 0, 0)["segmentation"]
    segmentation["summary"]["structures"] = {name: {} for name in names}
    return {"segmentation": segmentation}


def test_our_arms_stand_under_the_papers_rows_of_their_scope_and_masks(folder, tmp_path):
    report(folder, tmp_path)
    tables = json.loads((tmp_path / "r.json").read_text())["tables"]
    rows = next(t["rows"] for t in tables if t["section"].startswith("The paper's table"))
    ours = next(n for n, row in enumerate(rows) if row[1].startswith("lora_mlp-ssm-1to1"))
    assert rows[ours - 1][:4] == ["paper", "CA + Linear (MLP)", "0.69 M (3 %)", "ssm"]
    assert rows[ours][2] == "91,904 (1.60 %)"
    assert rows[-1][1].startswith("seg_pretrained_tte")


def test_changes_beside_the_papers_are_over_real_frames_alone_and_then_over_the_best_baseline(folder, tmp_path):
    report(folder, tmp_path)
    record = json.loads((tmp_path / "r.json").read_text())
    table = next(t for t in record["tables"] if t["section"].startswith("The paper's table"))
    over = table["header"].index("change over")
    own = [row for row in table["rows"] if row[1].startswith("lora_mlp-ssm-1to1")]
    assert [row[over] for row in own] == ["seg_real", "seg_pretrained_tte"]
    for row, points in zip(own, (8, 6), strict=True):
        assert [float(words.split()[0]) for words in row[over + 1 :]] == pytest.approx([points] * 4, abs=0.5)
    assert {row[over] for row in table["rows"] if row[0] == "paper"} == {"real frames only", "its own: absolute"}


def test_a_study_of_another_endpoint_is_judged_by_it(folder, tmp_path):
    for arm, gain in made.GAINS.items():
        for seed in range(4):
            cell = made.cell(arm, seed, gain, study="camus20")
            cell["segmentation"]["summary"]["structures"] = {"LV": {}, "LA": {}}
            made.write(folder, cell | {"validation": {"dice": 0.7, "structures": {"LA": 0.6 + gain}}})
    report(folder, tmp_path)
    phantom, camus = json.loads((tmp_path / "r.json").read_text())["cohorts"]
    assert (phantom["study"], camus["study"]) == ("phantom", "camus20")
    assert camus["baseline"]["by"] == "LA on validation patients"
    assert camus["headline"]["verdict"] == "gain"
    assert "against seg_pretrained_tte, Dice, LA: +" in (tmp_path / "r.md").read_text()


def test_every_row_of_the_paper_matches_its_own_scope_alone(tmp_path):
    for row in paper.ROWS:
        adapter = {"method": "lora" if row.scope else "scratch", "scope": sorted(row.scope)}
        synthesis = {"masks": row.masks, "ratio": 1.0}
        cell = Cell("x", tmp_path, {"adapter": adapter, "synthesis": synthesis})
        assert [other for other in paper.ROWS if other.matches(cell)] == [row]
        assert not row.matches(Cell("x", tmp_path, {"adapter": adapter, "synthesis": {**synthesis, "ratio": 2.0}}))


def test_pictures_beside_the_cells_are_shown_and_others_named(folder, tmp_path):
    beside = folder / "phantom" / "lora_mlp-ssm-1to1_seed0"
    for name in ("drawn.webp", "gallery.webp", "worst.webp", "cases_RV.webp"):
        write_picture(beside / name)
    (beside / "ssm.webp").write_text("no picture")
    page, _ = report(folder, tmp_path)
    assert sum(ref.startswith("data:image/webp") for ref in page.references) == 4
    for said in ("masks that frames were drawn for", "the pairs that are likest to a", "worst and median cases, RV"):
        assert f"lora_mlp-ssm-1to1, seed 0: {said}" in page.text
    assert "mean and modes of the shape model: the file is no picture" in page.text


def test_words_of_a_cell_are_words_on_the_page(folder, tmp_path):
    hostile = "<script>alert(\"1\")</script> | & 'x'"
    for seed in range(4):
        made.write(folder, made.cell("lora_mlp-ssm-1to1", seed, 0.08, label=hostile))
    page, _ = report(folder, tmp_path)
    assert hostile in page.text
    assert "script" not in page.tags
    lines = [line for line in (tmp_path / "r.md").read_text().splitlines() if line.startswith("| lora_mlp-ssm-1to1 |")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if "script" in line} == {15}


PARTS = (
    "The paper's table beside ours",
    "By rank, ratio and number of patients",
    "Fidelity, masks and parameters against Dice",
    "Parameters, time and memory",
    "Galleries at fixed masks",
    "Shape-model masks and their frames",
    "Frames in feature space",
    "Copies",
    "Worst cases",
)


def test_baselines_alone_give_a_page_that_says_what_is_missing(folder, tmp_path):
    for path in (folder / "phantom").glob("lora*"):
        path.unlink()
    page, _ = report(folder, tmp_path)
    text = (tmp_path / "r.md").read_text()
    for part in PARTS:
        body = text.partition(f"### {part}: phantom, test\n")[2].partition("\n#")[0]
        assert body.strip(), part
        assert part in PARTS[:1] + PARTS[3:4] or "ot yet computed" in body, part
    assert "not estimable: no arm is lora_mlp of rank 4" in page.text
    assert "No cell has a LoRA adapter" in page.text


def test_one_arm_without_a_baseline_gives_a_page(tmp_path):
    made.write(tmp_path / "cells", made.cell("lora_mlp-ssm-1to1", 0, 0))
    page, _ = report(tmp_path / "cells", tmp_path)
    assert "No differences: no real-only baseline" in page.text


def test_what_stands_beside_a_new_page_is_not_replaced(folder, tmp_path):
    (tmp_path / "r.md").write_text("mine")
    with pytest.raises(UserError, match=r"r\.md: is there"):
        write_report(folder, tmp_path / "r.html", resamples=500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "r.md"]


def test_a_report_of_an_earlier_day_is_replaced(folder, tmp_path):
    report(folder, tmp_path)
    (folder / "phantom" / "seg_real_seed3.json").unlink()
    page, _ = report(folder, tmp_path)
    assert "15 cells" in page.text
    assert "15 cells" in (tmp_path / "r.md").read_text()


def test_plots_are_of_the_cells_and_of_nothing_else(folder):
    def drawn():
        (cohort,) = by_test_set(read_cells(folder)[0])
        analysis = Analysis(cohort, 500)
        return [figures.dice_by_arm(analysis, "RV"), figures.differences(analysis, "RV")]

    before = drawn()
    assert drawn() == before
    made.write(folder, made.cell("lora_mlp-ssm-1to1", 0, 0.1))
    assert all(new != old for new, old in zip(drawn(), before, strict=True))


def test_the_report_needs_no_torch():
    code = "import sys, tte_tee.report.write; assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
