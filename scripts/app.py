"""The attention explorer alone, as a web page of this computer: python -m scripts.app [--port 8866]

Voilà serves explorer/page.ipynb on loopback, behind a token. Where there is no model of the sample yet, one is trained
first. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from inspect import isawaitable
from pathlib import Path

from jupyter_server.auth.identity import PasswordIdentityProvider, User
from tornado.web import HTTPError, RequestHandler

from dataset.paths import DATA
from dataset.sample import making
from scripts import train

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = Path("explorer/page.ipynb")
TEMPLATE = ROOT / "explorer"  # holds voila/templates/explorer: Voilà's own page without its icon font from a CDN
# What the browser holds the page to: it may speak with this computer only.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: ws://127.0.0.1:*"


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, makes what is missing, serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m scripts.app", description=__doc__.split("\n\n")[0])
    parser.add_argument("--port", type=int, default=8866, help="on 127.0.0.1; 0: any free one (default: 8866)")
    options = parser.parse_args(arguments)
    if not (DATA / "sample").is_dir():
        making.make(DATA / "sample")
    if not Path("runs/sample/model/model.safetensors").is_file():
        print("No model of the sample yet: training one, about ten minutes on two cores, only this time.", flush=True)
        train.main([])
    with served(options.port) as (url, server), contextlib.suppress(KeyboardInterrupt):
        print(
            f"The explorer: {url}\nIt is served to this computer only, and to whoever has this address. Ctrl-C ends it."
        )
        sys.stdout.flush()
        status = server.wait()
        raise OSError(f"Voilà has ended by itself (status {status}): run the same again")


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
def served(port: int) -> Iterator[tuple[str, subprocess.Popen]]:
    """Voilà on that port of loopback with a new token; gives the page's address, once it answers, and the process.

    Raises OSError if the port is taken, if Voilà does not start, or if it lets people in without the token.
    """
    with socket.socket() as probe:
        if os.name != "nt":  # there it would share the port; elsewhere a port that was just left counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise OSError(f"port {port} is taken, or not for us: try another one with --port") from None
        port = probe.getsockname()[1]  # 0 asks for any that is free
    token = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "voila", str(NOTEBOOK), "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}"]
    command += ["--Voila.identity_provider_class=scripts.app.TokenOnly", "--Voila.auto_token=True"]
    command += [f"--Voila.tornado_settings={{'headers': {{'Content-Security-Policy': \"{POLICY}\"}}}}"]
    command += ["--Voila.port_retries=0", "--Voila.log_level=CRITICAL", "--VoilaConfiguration.template=explorer"]
    # in the environment, where other users of the computer do not see it as they see a command line
    environment = os.environ | {"JUPYTER_TOKEN": token, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(TEMPLATE), os.environ.get("JUPYTER_PATH"))))
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
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
