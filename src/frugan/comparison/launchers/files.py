"""By hand: the runs are written as commands, one a line, for any scheduler, GNU parallel, xargs or a loop over ssh."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from frugan import files
from frugan.comparison.launchers import LEFT, Launcher
from frugan.comparison.running.work import make_works
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.comparison.running.tasks import Task
    from frugan.comparison.running.workshop import Workshop

COMMANDS, PAGE = "jobs.txt", "jobs.md"

HOW = """# How to run these {count} commands

Each line of [{commands}]({commands}) trains one run and measures it. The lines may run in any order, on any machine
that has this folder, the cache {cache} and the same Python under the same paths. A line that was interrupted continues
where it was. A line that is done does nothing. Two machines never train one run at the same time: the second one waits.

```sh
xargs -d '\\n' -n 1 -P 2 sh -c < {commands}                              # two at a time, on this machine
parallel -j 2 < {commands}                                              # the same with GNU parallel
parallel --sshlogin one,two,three -j 2 < {commands}                     # on three machines
split -n l/2 {commands} part- && ssh one sh $PWD/part-aa & ssh two sh $PWD/part-ab    # a loop over ssh
sed -n "${{SLURM_ARRAY_TASK_ID}}p" {commands} | sh                        # in a job array of any scheduler: line N
```

Then type the same `frugan compare` command again, without `--retry-failed`, which would train failed runs once more. It
reads what is there, and writes the commands of the next part if there is one: trials (`--tune`), pilots, the test.
"""


def train(task: Task, workshop: Workshop, *, threads: int = 0) -> None:
    """Write the commands of all runs that are not done, and end. If all are done, return.

    Args:
        task: the runs.
        workshop: how they are trained and measured.
        threads: how many threads each run gets. 0: the cores of this machine, shared by ``--jobs``.
    """
    works = [work for work in make_works(task, workshop, threads or workshop.threads) if not work.is_done()]
    place = workshop.folder / COMMANDS
    if not works:
        for left in (place, workshop.folder / PAGE):
            left.unlink(missing_ok=True)
        return
    for work in works:
        work.write()
    files.write(place, "".join(shlex.join(work.command()) + "\n" for work in works))
    page = HOW.format(count=len(works), commands=COMMANDS, cache=works[0].environment["FRUGAN_CACHE"])
    files.write(workshop.folder / PAGE, page)
    print(
        f"{len(works)} commands are in {place}, one a line. Run them (the file {PAGE} beside it says how), e.g.:\n"
        f"  xargs -d '\\n' -n 1 -P 2 sh -c < {shlex.quote(str(place))}\n"
        "Then type the same frugan command again (without --retry-failed).",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    raise SystemExit(LEFT)


def check(*, threads: int = 0) -> None:
    """Raise UserError for an impossible number of threads."""
    if threads < 0:
        raise UserError(f"threads = {threads}: give how many threads each run gets, or 0.")


variant = Launcher("files", train, check)
