"""The attention explorer alone, as a web page of this computer: python -m scripts.app [--checkpoint FOLDER …]

Voilà serves explorer/page.ipynb on loopback, behind a token. It shows the checkpoints that are named, several to
compare, over pictures of the dataset that the first one was trained on; without any, the models of the sample, and
where there is none yet, one is trained first. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from inspect import isawaitable
from pathlib import Path

from jupyter_server.auth.identity import PasswordIdentityProvider, User
from tornado.web import HTTPError, RequestHandler

from dataset.loading import load_records
from dataset.paths import DATA, RUNS
from dataset.records import Record
from dataset.sample import making
from models import checkpoint
from models.checkpoint import Checkpoint
from models.devices import best_device, best_precision
from scripts.ending import one_sentence
from scripts.runs import print_epoch
from training.experiment import Runtime, train_captioner
from training.presets import for_dataset

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = Path("explorer/page.ipynb")
TEMPLATE = ROOT / "explorer"  # holds voila/templates/explorer: Voilà's own page without its icon font from a CDN
SAMPLE_MODEL = RUNS / "sample/model"
SHOWN = "EXPLORER_SHOWS"  # the environment variable that tells the page's process what to show
PICTURES = 24
# What the browser holds the page to: it may speak with this computer only.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: ws://127.0.0.1:*"


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, makes what is missing, serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m scripts.app", description=__doc__.split("\n\n")[0])
    parser.add_argument("--checkpoint", nargs="+", default=[], metavar="FOLDER", help="default: the sample's models")
    parser.add_argument("--dataset", help="whose pictures are shown (default: what the first was trained on)")
    parser.add_argument("--port", type=int, default=8866, help="on 127.0.0.1; 0: any free one (default: 8866)")
    options = parser.parse_args(arguments)
    port = free_port(options.port)  # known before anything long starts
    if options.checkpoint:
        shown(options.checkpoint, options.dataset)  # what is wrong with them is said here, not on the page
    else:
        make_sample_model()
    with served(port, options.checkpoint, options.dataset) as (url, server), contextlib.suppress(KeyboardInterrupt):
        print(
            f"The explorer: {url}\nIt is served to this computer only, and to whoever has this address. Ctrl-C ends it."
        )
        sys.stdout.flush()
        status = server.wait()
        raise OSError(f"Voilà has ended by itself (status {status}): run the same again")


def make_sample_model() -> None:
    """Draws the sample and trains its model, where they are missing."""
    if not (DATA / "sample").is_dir():
        making.make(DATA / "sample")
    if not (SAMPLE_MODEL / "model.safetensors").is_file():
        print("No model of the sample yet: training one, about ten minutes on two cores, only this time.", flush=True)
        device = best_device()
        train_captioner(
            for_dataset("sample"), SAMPLE_MODEL, Runtime(device, best_precision(device)), report=print_epoch
        )


def shown(folders: Sequence[str] = (), dataset: str | None = None) -> tuple[dict[str, Checkpoint], list[Record]]:
    """What the page shows: the checkpoints by name, some pictures. Called by the page itself without arguments.

    Raises ValueError or OSError for a folder that is no checkpoint, or if there are no pictures.
    """
    if SHOWN in os.environ and not folders:
        folders, dataset = json.loads(os.environ[SHOWN])
    if not folders:
        models = SAMPLE_MODEL.parent.glob("*/model.safetensors")
        folders = [str(path.parent) for path in sorted(models, key=lambda path: path.parent != SAMPLE_MODEL)]
        dataset = dataset or "sample"
    names = [Path(folder).name.replace("_", " ") for folder in folders]
    captioners = {
        name if names.count(name) == 1 else folder: checkpoint.load(folder)
        for name, folder in zip(names, folders, strict=True)
    }
    first = next(iter(captioners.values()))
    return captioners, _pictures(dataset or first.metadata.get("settings", {}).get("dataset", "sample"))


def _pictures(dataset: str) -> list[Record]:
    """Some that no model has learned from, where the dataset has such."""
    for split in ("test", "val"):
        with contextlib.suppress(ValueError):
            return load_records(dataset, split)[:PICTURES]
    return load_records(dataset, "train")[:PICTURES]


def free_port(port: int) -> int:
    """The port of loopback, or for 0 any that is free; OSError if it is taken."""
    with socket.socket() as probe:
        if os.name != "nt":  # there it would share the port; elsewhere a port that was just left counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise OSError(f"port {port} is taken, or not for us: try another one with --port") from None
        return probe.getsockname()[1]


class TokenOnly(PasswordIdentityProvider):
    """Who comes without the token is told 403, instead of being asked for it."""

    async def get_user(self, handler: RequestHandler) -> User:
        """The user of a request with the token, or with the cookie that the token has brought."""
        user = super().get_user(handler)
        if isawaitable(user):
            user = await user
        if user is None:
            handler.current_user = None  # what the page of the error asks for
            raise HTTPError(403)
        return user


@contextlib.contextmanager
def served(
    port: int, folders: Sequence[str] = (), dataset: str | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Voilà on that port of loopback with a new token; gives the page's address, once it answers, and the process.

    `folders` and `dataset` are what `shown` takes.

    Raises OSError if the port is taken, if Voilà does not start, or if it lets people in without the token.
    """
    port = free_port(port)
    token = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "voila", str(NOTEBOOK), "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}"]
    command += ["--Voila.identity_provider_class=scripts.app.TokenOnly", "--Voila.auto_token=True"]
    command += [f"--Voila.tornado_settings={{'headers': {{'Content-Security-Policy': \"{POLICY}\"}}}}"]
    command += ["--Voila.port_retries=0", "--Voila.log_level=CRITICAL", "--VoilaConfiguration.template=explorer"]
    # in the environment, where other users of the computer do not see it as they see a command line
    environment = os.environ | {"JUPYTER_TOKEN": token, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(TEMPLATE), os.environ.get("JUPYTER_PATH"))))
    environment[SHOWN] = json.dumps([[str(folder) for folder in folders], dataset])
    server = subprocess.Popen(command, env=environment)
    try:
        while (status := _status(port)) != 403:
            if status is not None:
                raise OSError(f"port {port} answers {status} without asking for a token: try another one with --port")
            if server.poll() is not None:
                raise OSError(f"Voilà did not start on port {port}: try another one with --port")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/?token={token}", server
    finally:
        server.terminate()
        server.wait(60)


def _status(port: int) -> int | None:
    """What is answered there to one without the token; None while nothing is."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


if __name__ == "__main__":
    with one_sentence():
        main()
