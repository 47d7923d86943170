"""Who draws which batches of a synthesis that several processes, on one node or many, do together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tte_tee.data.parts import Parts
from tte_tee.errors import UserError

LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
"""How torchrun and srun call the number of a process and how many there are; torchrun may run inside of srun."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares of the batches; ``number`` counts from 0.

    Raises:
        UserError: there is no such share.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise UserError(f"--shard {self}: numbers go from 0 to one less than the count, as in 0/2 and 1/2")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, batch: int) -> bool:
        """Whether it draws the batch of that number: they are dealt out in turn."""
        return batch % self.count == self.number


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that ``I/N`` names, or with ``auto`` the one that the launcher gives this process.

    Raises:
        UserError: it is neither, or no launcher is at work.
    """
    if text == "auto":
        for number, count in LAUNCHERS:
            if number in environment and count in environment:
                return parse_shard(f"{environment[number]}/{environment[count]}")
        names = ", nor ".join(" and ".join(pair) for pair in LAUNCHERS)
        raise UserError(f"--shard auto: neither {names} are set; start it by torchrun or srun, or give I/N")
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard {text}: give I/N, as in 0/2 and 1/2, or 'auto'")
    return Shard(int(number), int(count))


def refuse_missing(out: Path, parts: Parts, batches: int, count: int) -> None:
    """Refuses to merge what ``count`` shards have not drawn to the last of ``batches``.

    Raises:
        UserError: naming the shards.
    """
    missing = [number for number in range(batches) if not parts.has(number)]
    if late := [Shard(n, count) for n in sorted({number % count for number in missing})]:
        names = ", ".join(map(str, late[:5])) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
        raise UserError(
            f"{out}: shard {names}: {len(missing)} of {batches} batches are not drawn with these options; "
            f"wait, or run the same command with --shard {late[0]}"
        )
