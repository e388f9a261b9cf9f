"""Artefacts on the Hugging Face Hub: ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision``.

Three files are fetched, `model.safetensors`, `config.json` and the card, into the Hub's own cache. Nothing else of the
repository is, and loading runs no code of it. Without a network, what was fetched before is used.
"""

from __future__ import annotations

import re
from pathlib import Path

from frugan.arguments import File
from frugan.files import expanded
from frugan.registry import UserError

PREFIX = "hf-hub:"
FILES = ("model.safetensors", "config.json", "README.md")


def local(path: File) -> Path:
    """The folder of an artefact on this machine; one on the Hub is fetched. Raises UserError if that fails."""
    text = str(path)
    return fetch(text) if text.startswith(PREFIX) else expanded(path)


def fetch(address: str) -> Path:
    """Fetch what is at `address` and return its folder. Raises UserError if it is not there or cannot be reached."""
    matched = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address.removeprefix(PREFIX))
    if matched is None:
        raise UserError(f"{address} is not understood. Type {PREFIX}OWNER/NAME, or {PREFIX}OWNER/NAME@REVISION.")
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError:
        raise UserError(
            f"{address} is on the Hugging Face Hub, which needs the package huggingface_hub. Type: "
            "pip install 'frugan[hub]'"
        ) from None
    repository, revision = matched.groups()
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    except errors.LocalEntryNotFoundError:
        raise UserError(
            f"{address} was not fetched before, and the Hub cannot be reached. Try again with a network, or give the "
            "folder of an artefact."
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise UserError(
            f"{address} is not on the Hub, or it is private and you are not logged in: hf auth login."
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(f"{address} cannot be fetched: {str(error).strip().splitlines()[0]}") from None
    missing = [name for name in FILES[:2] if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{address} is no artefact of frugan: it has no {' and no '.join(missing)}. Folders to upload are made by "
            "frugan export RUN --to hub-folder."
        )
    return folder
