"""Runs ``frugan`` commands in forked children, each with a fault of its choice; torch is imported once for all.

One JSON object a line comes in on stdin, one goes out on stdout. In: `arguments` of ``frugan``, `keep` seconds between
checkpoints, and a `fault`. Out: `status` (exit code, or minus the signal), `seconds`, `stdout`, `stderr`.

Faults, by `kind`:
    signal_in_training  the child gets `signal`, `seconds` after its first round (or round `number`) began, and once
                        more after `again` seconds, if that is given
    signal_at_round     the child gets `signal` when round `number` begins
    repeated            the child gets `signal` then, and again (deliberately) before the round has ended
    in                  none; the current folder is `folder`
    small_disk          no file can be longer than `bytes`
    read_only           nothing can be written but in the folder `but`
    closed_output       from then on nobody reads its output `closed`: out, err, both
    unwritable_previews every preview but the first meets a read-only disk
    kill_at_event       die at event `number`: half a write, a write, a flush, an fsync, a rename, a removal
    full_disk           the disk is full once `bytes` of checkpoints were written
    streams_from_zero   positions of the streams are not restored (so that a test of resuming must fail)
    other_loss          the generator's loss is `value` in round `number`
"""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

# Imported when first used, which would otherwise be in every child.
import PIL.ImageDraw
import PIL.ImageFont
import PIL.PngImagePlugin
import torch._dynamo

import frugan.artefact
import frugan.build
import frugan.cli
import frugan.recipes
import frugan.training
from frugan import convs, files, games, nets, stopping
from frugan.data.batches import Batches
from frugan.engine import checkpoint, health, loop
from frugan.losses import AdversarialLoss

for axis in (convs, games, nets):
    for name in axis.names():
        axis.find(name)
frugan.recipes.names()
readers = [PIL.ImageDraw, PIL.ImageFont, PIL.PngImagePlugin, torch._dynamo, health, checkpoint]


class Events:
    """Counts what is done to the disk, and dies at the one asked for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0

    def tick(self) -> None:
        self.count += 1
        if self.count == self.number:
            os._exit(9)

    def after(self, function: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            self.tick()
            return result

        return wrapped


class Writing:
    """A file whose writes can be cut short."""

    def __init__(self, file: Any, write: Any, flushed: Any) -> None:
        self.file, self.own, self.flushed = file, write, flushed

    def write(self, data: Any) -> int:
        return self.own(self.file, data)

    def flush(self) -> None:
        self.file.flush()
        self.flushed()

    def fileno(self) -> int:
        return self.file.fileno()

    def tell(self) -> int:
        return self.file.tell()

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def opening(write: Any, flushed: Any) -> None:
    """Have `write(file, data)` do what ``Path.open(...).write`` does."""
    usual = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = usual(self, mode, *arguments, **named)
        return Writing(file, write, flushed) if mode in ("wb", "a") else file

    Path.open = opened  # type: ignore[assignment, method-assign]


def commit(fault: dict[str, Any]) -> None:
    kind = fault.get("kind")
    if kind == "in":
        os.chdir(fault["folder"])
    elif kind == "small_disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["bytes"], fault["bytes"]))
    elif kind == "read_only":

        def refuse(path: Any) -> None:
            if not os.path.abspath(os.fsdecode(path)).startswith(fault["but"]):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))

        def writing(event: str, given: tuple[Any, ...]) -> None:
            path = given[0] if given else None
            if not isinstance(path, (str, bytes)) or os.fsdecode(path).startswith("/dev/"):
                return
            if (event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or event in (
                "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "os.chmod",
            ):
                refuse(path)

        sys.addaudithook(writing)
    elif kind == "unwritable_previews":
        from frugan.engine import observers

        usual_grid = observers.save_grid

        def save_grid(images: Any, path: Path, *rest: Any, **named: Any) -> None:
            if path.parent.exists():
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            usual_grid(images, path, *rest, **named)

        observers.save_grid = save_grid
    elif kind in ("signal_at_round", "signal_in_training", "repeated", "closed_output"):
        usual = loop.play_round
        left = [fault.get("number", 1)]

        def send() -> None:
            time.sleep(fault.get("seconds", 0))
            if kind == "closed_output":
                reading, writing = os.pipe()
                os.close(reading)
                for number in {"out": (1,), "err": (2,), "both": (1, 2)}[fault["closed"]]:
                    os.dup2(writing, number)
                print("is anybody there?", file=sys.stderr, flush=True)
                return
            os.kill(os.getpid(), fault["signal"])
            if "again" in fault:
                time.sleep(fault["again"])
                os.kill(os.getpid(), fault["signal"])
            if kind == "repeated":
                stopping.APART = 0.0
                os.kill(os.getpid(), fault["signal"])

        def play_round(parts: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                (threading.Thread(target=send, daemon=True).start if "seconds" in fault else send)()
            return usual(parts)

        loop.play_round = play_round
    elif kind == "kill_at_event":
        events = Events(fault["number"])

        def write(file: Any, data: Any) -> int:
            middle = len(data) // 2
            file.write(data[:middle])
            file.flush()
            events.tick()
            file.write(data[middle:])
            events.tick()
            return len(data)

        usual_append = files.append

        def append(path: Path, line: str) -> None:
            if events.count + 1 == events.number:
                usual_append(path, line[: len(line) // 2])
                os.truncate(path, path.stat().st_size - 1)  # half a line
            events.tick()
            usual_append(path, line)
            events.tick()

        files.append = append
        opening(write, events.tick)
        os.fsync, os.replace = events.after(os.fsync), events.after(os.replace)
        Path.unlink = events.after(Path.unlink)  # type: ignore[method-assign]
    elif kind == "full_disk":
        left = [fault["bytes"]]

        def write(file: Any, data: Any) -> int:
            if isinstance(file, io.TextIOBase):
                return file.write(data)
            written = file.write(data[: left[0]])
            left[0] -= written
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written

        opening(write, lambda: None)
    elif kind == "streams_from_zero":
        Batches.load_state_dict = lambda self, state: None  # type: ignore[method-assign]
    elif kind == "other_loss":
        from frugan import losses

        usual_find, rounds = losses.find, [0]

        def find(name: str, **given: Any) -> AdversarialLoss:
            found = usual_find(name, **given)

            def generator(*arguments: Any, **named: Any) -> Any:
                rounds[0] += 1
                value = found.generator(*arguments, **named)
                return value * float(fault["value"]) if rounds[0] >= fault["number"] else value

            return AdversarialLoss(found.name, found.discriminator, generator)

        losses.find = find  # type: ignore[assignment]


def serve(order: dict[str, Any]) -> dict[str, Any]:
    fault = order.get("fault") or {}
    # Pipes, since a small disk would cut files short.
    pipes = [os.pipe(), os.pipe()]
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        for number, (_, writing) in enumerate(pipes, start=1):
            os.dup2(writing, number)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        loop.KEEP_SECONDS = order["keep"]
        files.NEW = 0.0  # runs are continued at once here: what a killed one left is as old as it would be for a user
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, by which the tests may have been started, passes it over
        signal.alarm(order.get("limit", 0))
        status = 1
        try:
            commit(fault)
            frugan.cli.main(order["arguments"])
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    texts = [b"", b""]

    def read(number: int) -> None:
        os.close(pipes[number][1])
        with os.fdopen(pipes[number][0], "rb") as file:
            texts[number] = file.read()

    readers = [threading.Thread(target=read, args=[number]) for number in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    _, waited = os.waitpid(child, 0)
    seconds = time.monotonic() - began
    status = os.waitstatus_to_exitcode(waited)
    out, err = (text.decode(errors="replace") for text in texts)
    return {"status": status, "seconds": seconds, "stdout": out, "stderr": err}


for line in sys.stdin:
    print(json.dumps(serve(json.loads(line))), flush=True)
