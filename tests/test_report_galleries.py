"""Galleries of the report: arms beside one another at the same masks, every picture once, and no more than fit."""

import cells as made
import cv2
import numpy as np
import pytest

from tte_tee.data.pictures import contact_sheet
from tte_tee.report.analysis import Analysis
from tte_tee.report.cells import by_test_set, read_cells
from tte_tee.report.galleries import pictures, side_by_side

SIDE = 24


def analysis(folder):
    (cohort,) = by_test_set(read_cells(folder)[0])
    return Analysis(cohort, 500)


def tile(level):
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def write_gallery(folder, arm, sample, mask=60):
    """Two rows of mask, reference and sample, as previews are."""
    made.write(folder, made.cell(arm, 0, 0.01))
    sheet = contact_sheet([[tile(mask), tile(120), tile(sample)]] * 2, ["mask", "reference", "sample"], scale=1)
    legend = np.full((20, sheet.shape[1], 3), 255, np.uint8)
    path = folder / "phantom" / f"{arm}_seed0" / "gallery.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack([sheet, legend]), [cv2.IMWRITE_WEBP_QUALITY, 80])


def column(picture, number):
    image = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
    left = number * (SIDE + 4)
    return image[22 + 4 : 22 + SIDE - 4, left + 4 : left + SIDE - 4].mean()


def test_arms_stand_beside_the_reference_of_the_same_masks(tmp_path):
    write_gallery(tmp_path, "lora_a-ssm-1to1", 30)
    write_gallery(tmp_path, "lora_b-ssm-1to1", 200)
    (picture,) = side_by_side(analysis(tmp_path))
    assert [column(picture, n) for n in range(4)] == pytest.approx([60, 120, 30, 200], abs=6)
    assert "lora_a (arms lora_a-ssm-1to1); lora_b (arms lora_b-ssm-1to1)" in picture.caption
    assert picture.wide


def test_arms_of_one_adapter_are_one_column_and_other_masks_another_picture(tmp_path):
    write_gallery(tmp_path, "lora_a-ssm-1to1", 30)
    write_gallery(tmp_path, "lora_a-ssm-1to2", 30)
    write_gallery(tmp_path, "lora_b-ssm-1to1", 200, mask=90)
    first, second = side_by_side(analysis(tmp_path))
    assert "lora_a (arms lora_a-ssm-1to1, lora_a-ssm-1to2)" in first.caption
    assert "lora_b" not in first.caption
    assert column(second, 0) == pytest.approx(90, abs=6)


def test_a_line_of_a_gallery_has_few_arms(tmp_path):
    for number in range(7):
        write_gallery(tmp_path, f"lora_{number}-ssm-1to1", 20 * number)
    assert ["lora_0 (" in p.caption for p in side_by_side(analysis(tmp_path))] == [True, False]


def test_a_picture_of_several_arms_is_shown_once_and_what_does_not_fit_is_named(tmp_path):
    rng, content = np.random.default_rng(0), b""
    for number in range(4):
        arm = f"lora_{number}"
        made.write(tmp_path, made.cell(arm, 0, 0))
        path = tmp_path / "phantom" / f"{arm}_seed0" / "worst.webp"
        path.parent.mkdir(parents=True)
        if number == 1:
            path.write_bytes(content)
            continue
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 60, 3), np.uint8))
        content = path.read_bytes()
    everything = pictures(analysis(tmp_path), {"worst.webp": "the worst"}, 10**6)
    assert [block.caption for block in everything] == [
        "lora_0, lora_1, seed 0: the worst",
        "lora_2, seed 0: the worst",
        "lora_3, seed 0: the worst",
    ]
    shown, said = pictures(analysis(tmp_path), {"worst.webp": "the worst"}, len(content) + 100)
    assert shown.caption.startswith("lora_0")
    assert "worst.webp of lora_2; worst.webp of lora_3" in said
