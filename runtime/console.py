"""Turns errors into one line on stderr and an exit code, for every command line of cartcls."""

import sys
import warnings
from collections.abc import Callable

from .errors import BackendError, CartclsError, ParityError, UsageError

CALIBRATION = ("matplotlib", "onnx", "scipy", "sklearn")  # what the extra of that name holds
EXIT_FAILED, EXIT_USAGE, EXIT_UNREADABLE, EXIT_BACKEND, EXIT_PARITY, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130


def run(app: Callable[[], object]) -> None:
    """Run a command line; an expected error becomes one line and an exit code, any other keeps its traceback."""
    warnings.filterwarnings("ignore", module="PIL")  # the row of a damaged image says what is wrong with it
    try:
        app()
    except CartclsError as error:
        # File names may hold control characters, which must not reach a terminal.
        message = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(error))
        print(f"error: {message}", file=sys.stderr)
        codes = {BackendError: EXIT_BACKEND, ParityError: EXIT_PARITY, UsageError: EXIT_USAGE}
        sys.exit(next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_FAILED))
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module == "cartcls":
            raise
        extra = "calibration" if module in CALIBRATION else "train,export"
        print(f"error: {module} is not installed: pip install 'cartcls[{extra}]'", file=sys.stderr)
        sys.exit(EXIT_FAILED)
