"""Turns errors into one line on stderr and an exit code, for every command line of cartcls."""

import atexit
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

from .errors import BackendError, CartclsError, InterruptedRun, ParityError, UsageError, install

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

REVIEW = ("starlette", "uvicorn")  # what the extra of that name holds
CALIBRATION = ("matplotlib", "onnx", "onnxruntime", "scipy", "sklearn")  # what the extra of that name holds
ARCHIVE = ("pandas", "pyarrow", "ray")  # likewise
EXIT_FAILED, EXIT_USAGE, EXIT_UNREADABLE, EXIT_BACKEND, EXIT_PARITY, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130
CODES = {
    BackendError: EXIT_BACKEND,
    InterruptedRun: EXIT_INTERRUPTED,
    ParityError: EXIT_PARITY,
    UsageError: EXIT_USAGE,
}


def run(app: Callable[[], object]) -> None:
    """Run a command line; an expected error becomes one line and an exit code, any other keeps its traceback.

    Work goes on where its output cannot be printed. Letters that the encoding lacks are written as escapes. Where
    nobody reads the output any more (`| head`), it is dropped. Where it cannot be written (a full disk), the exit code
    is 1.
    """
    warnings.filterwarnings("ignore", module="PIL")  # the row of a damaged image says what is wrong with it
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with _lasting_output() as lost:
        code = _exit_code(app)
        if sys.stdout is not None:
            sys.stdout.flush()
        if lost and lost[0].errno != errno.EPIPE:
            _say(f"error: the results cannot be written to stdout: {lost[0].strerror}")
            code = EXIT_FAILED if code in (0, EXIT_UNREADABLE) else code
    if code:
        sys.exit(code)


_kept: list[object] | None = None  # what is freed with the process; None where it is not one of `run_process`


def keep_until_end(thing: object) -> None:
    """Let a large thing be freed with the process, which is sooner done, where that ends with the command."""
    if _kept is not None:
        _kept.append(thing)


def run_process(app: Callable[[], object]) -> None:
    """Run a command line as `run` does, and end the process without the interpreter's own clean-up.

    What libraries want to be done at the end is done. What is left out only gives memory back, which the operating
    system does by itself; with `keep_until_end` it took an eighth of the time of one crop and its report.
    """
    global _kept
    _kept, codes = [], list[int]()
    atexit.register(lambda: _end_now(codes[0]) if codes else None)  # what is registered first runs last
    try:
        run(app)
        codes.append(0)
    except SystemExit as end:
        if isinstance(end.code, int):
            codes.append(end.code)
        raise


def _end_now(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):  # closed, or None
            stream.flush()
    os._exit(code)


def _exit_code(app: Callable[[], object]) -> int | str:
    try:
        app()
    except SystemExit as end:
        if not _is_by_interrupt(end):
            return end.code or 0
        _say("interrupted")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except CartclsError as error:
        _say(f"interrupted: {error}" if isinstance(error, InterruptedRun) else f"error: {error}")
        return next((code for kind, code in CODES.items() if isinstance(error, kind)), EXIT_FAILED)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module == "cartcls":
            raise
        extras = {**dict.fromkeys(REVIEW, "review"), **dict.fromkeys(ARCHIVE, "archive")}
        extras |= dict.fromkeys(CALIBRATION, "calibration")
        _say(f"error: {module} is not installed: {install(extras.get(module, 'train,export'))}")
        return EXIT_FAILED
    return 0


def _is_by_interrupt(end: BaseException | None) -> bool:
    """Whether Ctrl-C led to this end: Typer and Lightning turn it into exit codes of their own."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__context__
    return end is not None


def _say(line: str) -> None:
    """Print a line on stderr; file names may hold control characters, which must not reach a terminal."""
    print("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line), file=sys.stderr)


class _Lasting(io.FileIO):
    """An open file whose first error is kept, and after it everything is dropped."""

    def __init__(self, number: int):
        super().__init__(number, "wb", closefd=False)
        self.errors: list[OSError] = []

    def write(self, data: "ReadableBuffer", /) -> int | None:
        if not self.errors:
            try:
                return super().write(data)
            except OSError as error:
                self.errors.append(error)
        return memoryview(data).nbytes


@contextmanager
def _lasting_output() -> Iterator[list[OSError]]:
    """Let no output end the process while this is open; yields a list that will hold stdout's first error."""
    before = sys.stdout, sys.stderr
    sys.stdout, errors = _lasting(before[0])
    sys.stderr, _ = _lasting(before[1])
    try:
        yield errors
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO) -> tuple[TextIO, list[OSError]]:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is nothing between
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.FileIO):  # closed, or no file: in a test
        return stream, []
    file = _Lasting(raw.fileno())
    return io.TextIOWrapper(
        file if buffer is raw else io.BufferedWriter(file),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=buffer is raw,
    ), file.errors
