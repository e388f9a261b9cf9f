"""Which code this user has run by its name on this machine: one small file for each hash."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from frugan import files
from frugan.cache import config_root
from frugan.owncode._reading import CodeFile


def is_remembered(digest: str) -> bool:
    """Whether code of this hash was run or allowed before."""
    return os.path.isfile(_file(digest))  # False where nobody may look, as below another user's home


def remember(code: CodeFile) -> None:
    """Remember a hash as allowed. Where nothing can be written, it is asked for again next time."""
    if is_remembered(code.hash):
        return
    said = {"path": str(code.path), "beside": list(code.beside), "since": time.strftime("%Y-%m-%d")}
    with contextlib.suppress(OSError):
        files.write(_file(code.hash), json.dumps(said) + "\n")


def _file(digest: str) -> Path:
    return config_root() / "trusted_code" / f"{digest}.json"
