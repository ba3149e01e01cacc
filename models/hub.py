"""The Hugging Face Hub: whether it answers, and what its errors mean in one sentence.

Comes in: what is wanted of it. Goes out: the Hub's answer, or an OSError with one sentence. `huggingface_hub` is an
optional package (timm brings it along). What it does not know: checkpoints, encoders.
"""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

SECONDS = 5.0  # to wait for an answer


class MissingPackage(OSError):
    """What is asked for needs a package that is not installed."""


def client() -> Any:
    """The package huggingface_hub; MissingPackage if it is not there."""
    try:
        import huggingface_hub
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
