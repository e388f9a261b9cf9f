"""ONNX Runtime Web, the library by which the page runs a network: which files, and where they come from.

They are not part of frugan: 14 MB. They come from a folder that the user names, from the cache, or from the package
onnxruntime-web by npm, in exactly the version that this page was tested with. Their hashes are known, so a file that is
damaged, edited or of another version never gets into a page.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from frugan import files
from frugan.cache import cache_root
from frugan.files import expanded
from frugan.registry import UserError

VERSION = "1.30.0"
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
HASHES = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    BINARY: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LICENCE = """ONNX Runtime Web, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_GET = (
    f"Get them once: npm pack onnxruntime-web@{VERSION}, unpack the .tgz, and give its folder 'package' as "
    "runtime_files=FOLDER."
)


class Files(NamedTuple):
    """The contents of the library's two files."""

    script: bytes
    binary: bytes


def find(folder: str | Path | None = None) -> Files:
    """The files from `folder`, or else from the cache, or else by npm, which are then kept in the cache.

    Raises UserError if they are not there, or are not those of `VERSION`.
    """
    if folder is not None:
        return _read(expanded(folder), f"runtime_files={folder}")
    kept = cache_root() / f"onnxruntime-web-{VERSION}"
    if not all((kept / name).is_file() for name in HASHES):
        _fetch(kept)
    return _read(kept, str(kept))


def _read(folder: Path, said: str) -> Files:
    """The files in a folder, or in its ``dist``, as the package has them."""
    contents = []
    for name, known in HASHES.items():
        file = next((place / name for place in (folder, folder / "dist") if (place / name).is_file()), None)
        if file is None:
            raise UserError(f"{said} has no {name} of onnxruntime-web. {_GET}")
        contents.append(file.read_bytes())
        if hashlib.sha256(contents[-1]).hexdigest() != known:
            raise UserError(f"{file} is not the one of onnxruntime-web {VERSION}, or it is damaged. {_GET}")
    return Files(*contents)


def _fetch(kept: Path) -> None:
    """Have npm download the package, and keep the two files."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"A web page needs the files of onnxruntime-web {VERSION}, and there is no npm here. {_GET}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run(
            [npm, "pack", "--silent", f"onnxruntime-web@{VERSION}"], cwd=folder, capture_output=True, text=True,
        )  # fmt: skip
        packed = next(folder.glob("*.tgz"), None)
        if done.returncode or packed is None:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no file"]
            raise UserError(f"npm could not get onnxruntime-web {VERSION}: {lines[-1].strip()}. {_GET}")
        with tarfile.open(packed) as archive:
            for file in HASHES:
                inside = archive.extractfile(f"package/dist/{file}")
                assert inside is not None
                files.write(kept / file, inside.read())
