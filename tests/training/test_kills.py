"""A run that is killed at any moment goes on when the same command is given again, and ends as if it had not been.

Real processes, ended by SIGKILL: while they draw the sample, pre-train the encoder, extract features, train, and save.
LONG=1 kills 50 of them, instead of 5.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import LONG

from models.devices import best_precision

ROOT = Path(__file__).parents[2]
KILLS = 50 if LONG else 5

# Importing PyTorch takes seconds, so one process does it once, and each run is a fork of it with a session of its own.
# Saving within an epoch is due after each batch, not after five minutes.
HOST = """
import functools, json, os, signal, sys, time
from pathlib import Path
import torch, torch._dynamo  # which the first optimizer of a process imports: as long as torch itself
from dataset.sample import making
from scripts import runs, train
from training import experiment

QUICK = ("--detector-epochs 1 --image-size 32 --grid 2 --hidden-size 16 --word-size 8 --attention-size 8 "
         "--images-per-batch 4 --epochs 2 --tune-epochs 2 --learning-rate 0.01 --teacher-forcing 0.8").split()

def run(folder, workers, precision):
    os.setsid()
    os.chdir(folder)
    log = os.open("log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    runs.best_precision = lambda device: getattr(torch, precision) if precision != "float32" else None
    experiment.fit = functools.partial(experiment.fit, save_every=0)
    try:
        making.make("data/sample", train=22, val=5, test=0, size=64)
        train.main([*QUICK, "--device", "cpu", "--workers", str(workers)])
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(1)

def saving(folder, name):
    return any(any((Path(folder) / where).glob(name + ".*.part")) for where in (
        "runs/sample", "runs/sample/model", "runs/sample/model/frozen"))

for line in sys.stdin:
    job = json.loads(line)
    began = counted = time.perf_counter()
    folder, since = Path(job["folder"]), job.get("since", "begun")
    after, saves = job.get("after", 1e9), job.get("saves", 0)
    pid = os.fork()
    if pid == 0:
        run(job["folder"], job["workers"], job["precision"])
    was_saving = False
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        now = saving(job["folder"], job["name"]) if saves else False
        saves -= now and not was_saving
        was_saving = now
        if since and any(folder.glob(since)):
            counted, since = time.perf_counter(), None
        if since is None and time.perf_counter() - counted > after or (was_saving and not saves):
            os.killpg(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.0003 if saves else 0.002)
    print(json.dumps({"code": os.waitstatus_to_exitcode(ended[1]), "seconds": time.perf_counter() - began}), flush=True)
"""


class Host:
    """Starts the runs and kills them."""

    def __init__(self, tmp_path: Path):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", HOST],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, workers: int = 0, precision: str = "float32", **kill) -> dict:
        """One run; killed `after` seconds `since` is there, or while it saves `name` the `saves`-th time."""
        folder.mkdir(exist_ok=True)
        (folder / "begun").touch()
        job = {"folder": str(folder), "workers": workers, "precision": precision} | kill
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def whole(self, folder: Path, workers: int = 0, precision: str = "float32") -> dict:
        """A run to its end."""
        result = self.run(folder, workers, precision)
        assert result["code"] == 0, (folder / "log.txt").read_text()[-2000:]
        return result


@pytest.fixture
def host(tmp_path):
    """A process that has everything imported."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    host = Host(tmp_path)
    yield host
    host.process.stdin.close()
    host.process.wait(60)


def made(folder: Path) -> dict[str, bytes]:
    """Everything a run has made, times left out: name -> content."""
    files = {}
    for file in sorted(f for top in ("data", "runs") for f in (folder / top).rglob("*") if f.is_file()):
        content = file.read_bytes()
        if file.name == "history.json":
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in json.loads(content)]
            content = json.dumps(rows).encode()
        if file.suffix not in (".png", ".part") and file.name != "training.pt" and "/." not in str(file):
            files[str(file.relative_to(folder))] = content
    return files


# A processor without bfloat16 has no LSTM in it either: training there is always in float32.
PRECISIONS = ("float32", "bfloat16") if best_precision(torch.device("cpu")) else ("float32",)
STAGES = {  # and the file that begins each, as a pattern
    "drawing": "begun",
    "pre-training": "data/sample/sample.json",
    "features": "runs/sample/small_cnn-*.pth",
    "training": "runs/sample/model/frozen/training.pt",
}


def lengths(folder: Path, seconds: float) -> dict[str, float]:
    """How long each stage of a whole run took, in seconds."""
    features = max(folder.glob("runs/sample/*.npy"), key=lambda file: file.stat().st_mtime)
    pretrained, (encoder,) = folder / STAGES["pre-training"], folder.glob(STAGES["features"])
    ends = [file.stat().st_mtime for file in (pretrained, encoder, features)]
    begin = (folder / "begun").stat().st_mtime
    ends.append(begin + seconds)
    return dict(zip(STAGES, (b - a for a, b in zip([begin, *ends], ends, strict=False)), strict=True))


def test_killed_runs_end_as_whole_ones(host, tmp_path):
    rng, whole = random.Random(7), {}
    for precision in PRECISIONS:
        seconds = host.whole(tmp_path / precision, precision=precision)["seconds"]
        whole[precision] = made(tmp_path / precision)
        took = lengths(tmp_path / precision, seconds)
    weights = "runs/sample/model/model.safetensors"
    first, last = PRECISIONS[0], PRECISIONS[-1]
    assert whole[first].keys() == whole[last].keys()
    assert (whole[first][weights] != whole[last][weights]) == (first != last), "the precision is the one asked for"
    killed, finished = Counter(), 0
    for i in range(KILLS):
        stage, precision = [*STAGES, "saving"][i % 5], PRECISIONS[i // 5 % len(PRECISIONS)]
        folder, workers = tmp_path / f"{i}", rng.choice((0, 0, 2))
        if stage == "saving":
            saves = {
                "training.pt": 20,
                "model.safetensors": 2,
                "small_cnn-*.pth": 1,
                "config.json": 2,
                "training_images.json": 2,
            }
            name = rng.choice(list(saves))
            result = host.run(folder, workers, precision, name=name, saves=rng.randint(1, saves[name]))
        else:
            result = host.run(folder, workers, precision, since=STAGES[stage], after=rng.uniform(0, took[stage]))
        killed[stage] += result["code"] == -9
        finished += result["code"] == 0
        assert result["code"] in (-9, 0), (folder / "log.txt").read_text()[-2000:]
        host.whole(folder, rng.choice((0, 0, 2)), precision)
        again = made(folder)
        assert again.keys() == whole[precision].keys(), (stage, precision)
        different = [name for name, content in whole[precision].items() if again[name] != content]
        assert not different, (i, stage, precision, workers)
    print(f"killed: {dict(killed)} of runs of {seconds:.1f} s; {finished} had ended before")
    assert killed.total() >= 0.4 * KILLS
