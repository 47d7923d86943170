"""``evaluate compare``: intervals are those of the statistics, and only what was scored alike is compared."""

import json
from pathlib import Path
from typing import Any

import cells as made
import numpy as np
import pytest
from scipy import stats

from tte_tee.cli import main
from tte_tee.metrics.statistics import paired_differences, patient_intervals, simultaneous_intervals
from tte_tee.report.compare import scores_of
from tte_tee.report.judged import contrast, read_judged

ARM = "lora_mlp-ssm-1to1"


def judged(folder: Path, arm: str, seed: int, **changes: Any) -> Path:
    """A folder as ``evaluate segmenter`` leaves it."""
    cell = made.cell(arm, seed, made.GAINS[arm], patients=changes.pop("patients", 10))
    scored = cell["segmentation"]
    record = {
        **scored,
        "store": cell["store"],
        "rules": {"id": "empty-1"},
        "cases": [{"key": f"{patient}/ED", "patient": patient} for patient in scored["patients"]],
        "segmenter": {"hash": f"{arm}{seed}"},
        **changes,
    }
    path = folder / f"{arm}{seed}"
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps(record))
    return path


def sides(folder: Path, seeds: int, **changes: Any) -> tuple[list[Path], list[Path]]:
    return tuple([judged(folder, arm, seed, **changes) for seed in range(seeds)] for arm in ("seg_real", ARM))


def found_in(baseline: list[Path], arm: list[Path]) -> dict[str, Any]:
    return contrast([read_judged(f) for f in baseline], [read_judged(f) for f in arm])


def test_one_seed_has_the_t_interval_of_its_patients_all_measures_at_once(tmp_path):
    baseline, arm = sides(tmp_path, 1)
    found = found_in(baseline, arm)
    ours, theirs = (json.loads((f[0] / "metrics.json").read_text())["patients"] for f in (arm, baseline))
    differences = [100 * (ours[p]["structures"]["RV"]["dice"] - theirs[p]["structures"]["RV"]["dice"]) for p in ours]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / len(found))
    interval = found["RV"].comparison.interval
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))
    assert (
        interval.estimate
        == pytest.approx(np.mean(differences))
        == pytest.approx(found["RV"].arm - found["RV"].baseline)
    )
    assert (interval.n_patients, interval.n_seeds) == (10, 1)
    assert set(found) == {"LV", "LA", "RV", "RA", "RV and RA", "global", "class-weighted"}


def test_three_seeds_have_the_intervals_of_the_report(tmp_path):
    baseline, arm = sides(tmp_path, 3)
    found = found_in(baseline, arm)
    family = {}
    for name in found:
        of = [
            [scores_of(read_judged(f).record["patients"], made.STRUCTURES)[name] for f in side]
            for side in (arm, baseline)
        ]
        family[name], _ = paired_differences(*of)
    expected = simultaneous_intervals(family)
    assert {name: row.comparison.interval for name, row in found.items()} == expected
    assert found["RV"].comparison.verdict == "gain"


def test_two_seeds_are_averaged_within_the_patient():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 9))
    (both,) = patient_intervals({"RV": values}).values()
    (mean,) = patient_intervals({"RV": values.mean(0, keepdims=True)}).values()
    assert (both.low, both.high) == pytest.approx((mean.low, mean.high)) and both.n_seeds == 2


def test_intervals_over_patients_cover_what_they_say():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        common = rng.normal(size=(1, 12))
        family = {str(n): common + rng.normal(size=(1, 12)) for n in range(5)}
        missed += any(not i.low <= 0 <= i.high for i in patient_intervals(family).values())
    assert missed / 400 < 0.08


def test_seven_patients_give_the_means_and_no_interval(tmp_path):
    found = found_in(*sides(tmp_path, 1, patients=7))
    assert found["RV"].comparison.interval is None and found["RV"].arm > found["RV"].baseline
    assert found["RV"].to_json()["not_estimable"] == "7 patients have values, 8 are needed"


def said(capsys, *words) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "compare", *map(str, words)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_command_shows_and_writes_the_same_numbers(tmp_path, capsys):
    (baseline,), (arm,) = sides(tmp_path, 1)
    out = tmp_path / "difference.json"
    main(["evaluate", "compare", "--baseline", str(baseline), "--arm", str(arm), "--out", str(out)])
    shown, record = capsys.readouterr().out, json.loads(out.read_text())
    rv = record["measures"]["RV"]
    assert f"{rv['estimate']:+.1f} [{rv['low']:+.1f}, {rv['high']:+.1f}]" in shown
    assert rv["verdict"] == "gain" and "gain" in shown and "over the patients alone" in " ".join(shown.split())
    assert record["segmenters"] == {"baseline": ["seg_real0"], "arm": [f"{ARM}0"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"store": {"name": "x.h5", "hash": "b" * 64}}, "was scored on other frames than"),
        ({"patients": 9}, "was scored on other frames than"),
        ({"cases": [{"key": "p00/ED", "patient": "p00"}]}, "is not in both of 'patients' and 'cases'"),
        ({"cases": [{}]}, "cases[0].key is missing"),
        ({"summary": {"structures": ["LV"]}}, "summary.structures is"),
        ({"summary": {"structures": {"LV": {}}}}, "was scored on other frames than"),
        ({"rules": {"id": "empty-0"}}, "was scored by other rules than"),
        ({"segmenter": {"hash": "seg_real0"}}, "is of the same segmenter as"),
        ({"rules": None}, "metrics.json: rules is missing; give a folder that 'evaluate segmenter' wrote"),
    ],
)
def test_what_was_not_scored_alike_is_refused(changes, says, tmp_path, capsys):
    baseline, arm = judged(tmp_path, "seg_real", 0), judged(tmp_path, ARM, 0, **changes)
    assert says in said(capsys, "--baseline", baseline, "--arm", arm)


def test_sides_of_unequal_number_and_folders_of_something_else_are_refused(tmp_path, capsys):
    baseline, arm = sides(tmp_path, 2)
    assert "--baseline has 1 and --arm 2" in said(capsys, "--baseline", baseline[0], "--arm", *arm)
    assert "holds no metrics.json" in said(capsys, "--baseline", tmp_path, "--arm", *arm)


def test_a_structure_that_one_side_invents_gives_no_gain(tmp_path):
    for seeds in (1, 3):
        (folder := tmp_path / str(seeds)).mkdir()
        baseline, arm = sides(folder, seeds)
        path = baseline[0] / "metrics.json"
        record = json.loads(path.read_text())
        del record["patients"]["p03"]["structures"]["RA"]  # found, rightly, nothing
        path.write_text(json.dumps(record))
        found = found_in(baseline, arm)
        assert found["RA"].comparison.verdict == found["RV and RA"].comparison.verdict == "not estimable"
        assert (
            found["RA"].comparison.reason == "1 scores are of one side alone, which found a structure that is not there"
        )
        assert found["RV"].comparison.verdict == "gain"


def test_seeds_that_are_recorded_are_paired_and_others_refused(tmp_path, capsys):
    def of_seed(arm: str, seed: int, recorded: int) -> Path:
        return judged(tmp_path, arm, seed, segmenter={"hash": f"{arm}{seed}", "config": {"seed_everything": recorded}})

    baseline = [of_seed("seg_real", seed, seed) for seed in range(3)]
    arm = [of_seed(ARM, seed, seed) for seed in range(3)]
    assert found_in(baseline, arm) == found_in(baseline, arm[::-1])
    arm[2] = of_seed(ARM, 3, 7)
    line = said(capsys, "--baseline", *baseline, "--arm", *arm)
    assert "--baseline has seeds 0, 1, 2 and --arm 0, 1, 7" in line


@pytest.mark.parametrize("dice", [float("nan"), float("inf"), 7, -1, "0.5", None, True])
def test_what_is_no_dice_is_refused(dice, tmp_path, capsys):
    baseline, arm = judged(tmp_path, "seg_real", 0), judged(tmp_path, ARM, 0)
    record = json.loads((arm / "metrics.json").read_text())
    record["patients"]["p00"]["structures"]["RV"]["dice"] = dice
    (arm / "metrics.json").write_text(json.dumps(record))
    assert "patients.p00.structures.RV.dice is" in said(capsys, "--baseline", baseline, "--arm", arm)


def test_nothing_but_a_json_of_another_name_is_written(tmp_path, capsys):
    baseline, arm = judged(tmp_path, "seg_real", 0), judged(tmp_path, ARM, 0)
    for out, says in ((tmp_path / "s.h5", "is a .json file"), (arm / "metrics.json", "give another name")):
        assert says in said(capsys, "--baseline", baseline, "--arm", arm, "--out", out)


def test_a_structure_that_nobody_has_has_no_difference(tmp_path, capsys):
    folders = judged(tmp_path, "seg_real", 0), judged(tmp_path, ARM, 0)
    for folder in folders:
        record = json.loads((folder / "metrics.json").read_text())
        for scores in record["patients"].values():
            del scores["structures"]["RA"]
        (folder / "metrics.json").write_text(json.dumps(record))
    main(["evaluate", "compare", "--baseline", str(folders[0]), "--arm", str(folders[1])])
    shown = capsys.readouterr().out
    assert "nan" not in shown and "0 patients" in " ".join(shown.split())
