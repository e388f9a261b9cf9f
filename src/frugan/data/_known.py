"""What is known of a source without opening it again: kept beside the packs, for as long as its files stay the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frugan.cache import cache_root, keep_json, kept_json
from frugan.data._convert import RULES
from frugan.data.readers import Found

VERSION = 2
"""To be raised when what is found out, or how, changes."""


def known(found: Found, split: str, asked: list[Any], cache: Path | None, find_out: Callable[[], Any]) -> Any:
    """What `find_out` finds in a split of a source, as JSON. It opens the source, so it is called only once.

    `asked` says what is found out and of which images.
    """
    about = json.dumps([VERSION, RULES, found.name, found.identity, split, asked])
    key = hashlib.sha256(about.encode()).hexdigest()[:16]
    kept = (cache or cache_root()) / "known" / f"{key}.json"
    value = kept_json(kept)
    if value is None:
        value = find_out()
        keep_json(kept, value)
    return value
