"""The published table, and which of our arms stand beside which of its rows.

Source: Oladokun et al., arXiv 2508.13077 and the authors' poster. A tilde marks a digit that is read with doubt.
"""

from dataclasses import dataclass

from tte_tee.report.cells import Cell

STRUCTURES = ("LA", "LV", "RV", "RA")
REAL_ONLY = "seg_real"
"""Our arm that is what the paper's changes are against."""
_LINEAR = ("feed_forward", "time_embedding")
_CROSS = "cross_attention"


@dataclass(frozen=True)
class PaperRow:
    """One row, in the words of the paper.

    Attributes:
        layers: that are trained.
        scope: the same as groups of layers; empty where all weights are trained, or none.
        parameters: trained, with their share.
        masks: ``real``, ``ssm`` or ``-``.
        fid: InceptionV3's distance.
        pairs: LPIPS and SSIM of frames drawn for real masks.
        overall: global and class-weighted Dice in percent.
        changes: of LA, LV, RV, RA in points; absolute in the row without synthetic frames.
    """

    layers: str
    scope: frozenset[str]
    parameters: str
    masks: str
    fid: str
    pairs: str
    overall: tuple[str, str]
    changes: tuple[str, str, str, str]

    def matches(self, cell: Cell) -> bool:
        """An arm of ours trains the same layers, draws for the same kind of masks and mixes 1:1."""
        adapter, synthesis = cell.part("adapter"), cell.part("synthesis")
        if not synthesis or synthesis.get("masks") != self.masks or cell.ratio != 1:
            return False
        if not self.scope:
            return adapter.get("method") == "scratch"
        return adapter.get("method") == "lora" and frozenset(adapter.get("scope") or ()) == self.scope


def _pair(
    layers: str, groups: tuple[str, ...], parameters: str, pairs: str, real: tuple[str, ...], ssm: tuple[str, ...]
) -> tuple[PaperRow, ...]:
    return tuple(
        PaperRow(
            layers, frozenset(groups), parameters, masks, row[0], given, (row[1], row[2]),
            (row[3], row[4], row[5], row[6]),
        )
        for masks, row, given in (("real", real, pairs), ("ssm", ssm, "-"))
    )  # fmt: skip


ROWS = (
    *_pair(
        "all, from scratch on TEE",
        (),
        "21.79 M (100 %)",
        ".31 / .55",
        ("155.7", "89.05", "88.78", "+.22", "+1.7~", "+3.8~", "+2.9~"),
        ("176.5", "88.61", "89.41", "+.63", "+1~", "+3.8~", "+2.5~"),
    ),
    *_pair(
        "CA + Linear + SA + Conv",
        (_CROSS, *_LINEAR, "self_attention", "convolution"),
        "2.70 M (11 %)",
        ".31 / .54~",
        ("117.7", "88.53", "88.79", "+.07", "+1.1~", "+4~", "+3~"),
        ("120.3", "88.21", "89.06", "+.97", "+.56", "+3.53", "+2.9~"),
    ),
    *_pair(
        "CA + Conv",
        (_CROSS, "convolution"),
        "2.13 M (9 %)",
        ".31 / .55",
        ("134.5~", "88.14", "88.75", "-.11", "+1.0~", "+4.2~", "-.14"),
        ("160", "88.28", "89.77", "+1.03", "+2.15~", "+3.68", "+.64~"),
    ),
    *_pair(
        "CA + Linear (MLP)",
        (_CROSS, *_LINEAR),
        "0.69 M (3 %)",
        ".33 / .53",
        ("154.4~", "89.40", "89.72", "-.11", "+3.4~", "+3.64", "+.6~"),
        ("164.3~", "89.60", "90.14", "+.92", "+2.62", "+5.9", "+3.0~"),
    ),
    *_pair(
        "CA + SA",
        (_CROSS, "self_attention"),
        "0.51 M (2 %)",
        ".35 / .48~",
        ("152.3~", "89.38", "89.51", "+.56", "+3.24", "+2.70", "+.3~"),
        ("151.4~", "87.56", "88.45", "+.83", "+.15", "+1.90", "-.57"),
    ),
)
BASELINE = PaperRow(
    "none (real frames only)",
    frozenset(),
    "-",
    "-",
    "188",
    "-",
    ("87.15~", "88.00"),
    ("94.78", "88.65", "70.83", "84.71"),
)
