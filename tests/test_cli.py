"""The command line: quick help, and one line for every mistake."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Train, make_base

import tte_tee
from tte_tee import __main__, cli
from tte_tee.cli import main
from tte_tee.errors import UserError

COMMANDS = (
    "data pack",
    "data phantom",
    "masks fit",
    "masks sample",
    "masks edit",
    *cli.TRAINING,
    "synthesize",
    "report",
)
LIGHT = ["--help", "-h", "--version"]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["data", "--help"],
        ["masks", "--help"],
        ["synthesize", "--help"],
        ["report", "--help"],
        ["evaluate", "--help"],
        ["evaluate", "fidelity", "--help"],
    ],
    ids=" ".join,
)
def test_help_needs_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom tte_tee.cli import main\n"
        f"try: main({words})\nexcept SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'lightning', 'h5py', 'diffusers'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]], ids=["nothing", "-h", "--help"])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"tte_tee {tte_tee.__version__}\n"


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [["--version"], ["data", "card", "STORE"], ["data", "inspect", "STORE"]])
def test_a_reader_that_goes_away_is_no_error(tee_store: Path, words: list[str], buffered: bool) -> None:
    """As ``head`` does; the end of a pipe that nobody reads is closed here from the start."""
    given = [str(tee_store) if word == "STORE" else word for word in words]
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, *(() if buffered else ("-u",)), "-m", "tte_tee", *given]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", cli.TRAINING)
def test_training_commands_explain_themselves(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--config", "--model", "--data", "--ema.decay", "--previews.frames"))


@pytest.mark.parametrize("word", ["TEEAdapter", "TTEDiffusion"])
def test_options_of_a_model_are_explained(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", f"--model.help={word}"])
    shown = capsys.readouterr().out
    assert "--model.mask_dropout" in shown
    assert "withheld" in shown  # from the docstring


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is said of a mistake."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert not said.out
    return said.err


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["train"], capsys)
    assert said.startswith("tte_tee train: unknown command")
    assert all(name in said for name in (*cli.TRAINING, "data", "synthesize"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fit", "--config=nowhere.yaml"], "nowhere.yaml"),
        (["fit", "--model=Nothing"], "Nothing"),
        (["fit", "--model=TEEAdapter", "--data=EchoDataModule"], "store"),
        (["fit", "--trainer.max_stepz=3"], "max_stepz"),
        (["test", "--model=TEEAdapter", "--model.scope=[convolution]", "--data=PhantomDataModule"], "--ckpt_path"),
        (["synthesize", "--adapter=nowhere", "--masks=nowhere.h5", "--out=o.h5"], "nowhere.h5"),
        (["data", "phantom", "--domain=tee", "--patients=1", "--out=caf\udce9.h5"], "is not UTF-8"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_mistakes_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(words, capsys)


@pytest.mark.parametrize(
    "option",
    [
        "--model.learning_rate=-1",
        "--model.weight_decay=-1",
        "--model.warmup_steps=-1",
        "--model.mask_dropout=2",
        "--model.min_snr_gamma=0",
        "--model.min_snr_gamma=.nan",
        "--model.alpha=0",
        "--model.scope=[convolution, convolution]",
        "--model.sampling.steps=0",
        "--data.batch_size=0",
        "--data.eval_batch_size=0",
        "--data.num_workers=-1",
        "--data.predict_split=dev",
    ],
)
def test_numbers_out_of_range_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--model=TEEAdapter", "--model.scope=[convolution]", "--data=PhantomDataModule", option]
    key = option.split("=")[0].split(".")[-1]
    assert key in refused(words, capsys)


def test_a_checkpoint_of_another_base_or_rank_is_refused(
    adapt: Train, lora_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = f"--ckpt_path={lora_run}/checkpoints/last.ckpt"
    other = make_base(tmp_path / "other", seed=3)
    for option, says in ((f"--model.base={other}", "another base"), ("--model.rank=2", "shape")):
        with pytest.raises(SystemExit) as stop:
            adapt(tmp_path, option, last)
        assert stop.value.code == 2
        assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_mistake_inside_a_constructor_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["fit", "--model=TEEAdapter", "--model.scope=[mlp]", "--data=PhantomDataModule"], capsys)
    assert "model.scope: mlp is no group of layers" in said


def test_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: str, words: list[str]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["fit"])


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(command: str, words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(SystemExit) as stop:
        main(["data"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "tte_tee data: interrupted\n"


def test_an_interrupt_while_the_command_line_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupts:
        def find_spec(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "tte_tee.cli")
    monkeypatch.delattr(tte_tee, "cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupts()])
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "tte_tee: interrupted\n"


def test_the_users_mistake_is_found_behind_what_a_parser_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: str, words: list[str]) -> None:
        try:
            raise UserError("model.rank: 0")
        except UserError as error:
            raise ValueError("a page of types") from error

    monkeypatch.setattr(cli, "_run", fail)
    assert refused(["fit"], capsys) == "tte_tee fit: model.rank: 0\n"


def test_the_saved_config_repeats_the_run(adapt: Train, lora_run: Path, tmp_path: Path) -> None:
    main(["fit", f"--config={lora_run}/config.yaml", f"--trainer.logger.init_args.save_dir={tmp_path}"])
    names = ["adapter_model.safetensors", "maskr2.json"]
    again = tmp_path / "run/version_0/adapter"
    assert all((again / name).read_bytes() == (lora_run / "adapter" / name).read_bytes() for name in names)


def test_a_terminated_command_leaves_no_temporary_file(tmp_path: Path) -> None:
    words = ["data", "phantom", "--domain=tee", "--patients=5000", f"--out={tmp_path / 'f.h5'}"]
    with subprocess.Popen([sys.executable, "-m", "tte_tee", *words], stderr=subprocess.DEVNULL) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
    assert process.returncode == 143
    assert not list(tmp_path.iterdir())


def test_a_signal_is_not_lost_where_python_drops_exceptions() -> None:
    script = """
import os, signal, time
from tte_tee.cli.ending import end_on

class Watched:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

end_on(signal.SIGTERM, status=143)
Watched()
time.sleep(30)
"""
    assert subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, check=False).returncode == 143


def test_a_second_signal_does_not_cut_short_what_cleans_up(tmp_path: Path) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from tte_tee.cli.ending import end_on

end_on(signal.SIGTERM, status=143)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
finally:
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    Path({str(tmp_path / "cleaned")!r}).touch()
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 143
    assert (tmp_path / "cleaned").exists()
