"""Model cards, datasheets of generated stores, the CLAIM table: what the record says, no patient and no place."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Train, generated, make_base
from safetensors.torch import load_file

from tte_tee.anatomy import TEE
from tte_tee.cli import main
from tte_tee.data.curate.card import write_card
from tte_tee.models.card import adapter_card, base_card, segmenter_card
from tte_tee.models.folders import LORA_WEIGHTS, adapter_hash, load_adapter, load_base
from tte_tee.models.segmenter import Segmenter, SegmenterConfig, save_segmenter
from tte_tee.report.claim import claim_table

PATIENTS = [f"{split}{n}" for split, count in (("train", 4), ("val", 2), ("test", 2)) for n in range(count)]


def names_nobody(text: str) -> bool:
    """No patient of the tiny stores, and no absolute path."""
    return not any(re.search(rf"\b{name}\b", text) for name in PATIENTS) and not re.search(r"(?<![\w.:/<])/\w", text)


def row(text: str, name: str) -> str:
    """The second cell of a table's row."""
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |")).split(" | ")[1].rstrip(" |")


@pytest.fixture
def record(lora_run: Path) -> dict[str, Any]:
    return json.loads((lora_run / "adapter/adapter.json").read_text())


@pytest.fixture
def rule(lora_run: Path) -> dict[str, Any]:
    return json.loads((lora_run / "adapter/maskr2.json").read_text())


def test_an_adapter_has_a_card(lora_run: Path, record: dict[str, Any], tiny_base: Path) -> None:
    folder = lora_run / "adapter"
    text = (folder / "README.md").read_text()
    assert names_nobody(text) and str(tiny_base) not in text
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "peft" and "lora" in front["tags"]
    assert row(text, "base") == f"`tiny`, hash `{load_base(str(tiny_base)).hash}`"
    assert row(text, "hash of weights and rule") == f"`{load_adapter(folder).hash}`" == f"`{adapter_hash(folder)}`"
    assert row(text, "scope") == "cross_attention, convolution"
    assert row(text, "rank, alpha") == "4, 4"  # by default, and recorded
    trained = sum(weight.numel() for weight in load_file(folder / LORA_WEIGHTS).values())
    assert row(text, "trained parameters").startswith(f"{trained:,} (")
    assert [row(text, name) for name in TEE.structures] == ["LV", "LA", "LV_epi", "LV_epi"]
    assert row(text, "split train") == "4 patients, 8 frames" and row(text, "split val") == "2 patients, 4 frames"
    assert row(text, "store") == f"`tee.h5`, content hash `{record['data']['hash']}`"
    assert row(text, "licence") == "CC0-1.0" and row(text, "optimiser steps") == "3"
    assert re.findall(r"\d{4}-\d\d-\d\dT[\d:+]+", text) == [record["time"]]
    assert "no medical device" in text and "Trained on 4 patients" in text
    assert 'PeftModel.from_pretrained(unet, "ADAPTER")' in text


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"base": "/home/somebody/runs/b1"}, "base", "`b1`, hash `0`"),
        ({"base_hash": "1"}, "base", "`tiny`, hash `1`"),
        ({"steps": 77}, "optimiser steps", "77"),
        ({"parameters": {"trained": 1234, "share": 0.5}}, "trained parameters", "1,234 (50.00% of the network)"),
        ({"seen": ["a", "b", "c"], "base_seen": ["a"]}, "patients known, in all", "3, 1 of them by way of the base"),
        ({"time": "2020-01-01"}, "time", "2020-01-01"),
    ],
)
def test_a_changed_record_changes_the_card(
    record: dict[str, Any], rule: dict[str, Any], change: dict[str, Any], name: str, value: str
) -> None:
    text = adapter_card({**record, "base_hash": "0", **change}, rule, "h")
    assert row(text, name) == value
    assert names_nobody(text)
    assert text == adapter_card({**record, "base_hash": "0", **change}, rule, "h")


def test_the_card_of_a_method_teaches_how_it_is_loaded(record: dict[str, Any], rule: dict[str, Any]) -> None:
    texts = {method: adapter_card({**record, "method": method}, rule, "h") for method in ("full", "none")}
    assert 'from_pretrained("ADAPTER/unet")' in texts["full"] and "peft" not in texts["full"].split("## Loading")[1]
    assert 'from_pretrained("BASE/unet")' in texts["none"] and "rank, alpha" not in texts["none"]


def test_a_learnt_rule_and_background_are_said(record: dict[str, Any], rule: dict[str, Any]) -> None:
    place = {**rule["place"], "RA": None}
    text = adapter_card(record, {**rule, "learnable": True, "place": place}, "h")
    assert row(text, "RA") == "background" and "A matrix of 12 entries, learnt" in text


def test_a_record_of_little_gives_a_short_card(rule: dict[str, Any]) -> None:
    text = adapter_card({"method": "lora", "base": "b", "base_hash": "x"}, rule, "h")
    assert "Not recorded." in text and "None" not in text


def test_a_base_has_a_card(tmp_path: Path, train_base: Train) -> None:
    folder = train_base(tmp_path) / "base"
    text = (folder / "README.md").read_text()
    assert names_nobody(text)
    assert row(text, "structures") == "LV, LV_epi, LA" and row(text, "frames") == "16x16"
    assert row(text, "hash of weights and shape") == f"`{load_base(str(folder)).hash}`"
    values = json.loads((folder / "base.json").read_text())
    values["denoiser"]["image_size"] = 32
    assert row(base_card(values, "h"), "frames") == "32x32"
    assert "Not recorded." in (make_base(tmp_path / "b") / "README.md").read_text()


def test_a_segmenter_has_a_card(tmp_path: Path) -> None:
    config = SegmenterConfig(channels=(4, 8, 8))
    data = {"store": "r.h5", "hash": "1", "learnt_from": {"train": {"patients": 20, "frames": 160}}}
    record = {"data": data, "val_dice": 0.8125, "seen": ["train0"]}
    save_segmenter(tmp_path / "s", Segmenter(config, TEE.structures), TEE, (16, 24), record)
    text = (tmp_path / "s/README.md").read_text()
    assert names_nobody(text)
    assert row(text, "frames") == "16x24" and row(text, "network") == "unet (MONAI), channels 4, 8, 8"
    assert row(text, "Dice on validation patients").startswith("81.2 %")
    assert "patients at large" not in text
    values = json.loads((tmp_path / "s/segmenter.json").read_text())
    values["provenance"]["data"]["synthetic"] = {"store": "s.h5", "hash": "2", "frames": 320}
    assert row(segmenter_card(values, "h"), "synthetic frames") == "320 of `s.h5`, content hash `2`"


# datasheets of generated stores


def test_a_generated_store_has_a_datasheet(lora_run: Path, tee_store: Path, tmp_path: Path) -> None:
    words = [f"--adapter={lora_run / 'adapter'}", f"--masks={tee_store}", "--steps=2", "--seed=9", "--split=train"]
    main(["synthesize", *words, f"--out={tmp_path / 's.h5'}", "--samples-per-mask=2"])
    text = (tmp_path / "s.md").read_text()
    assert names_nobody(text) and str(tmp_path) not in text
    loaded = load_adapter(lora_run / "adapter")
    for name, value in {
        "adapter": loaded.hash,
        "base": loaded.record["base_hash"],
        "method": "lora",
        "sampling: steps": "2",
        "sampling: seed": "9",
        "masks: store": "tee.h5",
        "masks made by": "phantom (16 frames)",
        "frames per mask": "2",
        "patients known to adapter, base or masks": "6, 0 of them by way of the base",
    }.items():
        assert row(text, name) == value
    main(["synthesize", *words, f"--out={tmp_path / 's.h5'}"])  # its own datasheet is replaced
    assert row((tmp_path / "s.md").read_text(), "frames per mask") == "1"


def test_a_note_is_not_replaced_by_a_datasheet(
    lora_run: Path, tee_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "# s.h5\nmy notes on that store"
    (tmp_path / "s.md").write_text(note)
    words = [f"--adapter={lora_run / 'adapter'}", f"--masks={tee_store}", "--steps=2", "--split=val"]
    with pytest.raises(SystemExit):
        main(["synthesize", *words, f"--out={tmp_path / 's.h5'}"])
    assert "is there and is no datasheet of s.h5" in capsys.readouterr().err
    assert (tmp_path / "s.md").read_text() == note and len(list(tmp_path.iterdir())) == 1  # nothing was drawn
    with pytest.raises(SystemExit):
        main(["synthesize", *words, f"--out={tmp_path / 'store.md'}"])
    assert "has the name of its own datasheet; give one such as store.h5" in capsys.readouterr().err


def test_who_lent_a_mask_is_not_named(tee_store: Path, tmp_path: Path) -> None:
    record = {"seen": ["Doe^Jane"], "mask_seen": ["Doe^Jane"], "base_seen": []}
    path = write_card(generated(tee_store, tmp_path / "s.h5", record=record))
    assert "Doe" not in path.read_text()


# CLAIM


SCORES = {"dice": 0.7512, "hd95": 4.256, "cases": {"missed": 1, "invented": 2, "both empty": 4}}
METRICS: dict[str, Any] = {
    "commit": "c0ffee",
    "split": "test",
    "cohort": None,
    "segmenter": {"hash": "5e9" * 8},
    "store": {"name": "test.h5", "hash": "ab" * 32},
    "unit": "mm",
    "frames_without_spacing": 3,
    "tolerance": "2 mm",
    "rules": {"text": "both empty: left out"},
    "summary": {"patients": 7, "frames": 28, "structures": {"LV": SCORES, "RV": {**SCORES, "dice": None}}},
    "patients": {"test0": {}},
    "cases": [{"key": "test0/ME4C", "patient": "test0"}],
    "clinical": {
        "agreement": {
            "LV volume": {"unit": "ml", "bias": 2.5, "lower": -10.0, "upper": 15.0, "n": 7, "level": 0.95},
            "LV length": {"unit": "mm", "not_estimable": "test0 alone"},
        },
        "frames": [{"patient": "test0"}],
    },
}
SEGMENTER: dict[str, Any] = {
    "network": {"network": "unet", "channels": [4, 8, 8], "dropout": 0.0},
    "label_space": {"name": "tee", "structures": ["LV", "RV"]},
    "image_size": [64, 64],
    "provenance": {
        "tte_tee": "0.1",
        "versions": {"torch": "2"},
        "steps": 600,
        "val_dice": 0.8,
        "seen": ["train0", "train1", "val0"],
        "config": {
            "model": {"init_args": {"pretrained": "/home/me/runs/tte", "learning_rate": 0.005, "seed": 4}},
            "data": {"init_args": {"real": "/data/r.h5", "augmentation": "strong", "ratio": 2.0, "patients": 5}},
        },
        "data": {
            "store": "r.h5",
            "hash": "cd" * 32,
            "licence": "CC0",
            "learnt_from": {"train": {"patients": 5, "frames": 40}},
            "synthetic": {"store": "s.h5", "hash": "ef" * 32, "frames": 80},
        },
    },
}


def answer(text: str, item: str) -> str:
    """The third cell of an item's row."""
    return next(line for line in text.splitlines() if line.startswith(f"| {item}")).split(" | ")[2].rstrip(" |")


def test_claim_answers_what_the_records_say() -> None:
    text = claim_table(METRICS, SEGMENTER)
    assert names_nobody(text) and "| CLAIM item | where answered | answer |" in text
    assert "after CLAIM 2024" in text
    assert answer(text, "Sources") == (
        "trained on `r.h5` (cdcdcdcdcdcd) and generated `s.h5` (efefefefefef); tested on `test.h5` (abababababab)"
    )
    assert answer(text, "How data were assigned") == (
        "train: 5 patients, 40 frames; 80 generated frames beside; tested on split test"
    )
    assert "none of the 7 tested is among the 3 known" in answer(text, "Level at which")
    assert answer(text, "Initial weights") == "weights of the segmenter `tte`"
    assert answer(text, "How the final model").endswith("(Dice 80.0 %)")
    assert answer(text, "Performance on") == "LV: Dice 75.1 %, HD95 4.26 mm; RV: Dice -, HD95 4.26 mm"
    assert answer(text, "Estimates") == "LV volume: bias 2.5, limits -10 to 15 ml (n = 7)"
    assert answer(text, "Where it fails") == "LV: missed 1, invented 2; RV: missed 1, invented 2"
    for item in ("Eligibility", "De-identification", "Funding", "Limitations", "Who annotated", "Aims"):
        assert answer(text, item) == "for the authors"


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy = deepcopy(values)
    *way, last = path.split(".")
    part = copy
    for step in way:
        part = part[step]
    part[last] = value
    return copy


@pytest.mark.parametrize(
    ("record", "path", "value", "item", "says"),
    [
        ("metrics", "cohort", "confirmatory", "How data were assigned", "cohort confirmatory"),
        ("metrics", "frames_without_spacing", 9, "Missing data", "9 frames without spacing"),
        ("metrics", "summary.structures.LV.dice", 0.5, "Performance on", "LV: Dice 50.0 %"),
        ("metrics", "clinical.agreement", {}, "Estimates", "not estimable"),
        ("segmenter", "provenance.config.model.init_args.pretrained", None, "Initial weights", "random, seed 4"),
        ("segmenter", "provenance.config.data.init_args.patients", None, "Choice of subsets", "no subset drawn"),
        ("metrics", "store.hash", "cd" * 32, "Test on", "the store that training took its split from"),
        ("segmenter", "provenance.steps", 17, "Training", "17 steps"),
        ("segmenter", "provenance.data", {}, "Sources", "training store not recorded"),
        ("segmenter", "provenance", {}, "Software", "not recorded"),
        ("segmenter", "network.network", "dynunet", "The model", "MONAI dynunet"),
    ],
)
def test_claim_follows_the_records(record: str, path: str, value: Any, item: str, says: str) -> None:
    records = {"metrics": METRICS, "segmenter": SEGMENTER}
    assert says not in answer(claim_table(**records), item)
    text = claim_table(**{**records, record: changed(records[record], path, value)})
    assert says in answer(text, item) and names_nobody(text)


def test_evaluate_leaves_the_checklist_beside_its_metrics(tee_store: Path, tmp_path: Path) -> None:
    config = SegmenterConfig(channels=(4, 8, 8))
    save_segmenter(tmp_path / "s", Segmenter(config, TEE.structures), TEE, (16, 16), {"seen": ["train0"]})
    out = tmp_path / "judged"
    main(["evaluate", "segmenter", f"--segmenter={tmp_path / 's'}", f"--store={tee_store}", f"--out={out}"])
    text = (out / "CLAIM.md").read_text()
    assert text == claim_table(
        json.loads((out / "metrics.json").read_text()), json.loads((tmp_path / "s/segmenter.json").read_text())
    )
    assert names_nobody(text) and str(tmp_path) not in text
