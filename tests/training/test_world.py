"""What a user relies on when torchrun starts several processes: they compute what one does, and their run goes on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import ranks
import torch
from conftest import LONG
from torch.distributed.run import get_args_parser

from dataset.sample import making
from scripts import caption, evaluate, features, train
from training import world

ROOT = Path(__file__).parents[2]


def torchrun(processes: int, *command: str, folder: Path) -> subprocess.Popen:
    """`torchrun … command` in a folder, on loopback."""
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "GLOO_SOCKET_IFNAME": "lo"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*start, *command], cwd=folder, env=os.environ | here, **pipes)


def finished(process: subprocess.Popen) -> str:
    """What it printed; it ended well."""
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-3000:]
    return out


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict[int, dict]:
    """What 1, 2 and 3 processes find; of two validation pictures the third has none."""
    folder = tmp_path_factory.mktemp("ranks")
    making.make(folder / "tiny", train=6, val=2, test=0, size=64)
    found = {1: ranks.results(str(folder / "tiny"), str(folder))}
    for processes in (2, 3):
        finished(torchrun(processes, str(ROOT / "tests" / "ranks.py"), str(folder / "tiny"), str(folder), folder=ROOT))
        found[processes] = torch.load(folder / f"{processes}.pt", weights_only=True)
    return found


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_every_decoder_has_the_loss_and_gradients_of_one_process(together, processes, dtype, tolerance):
    """Also where a batch is smaller than the number of processes, and over batch-norm and the model's own captions."""
    one, several, exact = together[1][dtype], together[processes][dtype], together[1]["float64"]
    assert one.keys() == several.keys()
    for name, numbers in one.items():
        for x, y, true in zip(numbers, several[name], exact[name], strict=True):
            rounding = 2 * (x - true).norm() if dtype == "float32" else 0.0  # each is as far off
            assert (x - y).norm() <= max(tolerance * x.norm(), rounding), name


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("run", ["whole", "relay"])
def test_a_training_ends_alike_with_the_same_captions_and_scores(together, processes, run):
    """Also one that 1 process began and 2 went on with, each in the middle of an epoch, and 3 ended."""
    one, several = together[1]["whole"], together[processes][run]
    if run == "relay" and processes == 2:
        pytest.skip("they only pass it on")
    torch.testing.assert_close(several["weights"], one["weights"], rtol=0, atol=1e-8)
    assert several["captions"] == one["captions"] and len(one["captions"]) == 2
    assert several["scores"] == pytest.approx(one["scores"], abs=1e-6)
    assert several["perplexity"] == pytest.approx(one["perplexity"], rel=1e-9)
    for row, of_one in zip(several["history"], one["history"], strict=True):
        assert row == pytest.approx(of_one, rel=1e-6)


OFTEN = """
import functools, os, sys
from pathlib import Path
from scripts import runs, train
from training import experiment, world
Path(os.environ["RANK"] + ".pid").write_text(str(os.getpid()))
runs.best_precision = lambda device: None
experiment.fit = functools.partial(experiment.fit, save_every=0)  # after each batch, not after five minutes
with world.joined():
    train.main(sys.argv[1:])
"""
QUICK = """--device cpu --detector-epochs 1 --image-size 32 --grid 2 --hidden-size 16 --word-size 8 --attention-size 8
           --images-per-batch 8 --epochs 2 --tune-epochs 2 --learning-rate 0.01 --teacher-forcing 0.8"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(name)` starts a training by three processes in a folder of that name."""
    base = tmp_path_factory.mktemp("runs")
    making.make(base / "sample", train=22, val=5, test=0, size=64)
    (base / "often.py").write_text(OFTEN)

    def start(name: str) -> subprocess.Popen:
        (base / name / "data").mkdir(parents=True, exist_ok=True)
        if not (base / name / "data" / "sample").exists():
            (base / name / "data" / "sample").symlink_to(base / "sample")
        return torchrun(3, str(base / "often.py"), *QUICK.split(), folder=base / name)

    start.base = base
    return start


def begin_of_work(folder: Path) -> float:
    """Waits until a run has come so far that it says something when it ends; returns the time."""
    until = time.monotonic() + 120
    while not list(folder.glob("runs/sample/.*.lock")):
        assert time.monotonic() < until
        time.sleep(0.005)
    return time.monotonic()


def made(folder: Path) -> dict[str, bytes]:
    """What a run leaves, times and hidden files left out: name -> content."""
    files = {}
    for file in sorted(file for file in (folder / "runs").rglob("*") if file.is_file()):
        if file.suffix not in (".png", ".part", ".pt") and "/." not in str(file):
            files[str(file.relative_to(folder))] = re.sub(rb'"seconds": [\d.e-]+', b"", file.read_bytes())
    return files


def test_a_run_with_a_killed_process_goes_on_and_ends_as_a_whole_one(run):
    """The killed one may be any of three, at any moment of its work; one sentence says what to do."""
    random, process = Random(8), run("whole")
    began = begin_of_work(run.base / "whole")
    finished(process)
    seconds, whole = time.monotonic() - began, made(run.base / "whole")
    assert "runs/sample/model/model.safetensors" in whole
    killed = 0
    for kill in range(20 if LONG else 1):
        name, victim = f"kill{kill}", random.randrange(3)
        process = run(name)
        begin_of_work(run.base / name)
        time.sleep(random.uniform(0, 0.8) * seconds)
        with contextlib.suppress(ProcessLookupError):  # it had ended before
            os.kill(int((run.base / name / f"{victim}.pid").read_text()), signal.SIGKILL)
        _, error = process.communicate(timeout=120)
        over = (run.base / name / "runs/sample/model/curves.png").exists()  # nothing was left to do
        assert error.count(world.ENDED) == 1 or over, error[-3000:]
        killed += not over
        finished(run(name))
        again = made(run.base / name)
        assert again.keys() == whole.keys()
        assert [file for file, content in whole.items() if again[file] != content] == []
    assert killed >= 0.4 * (kill + 1)


def test_of_processes_that_fail_alike_one_says_why(tmp_path):
    process = torchrun(2, "-m", "scripts.train", "--dataset", "nowhere", folder=tmp_path)
    out, error = process.communicate(timeout=120)
    assert process.returncode != 0 and "epoch" not in out
    assert error.count("nowhere") == 1, error


@pytest.mark.parametrize("command", [train, evaluate, caption, features])
def test_torchrun_takes_no_option_of_ours_for_one_of_its_own(command, capsys):
    """It looks for abbreviations of its own options in what follows the name of the script, too."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    options = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)) - {"--nproc-per-node"}
    assert len(options) > 5
    for option in options:
        given = ["--nproc-per-node", "2", "-m", "scripts.some", option, "3"]
        assert get_args_parser().parse_args(given).training_script_args == [option, "3"]
    with pytest.raises(SystemExit):
        get_args_parser().parse_args(["-m", "scripts.some", "--run", "3"])
