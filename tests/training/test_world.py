"""What a user relies on when torchrun starts several processes: they compute what one does, and their run goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ranks
import torch

from dataset.sample import making

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
    found = {1: ranks.results(str(folder / "tiny"))}
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
def test_a_training_ends_alike_with_the_same_captions_and_scores(together, processes):
    one, several = together[1], together[processes]
    torch.testing.assert_close(several["weights"], one["weights"], rtol=0, atol=1e-8)
    assert several["captions"] == one["captions"] and len(one["captions"]) == 2
    assert several["scores"] == pytest.approx(one["scores"], abs=1e-6)
    assert several["perplexity"] == pytest.approx(one["perplexity"], rel=1e-9)
    for row, of_one in zip(several["history"], one["history"], strict=True):
        assert row == pytest.approx(of_one, rel=1e-6)
