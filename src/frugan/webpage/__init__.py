"""The web page of one network: plain HTML, CSS and JavaScript that runs its ONNX file in the visitor's browser.

`write_folder` makes a folder to be served, `write_file` one file that opens by double click. Neither asks anybody for
anything: a Content-Security-Policy allows the page its own parts and nothing else. The network runs on ONNX Runtime
Web's WASM form, on one thread; see `frugan.webpage.runtime` for its files.

What the page is told of the network, as JSON (`page.js` reads it):

    title, lead     words at its top
    role            "generator" or "translator"
    image           {"channels", "height", "width"}
    range           the floats of black and white, e.g. [-1, 1]
    output          the name of the ONNX output, floats [1, channels, height, width]
    latents         {"input", "size", "distribution", "order", "limit", "truncation", "fixed"}, or null. `order` are the
                    latents with the most effective first, `limit` how far a slider goes, `truncation` whether it is
                    offered, `fixed` the value at which latents are always cut off, or null.
    images          {"input"} of a translator, or null
    labels          {"input", "kind", "size", "names", "exclusive", "start"}, or null. `kind` is "classes" (an int64
                    number), "attributes" (bits as floats) or "values" (floats).
    check           {"input", "labels", "expected"}: an input (float32, base64) and the bytes [height, width, channels]
                    that the network must make of it (base64). The page compares them at its start.
    facts           [[name, value], ...] at its foot
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frugan import files as writing
from frugan.webpage import runtime

HERE = Path(__file__).parent
SCRIPTS = ("page.js", "latents.js", "opened.js")
SERVED = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""What a served page may do: read its own folder. ``wasm-unsafe-eval`` lets it run WebAssembly and nothing else."""

INLINED = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; style-src '{style}'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page in one file may do: run the one script and use the one style whose hashes these are. It reads nothing."""


def write_folder(path: Path, network: Mapping[str, Any], model: bytes, files: runtime.Files) -> Path:
    """Write ``index.html`` and its parts into the folder `path`, to be served by any web server. Returns index.html."""
    with writing.folder(path) as beside:
        for name in (*SCRIPTS, "page.css"):
            shutil.copyfile(HERE / name, beside / name)
        (beside / runtime.SCRIPT).write_bytes(files.script)
        (beside / runtime.BINARY).write_bytes(files.binary)
        (beside / "onnxruntime-web-LICENSE.txt").write_text(runtime.LICENCE)
        (beside / "model.onnx").write_bytes(model)
        (beside / "index.html").write_text(_render(network, SERVED, None), encoding="utf-8")
    return path / "index.html"


def write_file(path: Path, network: Mapping[str, Any], model: bytes, files: runtime.Files) -> Path:
    """Write everything into the one HTML file `path`. Returns it."""
    script = one_script((HERE / "page.js").read_text(), (HERE / "latents.js").read_text(), files.script.decode())
    style = (HERE / "page.css").read_text()
    inlined = {
        "script": script, "style": style, "model": _packed(model), "runtime": _packed(files.binary),
    }  # fmt: skip
    policy = INLINED.format(script=_hash(script), style=_hash(style))
    writing.write(path, _render(network, policy, inlined))
    return path


def one_script(page: str, latents: str, library: str) -> str:
    """The page's script with what it imports put in its place, so that it can stand in the page itself.

    A page that was opened as a file may import nothing, not even its neighbours.
    """
    body, exported = re.fullmatch(r"(.*)export\{([^}]*)\};\s*(?://#.*\s*)?", library, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    names = [name.split(" as ") for name in exported.split(",")]
    returned = ", ".join(f"{outer}: {inner}" for inner, outer in names if outer != "default")
    ort = f"const ort = (() => {{{body}\nreturn {{{returned}}};}})();\n"
    latents = re.sub(r"^export ", "", latents, flags=re.MULTILINE)
    page = re.sub(r"^import .*;\n", "", page, flags=re.MULTILINE)
    # Neither may end the element that it stands in.
    return f"{ort}{latents}{page}".replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _render(network: Mapping[str, Any], policy: str, inlined: Mapping[str, str] | None) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    as_json = json.dumps(network, separators=(",", ":")).replace("<", "\\u003c")
    return environment.get_template("page.html.jinja").render(
        network=network, network_json=Markup(as_json), policy=Markup(policy), licence=Markup(runtime.LICENCE),
        inlined=None if inlined is None else {name: Markup(text) for name, text in inlined.items()},
        version=runtime.VERSION,
    )  # fmt: skip


def _packed(data: bytes) -> str:
    """Bytes as the page unpacks them: gzip, since base64 makes them a third larger."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _hash(text: str) -> str:
    """A text as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
