"""The web page: its latents are those of `sample`, it may do nothing else, and it shows the artefact's images.

The tests in a browser need Debian's chromium and chromium-driver, and the files of onnxruntime-web in the folder that
``$FRUGAN_ONNXRUNTIME_WEB`` names; elsewhere they are skipped.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frugan import artefact, build, exporting, recipes, webpage
from frugan.artefact import Generator, Translator
from frugan.latents import Latents
from frugan.registry import UserError
from frugan.webpage import runtime

HERE = Path(webpage.__file__).parent
LIBRARY = 'var a=1,b="</script>";export{a as InferenceSession,b as env,a as default};\n//# sourceMappingURL=x\n'
FILES = runtime.Files(LIBRARY.encode(), b"\0asm")
NETWORK: dict[str, Any] = {
    "title": "digits: <b>", "lead": "", "role": "generator", "image": {"channels": 1, "height": 8, "width": 8},
    "range": [-1, 1], "output": "images", "latents": None, "images": None, "labels": None, "check": {},
    "facts": [["a", "<i>"]],
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the pieces


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_seed_has_the_latents_of_sample_in_the_page_too(tmp_path):
    cases = [
        (0, 100, "normal", None), (7, 62, "normal", None), (123456, 5, "normal", None), (3, 100, "uniform", None),
        (7, 100, "normal", 0.5), (2**31, 640, "normal", 0.04), (99, 128, "normal", 2.0),
    ]  # fmt: skip
    program = (
        f"import {{ latentsOf, truncated }} from {json.dumps(str(HERE / 'latents.js'))};\n"
        f"const cases = {json.dumps(cases)};\n"
        "console.log(JSON.stringify(cases.map(([seed, size, kind, limit]) => {"
        " const drawn = latentsOf(seed, size, kind);"
        " return Array.from(limit ? truncated(drawn, limit) : drawn); })));"
    )
    (tmp_path / "program.mjs").write_text(program)
    printed = subprocess.run(["node", tmp_path / "program.mjs"], capture_output=True, text=True, check=True).stdout
    for (seed, size, kind, limit), drawn in zip(cases, json.loads(printed), strict=True):
        rows = Latents(size, kind).rows(0, 1, seed, limit)[0]
        assert torch.tensor(drawn) == pytest.approx(rows, abs=2e-6), (seed, size, kind, limit)


def test_a_page_in_one_file_may_run_its_own_script_and_nothing_else(tmp_path):
    text = webpage.write_file(tmp_path / "page.html", NETWORK, b"model", FILES).read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    for part, kind in ((script, "script"), (style, "style")):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "https://" not in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert "Permission is hereby granted" in text
    assert "import " not in re.sub(r"//.*|`[^`]*`", "", script)
    assert "return {InferenceSession: a, env: b};" in script
    assert "<b>" not in text.partition("<body>")[2]
    assert "<i>" not in text


def test_a_page_in_a_folder_may_read_its_own_folder_and_nothing_else(tmp_path):
    page = webpage.write_folder(tmp_path, NETWORK, b"model", FILES)
    assert "connect-src 'self'" in page.read_text()
    assert "unsafe-inline" not in page.read_text()
    assert (tmp_path / "model.onnx").read_bytes() == b"model"
    assert (tmp_path / runtime.SCRIPT).read_bytes() == FILES.script
    assert "Microsoft" in (tmp_path / "onnxruntime-web-LICENSE.txt").read_text()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Stands for the files of onnxruntime-web."""
    files = {runtime.SCRIPT: b"script", runtime.BINARY: b"binary"}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(runtime, "HASHES", hashes)
    return files


def test_the_files_of_the_runtime_come_from_a_folder_and_are_those_of_one_version(known, tmp_path):
    (tmp_path / "dist").mkdir()
    with pytest.raises(UserError, match=r"has no ort\.wasm\.bundle\.min\.mjs .* npm pack onnxruntime-web@"):
        runtime.find(tmp_path)
    for name, data in known.items():
        (tmp_path / "dist" / name).write_bytes(data)
    assert runtime.find(tmp_path) == (b"script", b"binary")
    (tmp_path / runtime.BINARY).write_bytes(b"edited")
    with pytest.raises(UserError, match=r"is not the one of onnxruntime-web [\d.]+, or it is damaged"):
        runtime.find(tmp_path)


def test_the_files_of_the_runtime_come_from_npm_once(known, tmp_path, monkeypatch):
    monkeypatch.setenv("FRUGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    with pytest.raises(UserError, match="there is no npm here"):
        runtime.find()
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error 404' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(UserError, match=r"npm could not get onnxruntime-web .*: npm error 404"):
        runtime.find()
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name, data in known.items():
        (tmp_path / "package" / "dist" / name).write_bytes(data)
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    npm.write_text(f"#!/bin/sh\n[ \"$3\" = onnxruntime-web@{runtime.VERSION} ] && /bin/cp {tmp_path}/packed.tgz .\n")
    assert runtime.find() == (b"script", b"binary")
    npm.unlink()
    assert runtime.find() == (b"script", b"binary")


# ------------------------------------------------------------------------------------------------------------ a browser


class Browser:
    """Headless Chromium, driven through chromedriver's own protocol (W3C WebDriver)."""

    def __init__(self, profile: Path, driver: str, chromium: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([driver, f"--port={port}"], **quiet)
        self.address = f"http://127.0.0.1:{port}"
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/status").close()
                break
            time.sleep(0.05)
        options = {
            "binary": chromium, "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
                "--window-size=1100,900", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            ],
        }  # fmt: skip
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/session/{session['sessionId']}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=100) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self.ask("POST", "/url", {"url": "about:blank"})
        self.ask("POST", "/url", {"url": address})
        self.wait("document.documentElement.dataset.ready")

    def run(self, script: str, *given: Any) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(given)})

    def wait(self, condition: str) -> None:
        end = time.monotonic() + 60
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def do(self, script: str) -> None:
        """Run a script that makes the page draw, and wait for that."""
        before = int(self.run("return document.documentElement.dataset.drawn ?? 0"))
        self.run(script)
        self.wait(f"document.documentElement.dataset.drawn > {before}")

    def pixels(self, canvas: str = "image") -> np.ndarray:
        """What a canvas shows: bytes [height, width, 4]."""
        script = (
            "const c = document.getElementById(arguments[0]); return [c.width, c.height, "
            "Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
        )
        width, height, data = self.run(script, canvas)
        return np.array(data, np.uint8).reshape(height, width, 4)

    def choose(self, file: Path) -> None:
        element = self.ask("POST", "/element", {"using": "css selector", "value": "#file"})
        self.ask("POST", f"/element/{next(iter(element.values()))}/value", {"text": str(file)})

    def text(self, name: str) -> str:
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def asked_outside(self, *own: str) -> set[str]:
        """Every address, but for those that begin with one of `own`, that was requested since this was asked last."""
        lines = self.ask("POST", "/se/log", {"type": "performance"})
        events = [json.loads(line["message"])["message"] for line in lines]
        asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
        return {one for one in asked if not one.startswith((*own, "about:", "data:", "blob:"))}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.ask("DELETE", "")
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def runtime_files() -> Path:
    folder = os.environ.get("FRUGAN_ONNXRUNTIME_WEB")
    if folder is None:
        pytest.skip("needs the files of onnxruntime-web in the folder $FRUGAN_ONNXRUNTIME_WEB")
    return Path(folder)


@pytest.fixture(scope="module")
def browser(runtime_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    opened = Browser(tmp_path_factory.mktemp("profile"), driver, chromium)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def export_page(runtime_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """Exports a network as a page: a folder, and beside its index.html the same page in one file, one.html."""

    def export(network: Any) -> Path:
        folder = tmp_path_factory.mktemp("page")
        exporting.find("web").write(exporting.Parcel.of(network), folder, runtime_files=str(runtime_files))
        told = re.findall(r'id="network">(.*?)</script>', (folder / "index.html").read_text())
        model = (folder / "model.onnx").read_bytes()
        webpage.write_file(folder / "one.html", json.loads(told[0]), model, runtime.find(runtime_files))
        return folder

    return export


def untrained(recipe: str, **changes: Any) -> Any:
    network = artefact.untrained(build.assemble(recipes.find(recipe).with_changes(changes)))
    with torch.no_grad():  # first weights make images that are almost grey
        last = [module for module in network.module.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        last.weight.mul_(4)
    return network


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[Path], str]]:
    servers = []

    def serve(folder: Path) -> str:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given, directory=str(folder))

            def log_message(self, *given: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def check_generator(browser: Browser, network: Generator, address: str) -> None:
    """Drive everything on the page of a generator with three classes, and compare what it shows with the artefact."""
    def apart(seed: int, label: int = 0, truncation: float | None = None, moved: dict[int, float] | None = None) -> int:
        latents = network.latents.rows(0, 1, seed, truncation)
        for index, value in (moved or {}).items():
            latents[0, index] = value
        made = network(latents, torch.tensor([label]))
        wanted = (made.clamp(-1, 1) * 127.5 + 127.5).round()[0].permute(1, 2, 0).numpy()
        return int(np.abs(browser.pixels()[..., :1].astype(float) - wanted).max())

    browser.asked_outside()  # forget what others asked for
    browser.open(address)
    assert browser.text("said").startswith("Ready. This device makes the image that the network was exported with")
    assert browser.run("return document.getElementById('trouble').hidden")
    assert browser.run("return location.hash") == "#seed=0&label=0"
    assert apart(0) <= 2
    assert np.abs(browser.pixels()[..., :1].astype(int) - network.sample(1, seed=0)[0]).max() <= 2

    browser.do("document.getElementById('new').click()")
    seed = int(browser.run("return location.hash").removeprefix("#seed=").partition("&")[0])
    assert seed != 0
    assert apart(seed) <= 2

    move = "const s = document.querySelector('[data-latent=\"{}\"]'); s.value = {}; s.dispatchEvent(new Event('input'))"
    browser.do(move.format(3, 2.5))
    browser.do(move.format(1, -1.25))
    browser.do("const s = document.getElementById('label'); s.value = 2; s.dispatchEvent(new Event('change'))")
    assert browser.run("return location.hash") == f"#seed={seed}&moved=3:2.5,1:-1.25&label=2"
    assert apart(seed, 2, None, {3: 2.5, 1: -1.25}) <= 2
    assert apart(seed, 2) > 2

    browser.open(f"{address}#seed=41&truncation=0.6&moved=2:0.5&label=1")  # as somebody sends it
    assert apart(41, 1, 0.6, {2: 0.5}) <= 2
    browser.open(f"{address}#seed=x&label=77&moved=1e9:1,2:nan&truncation=-1&at=7")  # and as somebody mangles it
    assert apart(0) <= 2

    before = int(browser.run("return document.documentElement.dataset.drawn"))
    browser.do("document.getElementById('walk').click()")
    time.sleep(1)
    made = int(browser.run("return document.documentElement.dataset.drawn")) - before
    browser.do("document.getElementById('walk').click()")
    assert made >= 15
    assert float(browser.text("speed").split()[0].replace(",", "")) >= 30  # images/s
    words = dict(part.split("=") for part in browser.run("return location.hash")[1:].split("&"))
    assert (words["seed"], words["to"]) == ("0", "1")
    shown = browser.pixels()
    browser.open(address + browser.run("return location.hash"))  # a place on the way can be sent, too
    assert np.abs(browser.pixels().astype(int) - shown).max() <= 2

    unnamed = browser.run(
        "return [...document.querySelectorAll('input, select, button')].filter("
        "(one) => !(one.getAttribute('aria-label') || one.textContent.trim()"
        " || one.labels?.[0]?.textContent.trim())).length"
    )
    assert unnamed == 0
    assert browser.asked_outside(address) == set()


SMALL = {"generator.channels": [8, 8, 8], "latents.size": 16, "data.classes": 3, "discriminator.channels": [4, 4, 4, 4]}


def test_the_page_of_a_generator_shows_what_the_artefact_makes(browser, export_page, served):
    network = untrained("cgan", **SMALL)
    assert isinstance(network, Generator)
    folder = export_page(network)
    check_generator(browser, network, served(folder))
    check_generator(browser, network, (folder / "one.html").as_uri())

    text = (folder / "one.html").read_text()  # "it is black on the phone"
    black = base64.b64encode(bytes(784)).decode()
    (folder / "other.html").write_text(re.sub(r'"expected":"[^"]*"', f'"expected":"{black}"', text))
    browser.open((folder / "other.html").as_uri())
    assert "Do not trust what you see" in browser.text("trouble")


def test_a_folder_that_is_opened_as_a_file_says_what_to_do(browser, tmp_path):
    page = webpage.write_folder(tmp_path, NETWORK, b"", FILES)
    browser.ask("POST", "/url", {"url": page.as_uri()})
    assert "must be served" in browser.text("trouble")


def test_the_page_of_a_translator_translates_pictures_and_the_camera(browser, export_page, tmp_path):
    small = {"data.size": 32, "generator.width": 0.1, "generator.blocks": 1, "discriminator.width": 0.05}
    network = untrained("stargan", **small)
    assert isinstance(network, Translator)
    names = ["black_hair", "blond_hair", "brown_hair", "glasses", "old"]
    network.config["domains"] = {"kind": "attributes", "names": names, "exclusive": [[0, 1, 2]]}
    browser.asked_outside()  # forget what others asked for
    page = (export_page(network) / "one.html").as_uri()
    browser.open(page)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.png")

    def choose(name: str) -> None:
        browser.choose(tmp_path / name)
        time.sleep(0.3)

    choose("picture.png")
    browser.wait("document.documentElement.dataset.drawn > 0")
    assert np.abs(browser.pixels("given")[..., :3].astype(int) - np.asarray(picture)).max() <= 2
    for attribute in (1, 0, 3):  # of hair colours, the last one stays
        browser.do(f"document.querySelectorAll('#attributes input')[{attribute}].click()")
    bits = [[1, 0, 0, 1, 0]]
    wanted = network.translate(browser.pixels("given")[None, ..., :3], to=torch.tensor(bits, dtype=torch.float32))
    assert np.abs(browser.pixels()[..., :3].astype(int) - wanted[0]).max() <= 2

    (tmp_path / "no.png").write_text("no picture")
    choose("no.png")
    browser.wait("!document.getElementById('trouble').hidden")
    assert browser.text("trouble").startswith("no.png is no picture that this browser can read")
    Image.new("L", (10_000, 10_000)).save(tmp_path / "large.png")
    choose("large.png")
    browser.wait("document.getElementById('trouble').textContent.startsWith('large.png has 100 megapixels')")

    browser.do("document.getElementById('camera').click()")
    browser.do("")
    browser.run("document.getElementById('camera').click()")
    assert browser.run("return document.getElementById('trouble').hidden")
    assert browser.asked_outside(page) == set()


def test_a_network_without_images_has_no_page(tmp_path):
    encoder = SimpleNamespace(artefact=SimpleNamespace(role="encoder"))
    with pytest.raises(UserError, match=r"a network in the role 'encoder' makes none\. Export it with --to onnx"):
        exporting.find("web").write(encoder, tmp_path)


def test_a_folder_for_the_hub_has_what_people_look_for_there(tmp_path):
    network = untrained("cgan", **SMALL)
    exporting.find("hub-folder").write(exporting.Parcel.of(network), tmp_path, licence="mit")
    files = {"model.safetensors", "config.json", "README.md", "samples.png"}
    assert {path.name for path in tmp_path.iterdir()} == files
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: frugan\npipeline_tag: unconditional-image-generation\nlicense: mit\n")
    for part in ("](samples.png)", "## What it costs", "## Data", 'frugan.load("hf-hub:OWNER/NAME")'):
        assert part in card
    assert np.array_equal(artefact.load(tmp_path).sample(2), network.sample(2))
