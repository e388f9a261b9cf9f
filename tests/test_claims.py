"""Claims on a folder: on one machine, and on several that share a disk on which locks do not work and data come late.

Another machine is a process, or a stretch of a test, in which `claims.place` says something else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frugan import claims
from frugan.claims import HeldError, claimed
from frugan.engine.run import RunFolder

ELSEWHERE = """
import sys, time
from frugan import claims
claims.BEAT, claims.PATIENCE, claims.LOOK = 0.1, 1.0, 0.05
claims.place = lambda: "elsewhere"
"""
HOLD = "with claims.claimed(__import__('pathlib').Path(sys.argv[1])) as claim:\n    print('held', flush=True)\n"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.1), ("PATIENCE", 1.0), ("LOOK", 0.05)):
        monkeypatch.setattr(claims, name, seconds)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a program on another machine that holds the folder, and goes on as it is told."""
    started: list[subprocess.Popen[str]] = []

    def start(then: str) -> subprocess.Popen[str]:
        program = ELSEWHERE + HOLD + "".join(f"    {line}\n" for line in then.splitlines())
        one = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        started.append(one)
        assert one.stdout is not None
        assert one.stdout.readline() == "held\n"
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        assert one.stdout is not None
        one.stdout.close()


def no_locks(*given: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_folder_is_held_once_let_go_and_held_again(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with claimed(tmp_path) as claim:
            began = time.monotonic()
            with pytest.raises(HeldError, match=r"Another process is training .*another --out"), claimed(tmp_path):
                pass
            assert time.monotonic() - began < 0.5  # on one machine nobody waits
            claim.check()
            assert [one.name for one in tmp_path.iterdir()] == [f".lock-{number}"]
        assert claims.holder(tmp_path) is None


def test_a_crash_on_this_machine_is_known_at_once(tmp_path: Path) -> None:
    program = "import sys, os\nfrom frugan import claims\n" + HOLD + "    os._exit(9)\n"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL)
    assert claims.holder(tmp_path) is not None
    began = time.monotonic()
    with claimed(tmp_path):
        assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("locks", [True, False])
def test_a_living_owner_on_another_machine_is_left_alone(
    tmp_path: Path, elsewhere: Callable[[str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    if not locks:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    elsewhere("time.sleep(60)")
    with pytest.raises(HeldError, match="Another process is training"), claimed(tmp_path):
        pass


@pytest.mark.parametrize("hours", [-9, 0, 9])
def test_a_crash_on_another_machine_is_survived_whatever_its_clock_says(
    tmp_path: Path, elsewhere: Callable[[str], subprocess.Popen[str]], capsys: pytest.CaptureFixture[str], hours: int
) -> None:
    owner = elsewhere("time.sleep(60)")
    owner.kill()
    owner.wait()
    os.utime(tmp_path / ".lock-1", (time.time() + 3600 * hours,) * 2)
    began = time.monotonic()
    with claimed(tmp_path) as claim:
        assert time.monotonic() - began >= claims.PATIENCE
        assert claim.path.name == ".lock-2"
    assert "whether it still runs" in capsys.readouterr().err


def test_without_locks_this_machine_watches_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with claimed(tmp_path):
        with pytest.raises(HeldError), claimed(tmp_path):
            pass
        monkeypatch.setattr(claims, "BEAT", 60.0)  # from the next beat on: as if it had crashed
        time.sleep(0.3)
        with claimed(tmp_path) as claim:
            claim.check()


def test_data_that_arrive_late_make_nobody_look_dead(
    tmp_path: Path, elsewhere: Callable[[str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, kept = claims._read, {}

    def late(path: Path) -> object:
        """What a file held up to 0.6 s ago, as a client with a cache of attributes sees it."""
        now = time.monotonic()
        if path not in kept or now - kept[path][0] > 0.6:
            kept[path] = (now, read(path))
        return kept[path][1]

    monkeypatch.setattr(claims, "_read", late)
    elsewhere("time.sleep(60)")
    for _ in range(3):
        with pytest.raises(HeldError), claimed(tmp_path):
            pass


def test_an_owner_that_slept_finds_that_it_was_replaced_and_stops(
    tmp_path: Path, elsewhere: Callable[[str], subprocess.Popen[str]]
) -> None:
    owner = elsewhere(
        "while True:\n"
        "    time.sleep(0.05)\n"
        "    try: claim.check()\n"
        "    except OSError as error: print(error.strerror, flush=True); break"
    )
    owner.send_signal(signal.SIGSTOP)
    with claimed(tmp_path) as claim:
        owner.send_signal(signal.SIGCONT)
        assert owner.stdout is not None
        assert owner.stdout.readline() == "another process took it over, since this one showed no life for 1 s\n"
        assert owner.wait() == 0
        claim.check()  # what the old owner leaves behind does not touch the new one
        with pytest.raises(HeldError), claimed(tmp_path):
            pass


def test_who_slept_between_look_and_claim_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, slept = claims._wait_until_free, []
    with claimed(tmp_path):
        pass

    def sleepy(path: Path) -> None:
        wait(path)
        if not slept:  # others take the folder and let it go, twice; a third one has it still
            slept.append(path)
            for _ in range(2):
                with claimed(tmp_path):
                    pass
            third.__enter__()

    third = claimed(tmp_path)
    monkeypatch.setattr(claims, "_wait_until_free", sleepy)
    with pytest.raises(HeldError), claimed(tmp_path):
        pass
    assert [one.name for one in tmp_path.iterdir()] == [".lock-4"]
    third.__exit__(None, None, None)


def test_of_many_that_want_a_dead_folder_one_at_a_time_has_it(
    tmp_path: Path, elsewhere: Callable[[str], subprocess.Popen[str]]
) -> None:
    owner = elsewhere("time.sleep(60)")
    owner.kill()
    program = ELSEWHERE.replace("elsewhere", "machine " + "{}") + (
        "from pathlib import Path\n"
        "folder, got = Path(sys.argv[1]), 0\n"
        "while got < 3:\n"
        "    try:\n"
        "        with claims.claimed(folder):\n"
        "            (folder / 'alone').mkdir(); time.sleep(0.02); (folder / 'alone').rmdir(); got += 1\n"
        "    except claims.HeldError: time.sleep(0.02)\n"
    )
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", program.format(number % 2), str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    said = [one.communicate(timeout=60)[1] for one in racing]
    assert [one.returncode for one in racing] == [0] * 4, said
    assert not (tmp_path / "alone").exists()


def test_a_run_that_was_taken_over_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    with run.locked():
        run.append(run.log, {"images": 1})
        (tmp_path / ".lock-2").write_text("")
        with pytest.raises(OSError, match="took it over"):
            run.append(run.log, {"images": 2})
    assert run.lines(run.log) == [{"images": 1}]


def test_what_many_need_is_made_by_one_of_them(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom frugan.views import _learnt\nimport torch\n"
        "def learn():\n"
        "    print('learning', flush=True); time.sleep(1); return {'weight': torch.zeros(1)}, {}\n"
        "_learnt.kept_or_learnt(Path(sys.argv[1]) / 'views' / 'judge', 'judge', learn)\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert "".join(one.communicate(timeout=100)[0] for one in workers) == "learning\n"
