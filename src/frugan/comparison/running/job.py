"""A job: one run of a comparison or a search, what trains it, and how far its folder says that it is."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frugan import files
from frugan.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """One run: its title for people, its folder, the command that trains it, and how many images to show it.

    If its budget is in rounds, `images` counts one batch for each of `rounds`, though a round may show more. `whole`
    are the images of the run if this job is a part of its way: progress is told of them.
    """

    title: str
    folder: Path
    command: tuple[str, ...]
    images: int
    rounds: int | None = None
    whole: int | None = None

    def until(self, images: int) -> Job:
        """A job that stops the same run after that many images. This job can then continue the run."""
        return replace(self, images=images, command=(*self.command, "--images", str(images)))

    @property
    def output(self) -> Path:
        """The file that keeps what it prints."""
        return self.folder.with_name(self.folder.name + ".txt")

    @property
    def failure_file(self) -> Path:
        """The file that exists if it failed, and says why. It lies beside the run's folder, not in it."""
        return self.folder.with_name(self.folder.name + ".failed.json")

    def why_failed(self) -> str | None:
        """Why the job's run failed; None if it did not fail."""
        if not self.failure_file.is_file():
            return None
        return _why(self.failure_file)

    def fail(self, code: int) -> str:
        """Mark it as failed, as its process ended with this exit code. Returns why: the last line that it printed."""
        why = self.last_words() or f"it ended with code {code}"
        files.write(self.failure_file, json.dumps({"code": code, "why": why}) + "\n")
        return why

    def last_words(self) -> str:
        """The last line that it printed; if its folder is gone, that."""
        try:
            text = self.output.read_text(errors="replace")
        except FileNotFoundError:
            return f"{self.output} is gone. If the folder was moved, give its new place: --out FOLDER."
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")

    @property
    def retry_file(self) -> Path:
        """The file that exists if it failed and was then trained once more; it says why it had failed."""
        return self.folder.with_name(self.folder.name + ".retried.json")

    def retry(self) -> None:
        """If it failed, let it be trained once more. A file beside it keeps the reason of the failure."""
        if self.failure_file.is_file():
            self.failure_file.replace(self.retry_file)

    def why_retried(self) -> str | None:
        """Why it had failed before it was trained once more; None if it was not."""
        return _why(self.retry_file) if self.retry_file.is_file() else None

    def why_untrained(self) -> str | None:
        """What in its log shows that it does not train, and what to try; None if nothing does."""
        from frugan.engine.health import find_untrained
        from frugan.engine.run import RunFolder

        run = RunFolder(self.folder)
        lines = run.lines(run.log)
        finding = find_untrained(lines, ended=bool(lines) and self._read_images(lines[-1]) >= self.images)
        return None if finding is None else finding.text

    def images_shown(self) -> int:
        """How many of its `images` it has been shown, from the last line of its log."""
        from frugan.engine.run import RunFolder

        log = RunFolder(self.folder).log
        if not log.is_file():
            return 0
        # Not `RunFolder.lines`: this is asked for twice a second, and a log grows long.
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().splitlines()
        for line in reversed(lines):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return self._read_images(json.loads(line))
        return 0

    def _read_images(self, line: Mapping[str, Any]) -> int:
        """How many of its `images` it had been shown at a line of its log."""
        return int(line["images"]) if self.rounds is None else self.images * line["rounds"] // self.rounds

    def finished(self) -> bool:
        """Whether its newest checkpoint was saved after all its images."""
        from frugan.engine import checkpoint
        from frugan.engine.run import RunFolder

        newest = checkpoint.newest(RunFolder(self.folder).checkpoints)
        return self.rounds is None and newest is not None and checkpoint.images_of(newest) >= self.images


def make_job(arm: Path, folder: Path, title: str, recipe: Recipe, seed: int, options: Sequence[str]) -> Job:
    """The job that trains the recipe in the file `arm` with one seed."""
    train = [sys.executable, "-m", "frugan", "train", str(arm)]
    # A comparison that was begun before runs held images out goes on with all of them, so none holds out unasked.
    held = () if recipe.data.holdout is not None else ("--holdout", "0")
    command = (*train, "--seed", str(seed), "--out", str(folder), *held, *options)
    return Job(f"{title} seed {seed}", folder, command, recipe.budget, recipe.rounds)


def _why(path: Path) -> str:
    """What a file says of a failure. Raises UserError if it is damaged."""
    told = files.read_json(path)
    files.check(told, dict[str, Any], str(path))
    return str(told["why"])
