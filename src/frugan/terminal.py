"""What is printed for people: readable whatever names hold, and never a reason to lose work.

File names and titles come from anywhere, so control characters in them reach no terminal: an escape sequence could
write what was never said. Characters that the terminal cannot show are escaped too.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from frugan import stopping

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters without tab and new line, marks that reverse the order of writing, and bytes of no UTF-8."""


OUTPUT = "The output"
"""The file name of errors of stdout and stderr."""

NARROWEST, USUAL = 20, 80
"""Columns below which nothing can be read, as of a terminal that does not know its width; and what is then taken."""


def prepare() -> None:
    """Give a program stdin, stdout and stderr where it was started without, as by cron or ``>&-``, and a usable width.

    For what is missing it gets the null device; otherwise the next file that it opens would be taken for its output.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115, it stays open
    said = os.environ.get("COLUMNS", "")
    if min(int(said) if said.isdecimal() else USUAL, shutil.get_terminal_size().columns) < NARROWEST:
        os.environ["COLUMNS"] = str(USUAL)


def plain(text: str) -> str:
    """The text with its control characters escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The text as one line, its new lines escaped too: a name that holds one could write a line of its own."""
    return plain(text).replace("\n", "\\n")


def say(line: object) -> None:
    """Print a result in one line, whatever names stand in it."""
    print(one_line(str(line)))


def tell(line: object) -> None:
    """Print in one line what happens meanwhile: to stderr, where it does not mix with results."""
    print(one_line(str(line)), file=sys.stderr, flush=True)


def console(*, stderr: bool = False) -> Any:
    """A console of `rich` that takes what it is given as plain text, not as markup or escape sequences."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(plain(text), **options)

    stream: Any = sys.stderr if stderr else sys.stdout
    if isinstance(stream, Output):
        stream = stream.styled()
    return Plain(file=stream, markup=False, highlight=False)  # pyrefly: ignore


class Output(io.TextIOBase):
    """Stands for stdout or stderr: prints plain text, and asks to stop if nobody reads it any more.

    Text that cannot be written is dropped where there is something to save; elsewhere the error is raised.
    """

    def __init__(self, stream: TextIO, escapes: bool = True) -> None:
        self.stream, self.escapes = stream, escapes
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]

    def styled(self) -> Output:
        """The same output, for a program's own escape sequences."""
        return Output(self.stream, escapes=False)

    def write(self, text: str) -> int:
        """Print."""
        with self._survived():
            self.stream.write(plain(text) if self.escapes else text)
        return len(text)

    def flush(self) -> None:
        """Hand over what was printed."""
        with self._survived():
            self.stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """The number of its file."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # pyrefly: ignore
        """Its encoding."""
        return self.stream.encoding

    @contextlib.contextmanager
    def _survived(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is still in the stream's buffer would fail again, at the latest when the program ends.
            with contextlib.suppress(OSError, ValueError):
                quiet = os.open(os.devnull, os.O_WRONLY)
                os.dup2(quiet, self.stream.fileno())
                os.close(quiet)
            if not stopping.is_saving():
                error.filename = OUTPUT
                raise
            if error.errno in _UNREAD:
                stopping.ask()


_UNREAD = (errno.EPIPE, errno.EIO, errno.ENXIO)
"""Errors of a pipe or a terminal that was closed. Others, such as a full disk, say nothing of who reads."""


@contextlib.contextmanager
def printing(*, escapes: bool = True) -> Iterator[None]:
    """Inside, stdout and stderr are `Output`; without `escapes`, a program's own escape sequences pass."""
    before = sys.stdout, sys.stderr
    streams = [one.stream if isinstance(one, Output) else one for one in before]
    sys.stdout, sys.stderr = (Output(one, escapes) for one in streams)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
