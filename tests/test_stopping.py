"""Requests to stop, and the output of a program that is asked."""

from __future__ import annotations

import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from frugan import stopping, terminal
from frugan.__main__ import main


def kill(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_the_first_request_is_noted_and_only_the_same_signal_later_is_obeyed_at_once(monkeypatch):
    with stopping.collected() as asked:
        assert not asked
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            kill(number)  # a scheduler, a shell and a terminal pass on one request
        assert asked
        monkeypatch.setattr(stopping, "APART", 0.0)
        with pytest.raises(KeyboardInterrupt):
            kill(signal.SIGTERM)


def test_a_request_that_was_noted_is_not_obeyed_again_while_it_is_said_what_was_saved(monkeypatch):
    with stopping.listening():
        with stopping.collected():
            kill()
        kill()  # the same request, from the shell
        monkeypatch.setattr(stopping, "APART", 0.0)
        with pytest.raises(KeyboardInterrupt):
            kill()


def test_where_nothing_is_saved_a_request_is_obeyed_once():
    with stopping.listening() as asked:
        with pytest.raises(KeyboardInterrupt):
            kill()
        kill()  # while files are cleaned up, say
        assert asked
    with stopping.listening(), stopping.listening(), pytest.raises(KeyboardInterrupt):
        kill()


def test_afterwards_signals_do_what_they_did_before():
    def own(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGUSR1, own)
    try:
        with stopping.collected() as asked:
            kill(signal.SIGUSR1)
            assert not asked  # the program has a use of its own for it
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        signal.signal(signal.SIGUSR1, before)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        with stopping.collected() as asked:
            kill(signal.SIGHUP)
            assert not asked
    finally:
        signal.signal(signal.SIGHUP, ignored)


def test_training_in_another_thread_does_not_take_signals_away():
    def train() -> None:
        with stopping.collected():
            inside.set()
            done.wait(10)

    inside, done = threading.Event(), threading.Event()
    other = threading.Thread(target=train)
    with stopping.listening():
        other.start()
        assert inside.wait(10)
        with pytest.raises(KeyboardInterrupt):
            kill()
    done.set()
    other.join()


def test_no_import_is_left_half_done(tmp_path: Path, monkeypatch):
    (tmp_path / "slowly_imported.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def use() -> None:
        importlib.import_module("slowly_imported")
        time.sleep(5)

    with stopping.listening(), pytest.raises(KeyboardInterrupt):
        use()
    assert sys.modules.pop("slowly_imported").whole


def test_names_reach_the_terminal_without_their_control_characters(capsys):
    with terminal.printing():
        print("photos\x1b[2J\x07\r\u202egnp.exe", "na\udcefve", "tab\tand é stay")
        terminal.console().print("[red]\x1b[31mred[/]")
    assert capsys.readouterr().out == (
        "photos\\x1b[2J\\x07\\r\\u202egnp.exe na\\udcefve tab\tand é stay\n[red]\\x1b[31mred[/]\n"
    )


def test_an_ascii_terminal_gets_what_it_can_show():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    print("é", file=terminal.Output(stream))
    assert raw.getvalue() == b"\\xe9\n"


@pytest.mark.parametrize("arguments", [["recipes"], ["--help"], ["train", "--help"]])
def test_a_verb_whose_output_is_closed_ends_quietly(arguments):
    typed = [sys.executable, "-m", "frugan", *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(typed, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_that_was_started_without_outputs_does_its_work(closed, tmp_path):
    made, few = tmp_path / "sheet.png", tmp_path / "few.npz"
    np.savez(few, images=np.zeros((9, 8, 8), np.uint8))
    typed = f"{sys.executable} -m frugan data show {few} --out {made} {closed}"
    done = subprocess.run(["sh", "-c", typed], capture_output=True, check=False)
    assert (done.returncode, done.stderr, made.is_file()) == (0, b"", True)


@pytest.mark.parametrize("columns", ["0", "1"])
def test_too_narrow_a_terminal_is_taken_for_a_usual_one(columns):
    typed = [sys.executable, "-m", "frugan", "recipes", "mnist"]
    done = [
        subprocess.run(typed, env={**os.environ, "COLUMNS": one}, capture_output=True, text=True, check=False).stdout
        for one in (columns, "80")
    ]
    assert done[0] == done[1] != ""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs to see which signals a program receives")
@pytest.mark.parametrize("moment", [0, 0.3])
def test_ctrl_c_in_the_first_second_is_heard(moment):
    typed = [sys.executable, "-m", "frugan", "data", "show", "glyphs", "--out", "/nowhere/x.png"]
    with subprocess.Popen(typed, stderr=subprocess.PIPE, text=True) as program:
        while not _receives(program.pid, signal.SIGUSR1):  # Python itself has started
            time.sleep(0.01)
        time.sleep(moment)
        program.send_signal(signal.SIGINT)
        assert program.stderr is not None
        assert program.stderr.read().strip().splitlines()[-1:] in (["frugan: interrupted."], [])
        assert program.wait(20) == 130


@pytest.mark.parametrize("name", ["SIGINT", "SIGXCPU"])  # the first and the last that are received
def test_a_request_while_the_signals_are_being_received_ends_the_program_too(name, monkeypatch):
    receive, before = signal.signal, {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGXCPU)}

    def receive_and_send(number, handler):
        last = receive(number, handler)
        if handler is stopping._receive and number == getattr(signal, name):
            os.kill(os.getpid(), number)
        return last

    monkeypatch.setattr(signal, "signal", receive_and_send)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    assert before == {each: signal.getsignal(each) for each in before}
    assert not stopping._heard


def _receives(process: int, number: int) -> bool:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:")).split()[1]
    return bool(int(caught, 16) >> (number - 1) & 1)
