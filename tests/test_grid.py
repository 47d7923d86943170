"""The grid of arms: what it expands to, what has a new key, what is run and what is not."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import write_store

from tte_tee.anatomy import LabelSpace
from tte_tee.cli import main as tte_tee
from tte_tee.data.store import EchoStore

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

from gpus import take  # noqa: E402
from grid import Artefact, Grid, Stage, load_grid  # noqa: E402
from grid_file import RULES, GridError  # noqa: E402
from workflow import due, plan, status  # noqa: E402

FILE = yaml.safe_load((EXPERIMENTS / "grid.yaml").read_text())
GRIDS = tuple(FILE["grids"])


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def changed(change: Callable[[dict[str, Any]], None], name: str = "smoke") -> Grid:
    """A grid after a change of its file."""
    file = copy.deepcopy(FILE)
    change(file)
    return Grid(file, name)


def keys(grid: Grid) -> dict[tuple[str, int], str]:
    return {(cell.arm, cell.seed): cell.key for cell in grid.cells}


def moved(grid: Grid, name: str = "smoke") -> set[str]:
    """Arms whose keys are not those of the file as it is."""
    before = keys(load_grid(name))
    return {arm for (arm, seed), key in keys(grid).items() if before.get((arm, seed)) != key}


@pytest.mark.parametrize("name", GRIDS)
def test_cells_are_one_file_each_and_every_command_is_known_to_the_package(name: str, tmp_path: Path) -> None:
    grid = load_grid(name)
    files = [cell.result(tmp_path) for cell in grid.cells]
    assert len(set(files)) == len(files) > 0
    assert len({cell.key for cell in grid.cells}) == len(files)
    assert {stage.rule for stage in grid.stages.values()} == set(RULES)
    commands = {stage.command(tmp_path).split()[3] for stage in grid.stages.values()}
    assert commands == {"data", "fit", "masks", "synthesize", "evaluate"}


@pytest.mark.parametrize("name", GRIDS)
def test_stages_come_after_what_they_read(name: str) -> None:
    seen: set[Stage] = set()
    for stage in load_grid(name).stages.values():
        assert seen.issuperset(stage.inputs)
        seen.add(stage)


@pytest.mark.parametrize("name", ["laptop", "full"])
def test_the_arms_that_the_paper_left_open_are_there(name: str) -> None:
    arms = {cell.arm for cell in load_grid(name).cells}
    assert {"seg_real", "seg_real_strong_aug", "seg_pretrained_tte", "seg_all_real"} <= arms
    for config in ("lora_mlp", "lora_attention", "lora_conv", "lora_full", "lora_ca_only", "lora_linear_only",
                   "scratch", "full_finetune", "maskr2_only"):  # fmt: skip
        assert f"{config}-ssm-1to1" in arms
    assert {"lora_mlp-ssm-synthetic_only", "lora_mlp-ssm-1to0.5", "lora_mlp-atlas-1to1", "lora_mlp-rank16-ssm-1to1",
            "lora_mlp-learnable-ssm-1to1", "lora_mlp-real-1to1-2patients", "seg_real-2patients"} <= arms  # fmt: skip


def test_a_seed_is_everything_at_once() -> None:
    cells = [cell for cell in load_grid("laptop").cells if cell.arm == "lora_mlp-ssm-1to1"]
    assert [cell.seed for cell in cells] == [0, 1, 2, 3, 4]
    for cell in cells:
        commands = "\n".join(stage.command(Path("W")) for stage in cell.stages())
        assert f"--cohort adaptation --first {20 * cell.seed}" in commands
        assert commands.count(f"--seed_everything={cell.seed} ") >= 3  # adapter, segmenter, the audit's extractor
        assert re.search(rf"synthesize .*--seed {cell.seed} ", commands)
        assert f"--count 128 --seed {cell.seed}" in commands


def test_cells_share_what_they_have_in_common() -> None:
    grid = load_grid("laptop")
    of = {arm: set(grid.cell(arm, 0).stages()) for arm in ("lora_mlp-real-1to1", "lora_mlp-ssm-1to1")}
    shared = of["lora_mlp-real-1to1"] & of["lora_mlp-ssm-1to1"]
    assert {stage.rule for stage in shared} >= {"adapt", "pretrain", "store"}
    tte = {s.key for cell in grid.cells for s in cell.stages() if s.slug.startswith("seg_tte")}
    assert len(tte) == 1  # of all seeds


def test_the_same_file_gives_the_same_keys() -> None:
    assert not moved(changed(lambda file: None))


def test_the_order_of_options_is_nothing() -> None:
    file = yaml.safe_load(yaml.safe_dump(FILE))  # sorted
    assert file == FILE and not moved(Grid(file, "smoke"))


def test_what_changes_no_result_changes_no_key() -> None:
    def change(file: dict[str, Any]) -> None:
        file["labels"]["lora_mlp"] = "another name"
        file["grids"]["smoke"] |= {"seconds": {}, "device": "cuda"}
        file["grids"]["laptop"]["overrides"]["adapter"]["model.rank"] = 32

    assert not moved(changed(change))


def test_an_arm_more_leaves_the_others_alone() -> None:
    grid = changed(lambda file: file["grids"]["smoke"]["arms"].append({"segmenter": "seg_real", "patients": 3}))
    assert moved(grid) == {"seg_real-3patients"}


def test_a_mix_for_a_pretrained_segmenter_differs_in_its_start_alone() -> None:
    arm = {"adapter": "lora_mlp", "masks": "ssm", "ratio": 1, "pretrained": True}
    grid = changed(lambda file: file["grids"]["smoke"]["arms"].append(arm))
    plain, started = (grid.cell(f"lora_mlp-ssm-1to1{end}", 0) for end in ("", "-pretrained"))
    rival = grid.cell("seg_pretrained_tte", 0)
    assert plain.parts["synthesise"].key == started.parts["synthesise"].key
    words, more, there = (cell.parts["segment"].words for cell in (plain, started, rival))
    start = list(there)[there.index("--model.pretrained") :][:2]
    assert [word for word in more if word not in words] == start
    assert started.about["synthesis"] == {**plain.about["synthesis"], "pretrained": True}


def test_synthetic_frames_that_come_first_are_followed_by_the_real_ones_alone() -> None:
    arm = {"adapter": "lora_mlp", "masks": "ssm", "ratio": 5, "first": True, "pretrained": [False, True]}
    grid = changed(lambda file: file["grids"]["smoke"]["arms"].append(arm))
    plain, started = (grid.cell(f"lora_mlp-ssm-1to5-first{end}", 0) for end in ("", "-pretrained"))
    assert started.label == "CA + Linear, SSM masks, 1:5, synthetic frames first, pretrained on TTE"
    assert plain.about["synthesis"]["first"] and plain.about["synthesis"]["ratio"] == 5
    drawn, rival = plain.parts["synthesise"], grid.cell("seg_pretrained_tte", 0).parts["segment"]
    for cell in (plain, started):
        after = cell.parts["segment"]
        (before,) = (word.stage for word in after.words if isinstance(word, Artefact) and word.stage.rule == "segment")
        assert drawn in before.inputs and drawn not in after.inputs
        assert "lightning_configs/seg_real.yaml" in after.words
        assert "lightning_configs/seg_synthetic.yaml" in before.words
        tte = [stage for stage in before.inputs if stage.rule == "pretrain"]
        assert tte == ([stage for stage in rival.inputs if stage.rule == "pretrain"] if cell is started else [])


@pytest.mark.parametrize(
    ("change", "arms"),
    [
        (lambda file: file["grids"]["smoke"]["overrides"]["adapter"].update({"model.alpha": 8}), "drawing"),
        (lambda file: file["grids"]["smoke"]["synthesis"].update(steps=3), "drawing"),
        (lambda file: file["versions"].update(audit_copies=2), "drawing"),
        (lambda file: file["versions"].update(evaluate=2), "all"),
        (lambda file: file["grids"]["smoke"]["overrides"]["segmenter"].update({"model.weight_decay": 0.1}), "all"),
    ],
)
def test_a_change_moves_exactly_what_depends_on_it(change: Callable[[dict[str, Any]], None], arms: str) -> None:
    grid = changed(change)
    expected = {cell.arm for cell in grid.cells if arms == "all" or "synthesise" in cell.parts}
    assert moved(grid) == expected


def test_a_config_counts_by_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lightning_configs").symlink_to(ROOT / "lightning_configs")
    monkeypatch.chdir(tmp_path)
    before = keys(load_grid("smoke"))
    (tmp_path / "lightning_configs").unlink()
    (tmp_path / "lightning_configs").mkdir()
    for config in (ROOT / "lightning_configs").glob("*.yaml"):
        text = "# a comment\n" + config.read_text()
        if config.stem == "seg_pretrained_tte":
            text = text.replace("learning_rate: 1.0e-2", "learning_rate: 4.0e-3")
        (tmp_path / "lightning_configs" / config.name).write_text(text)
    after = keys(load_grid("smoke"))
    assert {arm for arm, seed in after if after[arm, seed] != before[arm, seed]} == {"seg_pretrained_tte"}


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"adapter": "lora_mlp", "mask": "real"}, "'mask' is no key"),
        ({"masks": "real"}, "either an adapter or a segmenter"),
        ({"adapter": "lora_mlp", "masks": "drawn", "ratio": 1}, "masks 'drawn' are unknown"),
        ({"segmenter": "seg_nothing"}, "no config lightning_configs/seg_nothing.yaml"),
        ({"segmenter": "seg_real"}, "seg_real stands there twice"),
        ({"segmenter": "seg_real", "pretrained": True}, "pretrained is for arms with an adapter"),
        ({"segmenter": "seg_real", "first": True}, "first is for arms with an adapter"),
    ],
)
def test_a_wrong_arm_is_refused(arm: dict[str, Any], said: str) -> None:
    with pytest.raises(GridError, match=said):
        changed(lambda file: file["grids"]["smoke"]["arms"].append(arm))


def finish(grid: Grid, results: Path, *arms: str) -> None:
    """Leaves files that say that the cells of some arms are done."""
    for cell in grid.cells:
        if cell.arm in arms:
            path = cell.result(results)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"provenance": {"key": cell.key}}))


def test_a_committed_cell_is_done_until_its_key_changes(tmp_path: Path) -> None:
    grid, everybody = load_grid("smoke"), {cell.arm for cell in load_grid("smoke").cells}
    finish(grid, tmp_path, *everybody - {"seg_real"})
    cells, stages = due(grid, tmp_path / "work", tmp_path)
    assert [cell.arm for cell in cells] == ["seg_real"]
    assert {stage.rule for stage in stages} == {
        "store",
        "segment",
        "evaluate",
    }  # nothing of the others, not even shared
    again = changed(lambda file: file["grids"]["smoke"]["synthesis"].update(steps=3))
    assert {cell.arm for cell in again.pending(tmp_path)} == {"seg_real"} | moved(again)


def test_the_plan_counts_what_is_left_and_what_it_costs(tmp_path: Path) -> None:
    grid = load_grid("smoke")
    grid.values["seconds"]["adapt"] = 400  # of each of 4 steps; the control takes none
    assert "adapt               3 jobs     1.00 h" in plan(grid, tmp_path, tmp_path, jobs=2)
    adapt = next(stage for stage in grid.stages.values() if stage.rule == "adapt")
    adapt.folder(tmp_path).mkdir(parents=True)
    adapt.done(tmp_path).touch()
    (adapt.folder(tmp_path) / "benchmark.tsv").write_text("s\th:m:s\tmax_rss\n2880\t0:48:00\t100\n")
    assert "adapt               2 jobs     1.00 h" in plan(grid, tmp_path, tmp_path, jobs=2)  # 720 s are measured


def test_the_plan_says_where_bfloat16_is_emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tte_tee.models import devices

    half = changed(lambda file: file["grids"]["laptop"]["synthesis"].update(precision="bf16"), "laptop")
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: False)
    assert "emulates" in plan(half, tmp_path, tmp_path, jobs=2)
    for name in ("laptop", "camus", "smoke"):
        assert "emulates" not in plan(load_grid(name), tmp_path, tmp_path, jobs=2)
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: True)
    assert "emulates" not in plan(half, tmp_path, tmp_path, jobs=2)


def test_status_names_the_stage_that_failed_and_what_it_said(tmp_path: Path) -> None:
    grid = load_grid("smoke")
    finish(grid, tmp_path, "seg_real")
    stage = grid.cell("seg_all_real", 0).parts["segment"]
    stage.folder(tmp_path).mkdir(parents=True)
    (stage.folder(tmp_path) / "failed").touch()
    (stage.folder(tmp_path) / "log.txt").write_text("step 1\ntte_tee fit: no such frame\n")
    text = status(grid, tmp_path, tmp_path)
    assert "done     seg_real seed 0" in text and "failed   seg_all_real seed 0" in text
    assert f"failed stage segment/{stage.name}: tte_tee fit: no such frame" in text
    assert text.endswith(f"1 done, 1 failed, {len(grid.cells) - 2} missing")


def test_status_names_a_cell_whose_gathering_failed(tmp_path: Path) -> None:
    folder = tmp_path / "cell/seg_real_seed0"
    folder.mkdir(parents=True)
    (folder / "failed").touch()
    (folder / "log.txt").write_text("KeyError: 'dice'\n")
    text = status(load_grid("smoke"), tmp_path, tmp_path)
    assert "failed   seg_real seed 0" in text and "failed stage cell/seg_real_seed0: KeyError: 'dice'" in text


def test_folders_may_have_blanks_in_their_names(tmp_path: Path) -> None:
    words = [sys.executable, "experiments/workflow.py", "plan", "--grid", "smoke", "--work", str(tmp_path / "a b")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert not done.returncode and "grid smoke: " in done.stdout, done.stderr


def test_a_gpu_is_held_by_one_command_at_a_time(tmp_path: Path) -> None:
    assert take(["0", "1", "2"], 1, tmp_path) == ["0"]
    assert take(["0", "1", "2"], 2, tmp_path) == ["1", "2"]
    script = EXPERIMENTS / "gpus.py"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "7,8", "TMPDIR": str(tmp_path)}
    code = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], time.time()); time.sleep(1); print(time.time())"
    words = [sys.executable, str(script), "2", sys.executable, "-c", code]
    running = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0].split() for one in running]
    assert {names for names, *_ in said} == {"7,8"}
    spans = sorted([float(begins), float(ends)] for _, begins, ends in said)
    assert spans[0][1] <= spans[1][0]
    more = subprocess.run([*words[:2], "3", "true"], env=environment, capture_output=True, text=True)
    assert more.returncode and "shows 2 GPUs, and the grid asks for 3" in more.stderr


def test_a_training_of_several_processes_shares_out_its_batch(tmp_path: Path) -> None:
    def change(file: dict[str, Any]) -> None:
        file["grids"]["smoke"]["processes"] = {"adapt": 2}
        file["grids"]["smoke"]["overrides"]["adapter"]["data.batch_size"] = 8

    one, two = (grid.cell("lora_mlp-real-1to1", 0).parts["adapt"] for grid in (load_grid("smoke"), changed(change)))
    alone, local = one.shell(tmp_path), two.shell(tmp_path)
    assert "srun" not in local and "--trainer.devices" not in alone
    assert {"--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4"} <= set(local.split())
    assert two.shell(tmp_path, slurm=True).startswith(
        "srun --kill-on-bad-exit=1 --nodes=1 --ntasks-per-node=2 python -m"
    )
    assert one.shell(tmp_path, slurm=True) == alone
    with pytest.raises(GridError, match=r"overrides\.adapter a data\.batch_size"):
        changed(lambda file: file["grids"]["smoke"].update(processes={"adapt": 3}))


def test_where_the_users_own_folders_are_is_no_part_of_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    key = load_grid("camus").cell("seg_real", 0).key
    monkeypatch.setenv("CAMUS", "/elsewhere")
    cell = load_grid("camus").cell("seg_real", 0)
    assert cell.key == key
    packs = [stage.command(Path("W")) for stage in cell.stages() if "data pack" in stage.command(Path("W"))]
    assert packs and all('--root "$CAMUS" --out' in command for command in packs)


def test_a_grid_says_which_folder_it_lacks() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CAMUS"}
    words = [sys.executable, "experiments/workflow.py", "run", "--grid", "camus"]
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "CAMUS is not given" in ended.stderr


def test_the_base_of_camus_meets_nobody_else(tmp_path: Path) -> None:
    """Two stores of the same patients under other labels are dealt out alike."""
    for name, space in (("x", LabelSpace("x", ("LV", "LV_epi"))), ("y", LabelSpace("y", ("LV", "LA")))):
        write_store(tmp_path / f"{name}.h5", space, patients={"train": 12})
        tte_tee(["data", "split", f"{tmp_path}/{name}.h5", "--val", "0.5", "--test", "0", "--seed", "7",
                 "--out", f"{tmp_path}/{name}_dealt.h5"])  # fmt: skip
    splits = [EchoStore(tmp_path / f"{name}_dealt.h5").table.set_index("patient")["split"].to_dict() for name in "xy"]
    assert splits[0] == splits[1] and set(splits[0].values()) == {"train", "val"}
