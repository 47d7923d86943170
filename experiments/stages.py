"""The commands of a grid: which stages an arm with a seed is made of."""

import hashlib
import json
import math
from typing import Any

import yaml
from grid import CONFIGS, HERE, Arm, Artefact, Given, Stage
from grid_file import GridError, Json

Word = str | Artefact | Given
SEGMENTER, ADAPTER, BASE = "version_0/segmenter", "version_0/adapter", "version_0/base"
SHIPPED = hashlib.sha256((HERE.parent / "tte_tee/models/shipped_base/base.json").read_bytes()).hexdigest()
"""The base inside the package: of its record, which names commit, data and time of its training."""
RATIOS = (0.5, 1, 2, 5)
"""Ratios that have a config of their own, ``seg_mix_1toR``."""


class Stages:
    """Makes the stages of one seed; what does not depend on the seed comes out with the same key for all.

    Args:
        file: content of ``grid.yaml``.
        grid: name of the grid.
        seed: of everything.
    """

    def __init__(self, file: Json, grid: str, seed: int) -> None:
        self.versions, self.grid, self.seed = file["versions"], file["grids"][grid], seed
        self.study = file["studies"][self.grid["study"]]
        self._configs: dict[str, Json] = {}

    def parts(self, arm: Arm) -> dict[str, Stage]:
        """What the cell of an arm reads, by what it is to it."""
        real = self.real(arm)
        if arm.segmenter:
            segment = self.segment(arm.segmenter, real, arm.overrides)
            return {"segment": segment, "evaluate": self.evaluate(segment)}
        adapt = self.adapt(arm, real)
        synthesise = self.synthesise(arm, adapt, self.masks(arm, real))
        segment = self.mix(arm, real, synthesise)
        parts = {"adapt": adapt, "synthesise": synthesise, **self.audits(arm, adapt, synthesise, real)}
        if arm.masks == "ssm":
            parts["masks"] = self.shapes(real)
        return {**parts, "segment": segment, "evaluate": self.evaluate(segment)}

    def about(self, arm: Arm) -> Json:
        """What no file of a stage says."""
        if arm.segmenter:
            return {}
        ratio = None if math.isinf(arm.ratio) else arm.ratio  # JSON has no infinity
        mixed = {
            "masks": arm.masks,
            "ratio": ratio,
            **{word: True for word in ("first", "pretrained") if getattr(arm, word)},
        }
        return {"config": arm.adapter, "synthesis": {**mixed, **self.grid["synthesis"]}}

    def store(self, name: str) -> Artefact:
        """A store of the study."""
        if name not in self.study["stores"]:
            raise GridError(f"grid: the study has no store '{name}'")
        words: list[Word] = []
        for word in self.study["stores"][name].split():
            inner = word[1:-1] if word.startswith("{") and word.endswith("}") else ""
            numbers = {"first": self.study["patients_per_seed"] * self.seed, "seed": self.seed}
            if inner in numbers:
                words.append(str(numbers[inner]))
            elif inner in self.study.get("given", []):
                words.append(Given(inner))
            else:
                words.append(self.store(inner) if inner else word)
        return self._stage("store", name, words, writes=f"{name}.h5").leaves()

    def real(self, arm: Arm) -> Artefact:
        """The frames that an arm may know: split train to learn from, split val to choose by."""
        if arm.segmenter == "seg_all_real":
            return self.store("everyone")
        everybody = self.store("adaptation")
        if not arm.patients:
            return everybody
        few = f"few{arm.patients}"
        chosen = ["--split", "train", "--patients", str(arm.patients), "--seed", str(self.seed)]
        parts = [
            self._stage("store", f"{few}_train", ["data", "subset", everybody, *chosen], writes="train.h5"),
            self._stage("store", "val", ["data", "subset", everybody, "--split", "val"], writes="val.h5"),
        ]
        return self._stage("store", few, ["data", "merge", *(p.leaves() for p in parts)], writes=f"{few}.h5").leaves()

    def base(self) -> Word:
        """The base that adapters start from: trained here, or the one inside the package."""
        config = self.study["base"]
        if config == "shipped":
            return "shipped"
        data: list[Word] = ["--data=EchoDataModule", "--data.store", self.store("base")]
        return self._fit("pretrain", config, "base", data, seed=0).leaves(BASE)

    def judge(self) -> Artefact:
        """The segmenter of other patients that judges mask fidelity."""
        words: list[Word] = ["--data.real", self.store("others"), "--data.test", self._test()]
        return self._fit("pretrain", "seg_others", "segmenter", words, seed=0).leaves(SEGMENTER)

    def adapt(self, arm: Arm, real: Artefact) -> Stage:
        """The adapter."""
        words = ["--model.base", self.base(), "--data=EchoDataModule", "--data.store", real]
        return self._fit("adapt", arm.adapter, "adapter", words, arm.overrides)

    def shapes(self, real: Artefact) -> Stage:
        """The shape model of the training patients' masks."""
        return self._stage("masks", "shapes", ["masks", "fit", real], writes="shapes")

    def masks(self, arm: Arm, real: Artefact) -> Artefact:
        """As many masks as frames are to be drawn; real ones are drawn for again and again."""
        hearts = (arm.patients or self.study["train_patients"]) * self._times(arm)
        seed = ["--seed", str(self.seed)]
        angles = [str(angle) for angle in self.study["angles"]]
        if arm.masks == "real":
            return real
        if arm.masks == "ssm":
            words = ["masks", "sample", "--model", self.shapes(real).leaves(), "--count"]
            return self._stage("masks", "ssm", [*words, str(hearts * self._planes()), *seed], writes="ssm.h5").leaves()
        words = ["masks", "heart", "--source", arm.masks, "--hearts", str(hearts), *seed]
        words += ["--size", str(self.study["size"]), *(["--angles", *angles] if angles else [])]
        return self._stage("masks", arm.masks, words, writes=f"{arm.masks}.h5").leaves()

    def synthesise(self, arm: Arm, adapt: Stage, masks: Artefact) -> Stage:
        """The frames that are mixed in."""
        times = self._times(arm)
        frames = (arm.patients or self.study["train_patients"]) * self._planes() * times
        each = ["--split", "train", "--samples-per-mask", str(times if arm.masks == "real" else 1)]
        return self._draw(f"{adapt.slug}_{arm.masks}", adapt, masks, frames, each, "synthetic.h5")

    def control(self, adapt: Stage) -> Stage:
        """Frames of the same adapter for masks of patients whom it does not know."""
        frames = int(self.study["stores"]["control"].split()[-1]) * self._planes()
        return self._draw(f"{adapt.slug}_control", adapt, self.store("control"), frames, [], "control.h5")

    def audits(self, arm: Arm, adapt: Stage, synthesise: Stage, real: Artefact) -> dict[str, Stage]:
        """What the frames are worth before anything is trained on them."""
        drawn, pool = ["--synthetic", synthesise.leaves()], self.store("pool")
        judge = ["--segmenter", self.judge(), "--real", real, "--split", "val"]
        eyes = self.segment("seg_real", real, {}).leaves(SEGMENTER).of("segmenter")
        fidelity = ["--real", pool, "--ceiling", self.store("base"), "--extractor", eyes, "--seed", str(self.seed)]
        copies = ["--trained-on", real, "--held-out", pool]
        if self.grid["control"] and arm.masks == "real":  # other frames have no training frame of their own mask
            copies += ["--control", self.control(adapt).leaves()]
        return {
            f"audit_{what}": self._stage(
                f"audit_{what}", synthesise.slug, ["evaluate", what, *drawn, *words], writes="result"
            )
            for what, words in (("masks", judge), ("fidelity", fidelity), ("copies", copies))
        }

    def segment(
        self, config: str, real: Artefact, overrides: Json, more: tuple[Word, ...] = (), slug: str = ""
    ) -> Stage:
        """A segmenter of one seed."""
        words: list[Word] = ["--data.real", real, *more, "--data.test", self._test()]
        if config == "seg_pretrained_tte":
            words += self._pretrained()
        return self._fit("segment", config, "segmenter", words, overrides, slug=slug)

    def mix(self, arm: Arm, real: Artefact, synthesise: Stage) -> Stage:
        """The segmenter that learns from synthetic frames: among real ones, alone, or alone and then from real ones."""
        more: list[Word] = ["--data.synthetic", synthesise.leaves(), *(self._pretrained() if arm.pretrained else [])]
        if arm.first:
            start = self.segment("seg_synthetic", real, {}, tuple(more), f"_{synthesise.slug}").leaves(SEGMENTER)
            return self.segment("seg_real", real, {}, ("--model.pretrained", start), f"_after_{synthesise.slug}")
        config = "seg_synthetic" if math.isinf(arm.ratio) else f"seg_mix_1to{arm.ratio:g}"
        own = math.isinf(arm.ratio) or arm.ratio in RATIOS
        overrides = {} if own else {"data.ratio": arm.ratio}
        config = config if own else "seg_mix_1to1"
        return self.segment(config, real, overrides, tuple(more), f"_{synthesise.slug}")

    def evaluate(self, segment: Stage) -> Stage:
        """The test."""
        words = ["evaluate", "segmenter", "--segmenter", segment.leaves(SEGMENTER), "--store", self._test()]
        return self._stage("evaluate", segment.slug, words, writes="result")

    def _pretrained(self) -> list[Word]:
        """Starts a segmenter from one of the labelled TTE."""
        start = self._fit("pretrain", "seg_tte", "segmenter", ["--data.real", self.store("base")], seed=0)
        return ["--model.pretrained", start.leaves(SEGMENTER)]

    def _test(self) -> Artefact:
        return self.store(self.study["test_store"])

    def _planes(self) -> int:
        return 2 * (2 + len(self.study["angles"]))  # frames of a patient: every plane at ED and ES

    def _times(self, arm: Arm) -> int:
        return 1 if math.isinf(arm.ratio) else math.ceil(arm.ratio)

    def _draw(self, slug: str, adapt: Stage, masks: Artefact, frames: int, words: list[str], writes: str) -> Stage:
        given = self.grid["synthesis"]
        sampling = [*(f"--{key}={value}" for key, value in sorted(given.items())), "--seed", str(self.seed)]
        command = ["synthesize", "--adapter", adapt.leaves(ADAPTER), "--masks", masks, *words, *sampling]
        units = frames * given["steps"] * (1 if given["guidance"] == 1 else 2)
        return self._stage("synthesise", slug, command, writes=writes, units=units)

    def _fit(
        self,
        rule: str,
        config: str,
        kind: str,
        words: list[Word],
        overrides: Json | None = None,
        *,
        seed: int | None = None,
        slug: str = "",
    ) -> Stage:
        seed = self.seed if seed is None else seed
        content = self._config(config)
        given = dict(self.grid["overrides"][kind])
        if content["trainer"]["max_steps"] == 0:
            given = {key: value for key, value in given.items() if not key.startswith("trainer.max_steps")}
        given |= overrides or {}
        processes = self.grid.get("processes", {}).get(rule, 1)
        if processes > 1:
            given |= _ranks(kind, given, processes)
        steps = given.get("trainer.max_steps", content["trainer"]["max_steps"])
        pairs = sorted(given.items())
        options = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in pairs]
        name = "_".join([config, *(f"{k.rpartition('.')[2]}{v}" for k, v in (overrides or {}).items())])
        command: list[Word] = [
            "fit",
            "--config",
            str(CONFIGS / f"{config}.yaml"),
            f"--seed_everything={seed}",
            *words,
            *options,
        ]
        return self._stage(
            rule,
            name + (slug or f"_seed{seed}"),
            command,
            units=max(steps, 1),
            config={**content, "shipped": SHIPPED} if "shipped" in words else content,
            processes=processes,
        )

    def _config(self, name: str) -> Json:
        """What a config says, but for where it logs to."""
        if name not in self._configs:
            path = CONFIGS / f"{name}.yaml"
            if not path.is_file():
                raise GridError(f"grid: no config {path}")
            self._configs[name] = yaml.safe_load(path.read_text())
            del self._configs[name]["trainer"]["logger"]
        return self._configs[name]

    def _stage(
        self,
        rule: str,
        slug: str,
        words: list[Any],
        *,
        writes: str = "",
        units: float = 1.0,
        config: Json | None = None,
        processes: int = 1,
    ) -> Stage:
        basis = json.dumps([self.versions[rule], config], sort_keys=True)
        return Stage(rule, slug, tuple(words), basis, writes, units, processes)


def _ranks(kind: str, given: Json, processes: int) -> Json:
    """Overrides for a training of several processes, which share out its batch."""
    batch = given.get("data.batch_size", 0)
    if not batch or batch % processes:
        raise GridError(
            f"grid: {processes} processes share out a batch: give overrides.{kind} a data.batch_size of so many"
        )
    return {"trainer.devices": processes, "trainer.strategy": "ddp", "data.batch_size": batch // processes}
