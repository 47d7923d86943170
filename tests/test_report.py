"""Tables and pictures made of metrics JSON."""

from rich.console import Console

from tte_tee.report.scores import score_table


def test_the_table_says_what_was_scored_and_in_which_unit() -> None:
    scores = {"dice": 0.7512, "hd95": 4.256, "assd": 1.5, "surface_dice": None, "patients": 3}
    cases = {"found": 5, "missed": 1, "invented": 2, "both empty": 4}
    metrics = {
        "unit": "% of diagonal",
        "summary": {
            "patients": 3,
            "frames": 12,
            "mean_dice": 0.75,
            "global_dice": 0.8,
            "class_weighted_dice": None,
            "structures": {"RV": {**scores, "cases": cases}},
        },
    }
    console = Console(record=True, width=80)
    console.print(score_table(metrics))
    text = " ".join(console.export_text(clear=False).split())
    assert "3 patients, 12 frames; distances in % of diagonal" in text
    assert "mean over structures 75.0; over pixels: global Dice 80.0, class-weighted -" in text
    row = next(line for line in console.export_text().splitlines() if "RV" in line)
    assert row.split() == ["RV", "75.1", "4.26", "1.50", "-", "3", "5", "1", "2"]
