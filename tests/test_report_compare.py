"""Arms against the baseline: intervals are those of the statistics, and claims keep to them."""

import cells as made
import numpy as np
import pytest

from tte_tee.metrics.statistics import paired_differences, paired_interval, simultaneous_intervals
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import by_test_set, read_cells

RESAMPLES = 500


def analysis(folder) -> Analysis:
    (cohort,) = by_test_set(read_cells(folder)[0])
    return Analysis(cohort, RESAMPLES)


@pytest.fixture
def folder(tmp_path):
    return made.study(tmp_path)


def right_heart(arm, seed):
    scores = made.cell(arm, seed, made.GAINS[arm])["segmentation"]["patients"]
    return {p: 50 * (s["structures"]["RV"]["dice"] + s["structures"]["RA"]["dice"]) for p, s in scores.items()}


def test_the_headline_is_the_paired_interval_against_the_best_baseline_on_validation(folder):
    found = analysis(folder).headline
    ours, theirs = ([right_heart(arm, s) for s in range(4)] for arm in ("lora_mlp-ssm-1to1", "seg_pretrained_tte"))
    differences, _ = paired_differences(ours, theirs)
    assert (found.arm, found.baseline, found.caveats) == ("lora_mlp-ssm-1to1", "seg_pretrained_tte", ())
    assert found.comparison.interval == paired_interval(differences, resamples=RESAMPLES)
    assert found.comparison.interval.estimate == pytest.approx(6, abs=0.5)
    assert found.comparison.verdict == "gain"


def test_all_other_intervals_are_simultaneous(folder):
    found = analysis(folder)
    family = {}
    for arm in sorted(made.GAINS):
        for measure in found.measures if arm != found.choice.arm else ():
            ours, theirs = (found.runs[name][measure] for name in (arm, found.choice.arm))
            family[f"{arm} {measure}"], _ = paired_differences(list(ours.values()), list(theirs.values()))
    expected = simultaneous_intervals(family, resamples=RESAMPLES)
    got = {f"{arm} {measure}": comparison.interval for (arm, measure), comparison in found.comparisons.items()}
    assert got == expected
    assert found.comparisons["lora_mlp-ssm-1to1", "RV"].verdict == "gain"
    assert found.comparisons["seg_real_strong_aug", "RV"].verdict == "loss"


def test_no_gain_is_claimed_where_the_interval_holds_zero(tmp_path):
    made.study(tmp_path)
    for seed, shift in enumerate((0.09, -0.05, 0.06, -0.02)):
        made.write(tmp_path, made.cell("lora_unsure", seed, 0.02 + shift))
    found = analysis(tmp_path).comparisons["lora_unsure", "RV"]
    assert found.interval.low < 0 < found.interval.high
    assert found.verdict == "no difference shown"


def test_two_seeds_or_seven_patients_are_not_estimable(tmp_path):
    few_seeds = analysis(made.study(tmp_path / "a", seeds=2))
    few_patients = analysis(made.study(tmp_path / "b", patients=7))
    for found, said in ((few_seeds, "2 seeds"), (few_patients, "7 patients")):
        assert said in found.headline.comparison.reason
        assert {c.verdict for c in found.comparisons.values()} == {"not estimable"}
        assert all(said in c.reason for c in found.comparisons.values())


def test_unequal_seeds_are_compared_on_those_that_both_have(folder):
    (folder / "phantom" / "lora_mlp-ssm-1to1_seed3.json").unlink()
    found = analysis(folder)
    assert found.comparisons["lora_mlp-ssm-1to1", "RV"].seeds == (0, 1, 2)
    assert found.comparisons["lora_mlp-ssm-1to1", "RV"].interval.n_seeds == 3
    assert found.comparisons["seg_real", "RV"].interval.n_seeds == 4
    assert found.headline.comparison.seeds == (0, 1, 2)
    assert "seeds 3 are of one side" in found.headline.caveats[0]


def test_the_baseline_is_chosen_on_validation_not_on_test(folder):
    for seed in range(4):
        made.write(folder, made.cell("seg_real", seed, 0.0, validation={"structures": {"RV": 0.9, "RA": 0.8}}))
    found = analysis(folder)
    assert found.choice.arm == "seg_real"
    assert found.choice.scores["seg_real"] == pytest.approx(85)
    assert found.means["seg_pretrained_tte", "RV"].mean > found.means["seg_real", "RV"].mean


def test_without_validation_of_the_right_heart_the_choice_says_by_what_it_was_made(folder):
    for arm, gain in made.GAINS.items():
        for seed in range(4):
            made.write(folder, made.cell(arm, seed, gain, validation={"dice": 0.5 - gain}))
    found = analysis(folder)
    assert found.choice.arm == "seg_real_strong_aug"
    assert "do not hold validation Dice of RV and RA" in found.headline.caveats[0]


def test_two_missing_baselines_are_one_doubt(folder):
    for arm in ("seg_real_strong_aug", "seg_pretrained_tte"):
        for path in (folder / "phantom").glob(f"{arm}_seed*.json"):
            path.unlink()
    for seed in range(4):
        made.write(folder, made.cell("seg_real", seed, 0, validation={}))
    assert analysis(folder).choice.doubt == (
        "no cells of seg_real_strong_aug and seg_pretrained_tte; validation Dice is not in all cells"
    )


@pytest.mark.parametrize("arm", ["seg_real_strong_aug", "lora_mlp-ssm-1to1"])
def test_the_headline_needs_every_baseline_and_the_arm(folder, arm):
    for path in (folder / "phantom").glob(f"{arm}_seed*.json"):
        path.unlink()
    reason = analysis(folder).headline.comparison.reason
    assert ("no cells of seg_real_strong_aug" in reason) if arm.startswith("seg") else ("no arm is lora_mlp" in reason)


def test_the_arm_of_the_headline_is_known_by_its_settings(folder):
    for seed in range(4):
        other = {**made.ADAPTER, "rank": 16}
        made.write(folder, made.cell("lora_mlp-ssm-1to1", seed, 0.08, adapter=other))
    assert "no arm is lora_mlp of rank 4" in analysis(folder).headline.comparison.reason


@pytest.mark.parametrize("before", ["pretrained", "first"])
def test_a_segmenter_that_learnt_before_is_another_arm_everywhere(folder, before):
    pretrained = {**made.SYNTHESIS, before: True}
    for seed in range(4):
        # Under the name of the endpoint's arm, which must not save it.
        made.write(folder, made.cell("lora_mlp-ssm-1to1", seed, 0.08, synthesis=pretrained))
        made.write(folder, made.cell("lora_other", seed, 0.08))
        made.write(folder, made.cell("lora_2", seed, 0.08, synthesis={**made.SYNTHESIS, "ratio": 2.0}))
    found = analysis(folder)
    assert found.headline.arm == "lora_other"
    assert list(found.sweep("ratio").values()) == [{1.0: "lora_other", 2.0: "lora_2"}]
    assert "lora_mlp-ssm-1to1" not in found.comparable or "lora_other" not in found.comparable


def test_sweeps_are_of_arms_that_differ_in_one_setting(folder):
    for ratio in (0.5, 2.0, None):
        made.write(folder, made.cell(f"lora_{ratio}", 0, 0.08, synthesis={**made.SYNTHESIS, "ratio": ratio}))
    made.write(folder, made.cell("lora_r8", 0, 0, adapter={**made.ADAPTER, "rank": 8, "trained": 183808}))
    made.write(folder, made.cell("lora_p5", 0, 0, patients=10) | {"patients": 5})
    made.write(folder, made.cell("lora_real", 0, 0, synthesis={**made.SYNTHESIS, "masks": "real", "ratio": 5.0}))
    otherwise = {**made.SYNTHESIS, "ratio": 4.0, "sampler": "dpm++"}
    made.write(folder, made.cell("lora_drawn_otherwise", 0, 0, synthesis=otherwise))
    found = analysis(folder)
    (ratios,), (ranks,), (patients,) = (found.sweep(key).values() for key in ("ratio", "rank", "patients"))
    assert ratios == {0.5: "lora_0.5", 1.0: "lora_mlp-ssm-1to1", 2.0: "lora_2.0"}
    assert ranks == {4.0: "lora_mlp-ssm-1to1", 8.0: "lora_r8"}
    assert patients == {5.0: "lora_p5", 20.0: "lora_mlp-ssm-1to1"}


def test_features_of_an_extractor_of_each_seed_are_one_measure(tmp_path):
    for arm, gain in (("lora_a", 0.02), ("lora_b", 0.04)):
        for seed in range(3):
            record = made.cell(arm, seed, gain + 0.01 * seed)
            record["fidelity"]["rows"][0]["group"] = f"segmenter 0000000{seed}"
            made.write(tmp_path, record)
    found = {r.measure: r for r in analysis(tmp_path).relations if r.kind == "fidelity"}
    (kid,) = found.values()
    assert (kid.measure, kid.seeds) == ("segmenter (one of each seed): KID", (0, 1, 2))
    assert kid.points["lora_a"][0] == pytest.approx(0.2 - 0.03)
    record["fidelity"]["rows"][0]["group"] = "segmenter ffffffff"
    made.write(tmp_path, record)  # arms of one seed no longer share their extractor
    assert len([r for r in analysis(tmp_path).relations if r.kind == "fidelity"]) == 4


def test_fidelity_predicts_usefulness_over_eight_arms_and_not_over_one(folder):
    assert all("1 arms" in relation.found for relation in analysis(folder).relations)
    for n in range(8):
        made.write(folder, made.cell(f"lora_{n}", 0, 0.01 * n))
    found = {r.measure: r for r in analysis(folder).relations}
    kid = found["mobilenet_v2 01234567: KID"]
    assert len(kid.points) == 9
    assert kid.seeds == (0,)
    assert kid.found.low > 0
    assert kid.points["lora_3"] == pytest.approx((0.17, np.mean(list(_dice("lora_3", 0.03).values()))))
    assert "same value" in found["trained parameters"].found


def _dice(arm, gain):
    scores = made.cell(arm, 0, gain)["segmentation"]["patients"]
    return {p: 50 * (s["structures"]["RV"]["dice"] + s["structures"]["RA"]["dice"]) for p, s in scores.items()}
