"""The Hugging Face Hub: files from it and to it, and what its errors mean in one sentence.

Comes in: names of repositories and files. Goes out: a folder, a commit, or an OSError with one sentence.
`huggingface_hub` is an optional package (timm brings it along). What it does not know: checkpoints, encoders.
"""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 5.0  # to wait for an answer


class MissingPackage(OSError):
    """What is asked for needs a package that is not installed."""


def client() -> Any:
    """The package huggingface_hub; MissingPackage if it is not there."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise MissingPackage(
            "the Hugging Face Hub needs a package that is not installed: pip install huggingface_hub"
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def asked(what: str, instead: str) -> Iterator[None]:
    """Inside, the Hub is asked for `what`; where it does not answer, only what was fetched before is served, at once.

    Its own client would try for a minute. Errors become an OSError with one sentence that ends with what to do
    `instead`.
    """
    constants, errors = client().constants, client().errors
    usual = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = usual or not _answers(constants.ENDPOINT)
    unreachable = constants.HF_HUB_OFFLINE and not usual
    try:
        yield
    except Exception as error:  # its client raises errors of its own and of the library below it
        reason = _reason(error, errors, constants.ENDPOINT, unreachable)
        raise OSError(f"{what} cannot be had: {reason}; {instead}") from None
    finally:
        constants.HF_HUB_OFFLINE = usual


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError:  # an answer, too
        return True
    except (OSError, ValueError):
        return False
    return True


def _reason(error: Exception, errors: Any, endpoint: str, unreachable: bool) -> str:
    """An error of the client in a few words."""
    if isinstance(error, errors.GatedRepoError):
        return "its owner gives it only to those who ask on its page and log in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{endpoint} knows no such name, or it is private and you are not logged in (hf auth login)"
    if isinstance(error, errors.HFValidationError):
        return "this is not a name of the Hub, OWNER/NAME"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return (
            f"{endpoint} does not answer" if unreachable else "it was not fetched before, and the Hub is out of reach"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return "it lacks a file"
    return " ".join((str(error) or type(error).__name__).split())[:200]


def split(name: str) -> tuple[str, str | None]:
    """ "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION" -> the repository and the revision; ValueError for anything else."""
    parts = re.fullmatch(r"hf:([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?", name)
    if parts is None:
        raise ValueError(f"{name!r} is not a model of the Hub: write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION")
    return parts[1], parts[2]


def fetch(name: str, names: Sequence[str]) -> Path:
    """The folder with the files called `names` of "hf:OWNER/NAME[@REVISION]", all of one commit, and no others.

    What was fetched before is kept. Errors as `split`'s and `asked`'s.
    """
    repository, revision = split(name)
    package = client()
    with asked(f"{name}", "mend that, or give a folder of this computer"):
        api = package.HfApi(endpoint=package.constants.ENDPOINT)
        folder = Path(api.snapshot_download(repository, revision=revision, allow_patterns=list(names)))
    if revision is None:
        print(f"{name} is now {name}@{folder.name}")
    return folder


def upload(contents: Mapping[str, bytes], repository: str, private: bool) -> str:
    """Files by name, in one commit, into the repository OWNER/NAME, which is made if it is new. Returns the commit."""
    split(f"hf:{repository}")
    package = client()
    with asked(f"an upload to {repository}", "log in with hf auth login, and see that the name is yours"):
        api = package.HfApi(endpoint=package.constants.ENDPOINT)
        api.create_repo(repository, private=private, exist_ok=True)
        files = [package.CommitOperationAdd(name, content) for name, content in contents.items()]
        return api.create_commit(repository, files, commit_message="A captioner").oid
