"""What a user relies on with files and folders from strangers: nothing in them is run, nothing gets more memory than it
has to show for, nothing leads out of its folder; what listens, listens to this machine alone and asks who is there."""

import ast
import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Malicious

from dataset import files
from dataset.loading import load_records
from evaluation import results
from model import EncoderCNN
from models import checkpoint
from scripts import app, convert
from training.features import Features, extract
from vocabulary import Vocabulary

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(captioner, vocabulary, records, tmp_path) -> Path:
    """A whole run, to put something into."""
    extract(records["train"], captioner(finetune=0).encoder, tmp_path / "run/train.npy", progress=False)
    run_checkpoint = checkpoint.RunCheckpoint(tmp_path / "run", vocabulary)
    run_checkpoint.save_best(captioner())
    run_checkpoint.save_training(captioner(), {"run": {"epoch": 1}})
    return tmp_path / "run"


# --- pickles


def bare(evil) -> bytes:
    return pickle.dumps(evil, protocol=2)


def in_a_dict(evil) -> bytes:
    return pickle.dumps({"weight": evil, "model": evil, "words": [evil], "vocab": {"idx_to_token": [evil]}}, protocol=2)


def torch_zip(evil) -> bytes:
    torch.save({"weight": evil, "config": {}, "vocab": {"idx_to_token": [evil]}}, file := io.BytesIO())
    return file.getvalue()


def torch_old(evil) -> bytes:
    torch.save({"weight": evil}, file := io.BytesIO(), _use_new_zipfile_serialization=False)
    return file.getvalue()


def torch_tar(evil) -> bytes:
    """The format of before 2016, which torch still reads."""
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(content := pickle.dumps(evil))
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def numpy_objects(evil) -> bytes:
    np.save(file := io.BytesIO(), np.array([evil], dtype=object), allow_pickle=True)
    return file.getvalue()


READERS = {  # what is replaced by a pickle: who reads it, given the file and a model
    "training.pt": lambda file, model: checkpoint.RunCheckpoint(file.parent, Vocabulary()).load_training(model),
    "model.safetensors": lambda file, model: checkpoint.load(file.parent),
    "config.json": lambda file, model: checkpoint.load(file.parent),
    "vocabulary.json": lambda file, model: checkpoint.load(file.parent),
    "small.pt": lambda file, model: EncoderCNN("small", file),
    "resnet18.pth": lambda file, model: EncoderCNN("resnet18", file),
    "coco.pt": lambda file, model: convert.main([str(file), str(file.parent / "made")]),
    "train.npy": lambda file, model: Features(file)[1],
    "train.json": lambda file, model: Features(file.with_suffix(".npy")),
    "results.json": lambda file, model: results.load(file, [1]),
    "dataset_coco.json": lambda file, model: load_records(file.parent),
    "captions.txt": lambda file, model: load_records(file.parent),
}


@pytest.mark.parametrize("form", [bare, in_a_dict, torch_zip, torch_old, torch_tar, numpy_objects])
@pytest.mark.parametrize("name", READERS)
def test_a_malicious_pickle_is_refused_in_a_sentence_and_not_run(folder, captioner, name, form):
    marker, file = folder.parent / "owned", folder / name
    file.write_bytes(form(Malicious(marker)))
    with pytest.raises(ValueError) as caught:
        READERS[name](file, captioner())
    assert not marker.exists() and not (folder / "made").exists()
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_the_pickles_above_would_have_done_it(tmp_path):
    for form in (bare, in_a_dict):
        pickle.loads(form(Malicious(tmp_path / form.__name__)))
    for form in (torch_zip, torch_old):
        torch.load(io.BytesIO(form(Malicious(tmp_path / form.__name__))), weights_only=False)
    np.load(io.BytesIO(numpy_objects(Malicious(tmp_path / "numpy_objects"))), allow_pickle=True)
    assert {file.name for file in tmp_path.iterdir()} == {
        "bare",
        "in_a_dict",
        "torch_zip",
        "torch_old",
        "numpy_objects",
    }


def calls(source: str):
    """(name, keywords) of every call in a source, the name as it is written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def sources() -> dict[str, str]:
    """The code of the library, the scripts and the notebooks, by path."""
    paths = [
        path
        for pattern in ("*.py", "[!.b]*/**/*.py", "*.ipynb", "explorer/*.ipynb")
        for path in ROOT.glob(pattern)
        if path.relative_to(ROOT).parts[0] != "tests"
    ]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    for name in (name for name in texts if name.endswith(".ipynb")):
        cells = json.loads(texts[name])["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        texts[name] = "\n".join(line for text in code for line in text.split("\n") if line.strip()[:1] not in "%!")
    return texts


def test_no_source_loads_a_pickle():
    for name, source in sources().items():
        assert not re.search(r"^\s*(import|from) (pickle|dill|joblib|cloudpickle|marshal|shelve)\b", source, re.M), name
        for called, words in calls(source):
            if called == "exec" and name == "exercises/answers.py":  # a submission, in a process confined before
                users = [user for user, text in sources().items() if re.search(r"import .*\bAnswers\b", text)]
                answer = sources()["exercises/submission.py"].split("def answer(")[1]
                assert users == ["exercises/submission.py"] and answer.index("confine(") < answer.index("report(")
                continue
            assert called not in ("eval", "exec", "pickle.loads", "torch.hub.load", "torch.jit.load"), name
            assert called != "torch.load" or words["weights_only"] == "True", name
            assert not called.endswith(("np.load", "open_memmap")) or "allow_pickle" not in words, name


# --- sizes


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("decoder", {"hidden_size": 10**6}),
        ("decoder", {"hidden_size": 20_000}),
        ("decoder", {"hidden_size": 10**30}),
        ("decoder", {"vocabulary_size": 10**12}),
        ("decoder", {"word_size": 10**9}),
        ("decoder", {"attention_size": 10**9}),
        ("decoder", {"feature_size": 10**9}),
        ("decoder", {"project": 10**9}),
        ("decoder", {"kind": "ShowAndTell", "layers": 10**9}),
        ("decoder", {"kind": "TransformerDecoder", "layers": 10**9}),
        ("encoder", {"image_size": 10**6}),
        ("encoder", {"grid": 10**6}),
        ("encoder", {"name": "vit_h_14", "image_size": 224, "grid": None}),
        ("encoder", {"name": "resnet152", "image_size": 64}),
        ("encoder", {"weights": "/etc/passwd"}),
        ("encoder", {"weights": "IMAGENET1K_V1", "name": "resnet18"}),
    ],
)
def test_a_config_that_asks_for_more_than_its_weights_is_refused(folder, part, setting):
    content = json.loads((folder / "config.json").read_text())
    if "kind" in setting:
        content["model"]["decoder"] = {"vocabulary_size": 22, "feature_size": 256}
    content["model"][part] |= setting
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError) as caught:
        checkpoint.load(folder)
    told = "more than|in the weights and|weights from elsewhere|overflow|too (large|big)|Overflow|int64"
    assert re.search(told, str(caught.value)), str(caught.value)
    assert f"{folder}: weights and config do not fit together" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_refused_takes_no_memory(folder):
    """A decoder of six gigabytes; the process may have four hundred megabytes more than it has."""
    resource = pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("the limit on memory is Linux's")
    content = json.loads((folder / "config.json").read_text())
    content["model"]["decoder"]["hidden_size"] = 20_000
    (folder / "config.json").write_text(json.dumps(content))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 400_000_000, before[1]))
    try:
        with pytest.raises(ValueError, match=r"in the weights and .* in the config"):
            checkpoint.load(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": 1, "model": ' + "[" * 100_000])
def test_deep_nesting_is_refused(folder, text):
    for name, message in (("config.json", "not a checkpoint's config"), ("vocabulary.json", "not a vocabulary")):
        before = (folder / name).read_text()
        (folder / name).write_text(text)
        with pytest.raises(ValueError, match=message):
            checkpoint.load(folder)
        (folder / name).write_text(before)


def test_a_coco_pt_that_poses_as_gigabytes_is_refused(tmp_path):
    words = ["<NULL>", "<START>", "<END>", "<UNK>", "a"]
    content = {"vocab": {"idx_to_token": words}}
    for split in ("train", "val"):
        content[f"{split}_images"] = torch.zeros(1, 3, 112, 112, dtype=torch.uint8).expand(10**7, 3, 112, 112)
        content[f"{split}_captions"] = torch.tensor([[1, 4, 2]]).expand(10**7, 3)
    torch.save(content, tmp_path / "coco.pt")
    assert (tmp_path / "coco.pt").stat().st_size < 10**6
    with pytest.raises(ValueError, match=r"is not the course's coco\.pt: it has tensors larger than what is in the"):
        convert.main([str(tmp_path / "coco.pt"), str(tmp_path / "made")])
    assert not (tmp_path / "made").exists()


# --- names


OUTSIDE = [
    "../owned.jpg",
    "a/../../owned.jpg",
    "/etc/passwd",
    "\\\\host\\share",
    "..\\x.jpg",
    "C:\\x.jpg",
    "C:x.jpg",
    "..",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_file_names_in_annotations_cannot_leave_the_folder(tmp_path, name):
    image, row = {"id": 1, "file_name": name}, {"id": 1, "image_id": 1, "caption": "a cat"}
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/val").mkdir()
    content = json.dumps({"images": [image], "annotations": [row]})
    (tmp_path / "coco/annotations/captions_val.json").write_text(content)
    (tmp_path / "karpathy/images").mkdir(parents=True)
    entry = {"filename": name, "imgid": 0, "split": "val", "sentences": [{"raw": "a cat"}]}
    (tmp_path / "karpathy/dataset_flickr8k.json").write_text(json.dumps({"images": [entry], "dataset": "flickr8k"}))
    (tmp_path / "table/Images").mkdir(parents=True)
    (tmp_path / "table/captions.txt").write_text(f"image,caption\n{name},a cat\n")
    for layout in ("coco", "karpathy", "table"):
        with pytest.raises(ValueError, match="leads out of the dataset's folder"):
            load_records(tmp_path / layout)


# --- servers


def ask(port: int, path: str, host: str = "127.0.0.1") -> int:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


VOILA = """  # in its place: one that speaks no HTTP yet, then answers with what stands in the file, and ends
import socket, sys
port = next(int(word[7:]) for word in sys.argv if word.startswith("--port="))
with socket.create_server(("127.0.0.1", port)) as server:
    for answer in ("not yet", f"HTTP/1.1 {open('answer').read()}"):
        client, _ = server.accept()
        with client:
            client.recv(9999), client.sendall(f"{answer}\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
"""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("403 Forbidden", r"^Voilà has ended by itself \(status 0\): run the same again$"),
        ("200 OK", r"^port \d+ answers 200 without asking for a token: try another one with --port$"),
        (None, r"^port \d+ is taken, or not for us: try another one with --port$"),
    ],
)
def test_make_app_trusts_only_a_server_of_its_own_that_asks_for_the_token(tmp_path, monkeypatch, answer, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "DATA", tmp_path)
    for there in ("sample/here", "runs/sample/model/model.safetensors"):
        files.write(there, "")
    files.write_all({"voila.py": VOILA, "answer": answer or ""})
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=message):
        app.main(["--port", "0" if answer else str(taken.getsockname()[1])])


def test_make_lab_listens_to_this_machine_alone_and_asks_for_its_token(tmp_path):
    line = re.search(r"^lab:.*\n\t\$\(PY\) (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        *line.split(),
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
    ]
    homes = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | homes, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        token = next(found[1] for text in process.stderr if (found := re.search(r"[?&]token=([0-9a-f]{40,})", text)))
        for _ in range(100):
            try:
                assert ask(port, "/api/contents") == 403
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        assert ask(port, f"/api/contents?token={token}") == 200 and ask(port, "/api/contents?token=0") == 403
        listening = socket.gethostbyname_ex(socket.gethostname())[2]
        for host in (address for address in listening if not address.startswith("127.")):
            with pytest.raises(OSError):
                socket.create_connection((host, port), timeout=5)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
