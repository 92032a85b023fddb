import logging
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import typer

from cartcls.runtime.console import keep_until_end, run
from cartcls.runtime.errors import BackendError, BundleError, CartclsError, InterruptedRun, ParityError, UsageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CartclsError("it failed"), 1),
        (BundleError("it failed"), 1),
        (BackendError("it failed"), 4),
        (ParityError("it failed"), 5),
        (UsageError("it failed"), 2),
    ],
)
def test_each_error_has_its_exit_code(error: CartclsError, code: int, capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise error

    with pytest.raises(SystemExit) as exit:
        run(app)
    assert exit.value.code == code
    assert capsys.readouterr().err == "error: it failed\n"


def test_pillow_logs_nothing_to_the_terminal():
    pillow = logging.getLogger("PIL")
    before = pillow.level
    pillow.setLevel(logging.NOTSET)
    try:
        run(lambda: None)
        assert not logging.getLogger("PIL.TiffImagePlugin").isEnabledFor(logging.ERROR)
    finally:
        pillow.setLevel(before)


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise CartclsError("slide \x1b[31m\n\udcff is not a folder")

    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == "error: slide \\x1b[31m\\n\\udcff is not a folder\n"


@pytest.mark.parametrize(("module", "extra"), [("torch", "train,export"), ("sklearn", "calibration")])
def test_a_missing_extra_is_named_and_a_bug_is_not_hidden(module: str, extra: str, capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == (
        f"error: {module} is not installed: pip install '.[{extra}]' in the clone of cartcls\n"
    )
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


WORK = """
import sys
from pathlib import Path
from cartcls.runtime.console import run

def app():
    for slide in ("Łódź", "b", "c" * 100_000, "\\udcff"):
        print(slide)
        print(slide, file=sys.stderr)
    Path(sys.argv[1]).touch()

run(app)
"""


def work(done: Path, stdout: Any, stderr: Any = subprocess.PIPE, **environment: str) -> tuple[int, list[str]]:
    """Run a command line that prints, and marks when it is done; its exit code and lines on stderr."""
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    command = [sys.executable, "-c", WORK, str(done)]
    ended = subprocess.run(command, stdout=stdout, stderr=stderr, env=variables, check=False)
    assert done.exists()
    return ended.returncode, (ended.stderr or b"").decode("latin-1").splitlines()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_has_not_all_letters_is_no_error(tmp_path: Path, unbuffered: str):
    with (tmp_path / "said").open("wb") as said:
        code, lines = work(tmp_path / "done", said, PYTHONIOENCODING="latin-1", PYTHONUNBUFFERED=unbuffered)
    printed = (tmp_path / "said").read_text("latin-1").splitlines()
    assert (code, len(printed), printed) == (0, 4, lines)
    assert (printed[0], printed[-1]) == ("\\u0141ód\\u017a", "\\udcff")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stdout_ends_nothing_and_is_told_in_one_line(tmp_path: Path, unbuffered: str):
    with open("/dev/full", "wb") as full:
        code, lines = work(tmp_path / "done", full, PYTHONUNBUFFERED=unbuffered)
    assert (code, len(lines)) == (1, 5)
    assert lines[-1] == "error: the results cannot be written to stdout: No space left on device"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_nobody_reading_ends_nothing_and_is_no_error(tmp_path: Path, unbuffered: str):
    read, write = os.pipe()
    os.close(read)
    code, lines = work(tmp_path / "done", write, PYTHONUNBUFFERED=unbuffered)
    assert (code, len(lines)) == (0, 4)
    code, _ = work(tmp_path / "done", write, write, PYTHONUNBUFFERED=unbuffered)
    os.close(write)
    assert code == 0


def test_a_full_stdout_hides_no_error():
    code = "from cartcls.runtime import console\nfrom cartcls.runtime.errors import BackendError\n"
    code += "def app():\n    print('x')\n    raise BackendError('no GPU')\nconsole.run(app)"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (4, 2)
    assert done.stderr.startswith("error: no GPU\n")


PROCESS = """
import atexit, sys, weakref
from cartcls.runtime import console
class Kept:
    pass
kept = Kept()
class Freed:
    def __del__(self):
        print("freed by the interpreter")
def app():
    console.keep_until_end(Freed())
    weakref.finalize(kept, print, "finalized")
    atexit.register(print, "done at the end")
    print("said")
    if sys.argv[1] == "error":
        raise ValueError("a bug")
    sys.exit(eval(sys.argv[1]))
console.run_process(app)
"""


@pytest.mark.parametrize(
    ("ended_by", "code", "freed"),
    [("0", 0, False), ("None", 0, False), ("3", 3, False), ("'a text'", 1, True), ("error", 1, True)],
)
def test_a_process_ends_with_its_code_once_all_is_written_and_done(ended_by: str, code: int, freed: bool):
    done = subprocess.run([sys.executable, "-c", PROCESS, ended_by], capture_output=True, text=True, check=False)
    assert (done.returncode, "a bug" in done.stderr) == (code, ended_by == "error")
    last = ["freed by the interpreter"] if freed else []
    assert done.stdout.splitlines() == ["said", "done at the end", "finalized", *last]


def test_nothing_is_kept_where_the_process_goes_on():
    thing = {1}
    kept = weakref.ref(thing)
    keep_until_end(thing)
    run(lambda: None)
    del thing
    assert kept() is None


@pytest.mark.parametrize("by", ["itself", "Typer", "Lightning", "a command"])
def test_an_interruption_is_one_line_and_130(by: str, capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if by == "itself":
                raise
            if by == "a command":
                raise InterruptedRun("1 of 2 slides are done") from None
            if by == "Lightning":
                sys.exit(1)
            typer_app = typer.Typer()
            typer_app.command()(interrupted)
            typer_app([])

    with pytest.raises(SystemExit) as exit:
        run(app)
    assert exit.value.code == 130
    told = "interrupted: 1 of 2 slides are done\n" if by == "a command" else "interrupted\n"
    assert capsys.readouterr().err == told


def interrupted() -> None:
    raise KeyboardInterrupt
