"""A model given to others arrives whole and alone; what is wrong on the way is one sentence. The Hub is a real server
on loopback that speaks as much of its language as its client needs."""

import base64
import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator

import pytest
import torch
from huggingface_hub import constants

from models import checkpoint, hub
from scripts import publish

GONE = {"gated": (403, "GatedRepo"), "missing": (404, "RepoNotFound")}


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories under somebody/, each commit its files."""

    commits: dict[str, dict[str, bytes]]
    heads: dict[str, str]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *given):
        pass

    def answer(self, status: int = 200, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, _, *parts = self.path.split("/")
        if parts[:2] == ["repos", "create"]:
            answer = {"url": f"http://{self.headers['Host']}/somebody/model", "name": "somebody/model"}
        elif "preupload" in parts:
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            answer = {"files": [each | plain for each in json.loads(body)["files"]]}
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
            commit = hashlib.sha1(body).hexdigest()
            self.commits[commit] = {name: base64.b64decode(content) for name, content in files.items()}
            self.heads["/".join(parts[1:3])] = commit
            answer = {"commitUrl": f"http://{self.headers['Host']}/somebody/model/commit/{commit}", "commitOid": commit}
        self.answer(content=json.dumps(answer).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        name = parts[-1]
        for kind, (status, code) in GONE.items():
            if kind in self.path:
                return self.answer(status, X_Error_Code=code, X_Error_Message=code)
        if parts[0] == "api":  # the commit of a revision
            repository, revision = "/".join(parts[2:4]), parts[-1] if "revision" in parts or "tree" in parts else "main"
            commit = self.heads.get(repository) if revision == "main" else revision
            if commit not in self.commits:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            names = [*self.commits[commit]]
            if "tree" in parts:
                answer = [
                    {"type": "file", "path": n, "size": len(self.commits[commit][n]), "oid": "0" * 40} for n in names
                ]
            else:
                siblings = [{"rfilename": n} for n in names]
                answer = {"id": repository, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            return self.answer(content=json.dumps(answer).encode(), Content_Type="application/json")
        if "resolve" not in parts:
            return self.answer()
        commit = parts[3]
        content = self.commits[commit][name]
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.answer(content=content, ETag=etag, X_Repo_Commit=commit)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"commits": {}, "heads": {}, "asked": []})
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{running.server_port}")
    template = constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)  # made of the endpoint on import
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield handler
    running.shutdown()


@pytest.fixture
def model(captioner, vocabulary, tmp_path, monkeypatch):
    """A checkpoint in the folder `model`, with other things beside its files."""
    monkeypatch.chdir(tmp_path)
    checkpoint.save("model", captioner(), vocabulary, {"note": "mine"}, max_length=5)
    (tmp_path / "model/training.pt").write_bytes(b"large and private")
    (tmp_path / "model/notes.txt").write_text("private")
    return tmp_path / "model"


def same(one: checkpoint.Checkpoint, other: checkpoint.Checkpoint) -> bool:
    weights = [each.model.state_dict() for each in (one, other)]
    return one.metadata == other.metadata and all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())


def test_an_archive_has_the_named_files_alone_and_loads_when_unpacked(model, tmp_path, capsys):
    publish.main(["model"])
    with zipfile.ZipFile("model.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"model/{name}" for name in checkpoint.FILES)
        archive.extractall("unpacked")
    assert same(checkpoint.load("unpacked/model"), checkpoint.load("model"))
    publish.main(["model", "--archive", "again.zip"])
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "model.zip").read_bytes()
    with pytest.raises(ValueError, match=r"model\.zip is a file, a checkpoint is a folder: unpack it first"):
        checkpoint.load("model.zip")


def test_what_cannot_be_loaded_is_not_given_away(model, server, tmp_path):
    (model / "config.json").write_text("{}")
    for where in ([], ["--hub", "somebody/model"]):
        with pytest.raises(ValueError, match=r"config\.json is not a checkpoint's config"):
            publish.main(["model", *where])
    assert not (tmp_path / "model.zip").exists() and not server.commits


def test_what_is_uploaded_is_what_others_load(model, server, capsys):
    publish.main(["model", "--hub", "somebody/model"])
    assert len(server.commits) == 1
    ((commit, uploaded),) = server.commits.items()
    assert set(uploaded) == set(checkpoint.FILES)
    assert f"--checkpoint hf:somebody/model@{commit}" in capsys.readouterr().out
    assert same(checkpoint.load("hf:somebody/model"), checkpoint.load("model"))
    assert f"hf:somebody/model is now hf:somebody/model@{commit}" in capsys.readouterr().out


def test_a_pinned_revision_stays_and_strange_files_are_not_fetched(model, server, captioner, vocabulary):
    publish.main(["model", "--hub", "somebody/model"])
    first = server.heads["somebody/model"]
    server.commits[first]["evil.py"] = b"print()"
    checkpoint.save("model", captioner(seed=7), vocabulary, max_length=5)
    publish.main(["model", "--hub", "somebody/model"])
    assert len(server.commits) == 2
    assert checkpoint.load(f"hf:somebody/model@{first}").metadata == {"note": "mine"}
    assert checkpoint.load("hf:somebody/model").metadata == {}
    assert not any("evil" in path for path in server.asked)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:somebody/missing", "knows no such name, or it is private and you are not logged in"),
        ("hf:somebody/gated", "gives it only to those who ask on its page"),
        ("hf:somebody/model@nope", "it has no such revision"),
    ],
)
def test_what_the_hub_does_not_give_is_one_sentence(model, server, name, message):
    publish.main(["model", "--hub", "somebody/model"])
    with pytest.raises(OSError, match=message) as caught:
        checkpoint.load(name)
    assert str(caught.value).startswith(f"{name} cannot be had: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hf:model", "hf:a/b/c", "hf:../../etc@x", "hf:a/b@"])
def test_what_is_no_name_of_the_hub_is_refused(name):
    with pytest.raises(ValueError, match="is not a model of the Hub: write hf:OWNER/NAME"):
        hub.split(name)


def test_a_model_of_somebody_passes_the_same_gate(model, server):
    publish.main(["model", "--hub", "somebody/model"])
    files = server.commits[server.heads["somebody/model"]]
    files["config.json"] = files["config.json"].replace(b'"version": 2', b'"version": 99')
    with pytest.raises(ValueError, match="is a checkpoint of version 99"):
        checkpoint.load("hf:somebody/model")
    del files["vocabulary.json"]
    with pytest.raises((ValueError, OSError)):
        checkpoint.load("hf:somebody/model")


def test_without_a_network_what_was_fetched_before_serves(model, server, monkeypatch):
    publish.main(["model", "--hub", "somebody/model"])
    name = f"hf:somebody/model@{server.heads['somebody/model']}"
    before = checkpoint.load(name)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert same(checkpoint.load(name), before)
    with pytest.raises(OSError, match=r"hf:somebody/other cannot be had: http://127\.0\.0\.1:9 does not answer"):
        checkpoint.load("hf:somebody/other")
    with pytest.raises(OSError, match=r"an upload to somebody/model cannot be had: .* does not answer"):
        publish.main(["model", "--hub", "somebody/model"])
