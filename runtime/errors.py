"""Everything cartcls raises on purpose.

    CartclsError
    ├── ImageError      one image cannot be read; the run continues
    │   └── IncompleteError     but it may be complete later
    ├── ScaleError      nothing in the fields tells their scale
    ├── BundleError     a model bundle is missing, altered or malformed
    ├── BackendError    the GPU, engine or inference library cannot be used
    │   ├── NotInstalledError   because it is not installed
    │   ├── NoGpuError          because there is no GPU, or no suitable driver
    │   ├── NoEngineError       because no engine matches, and none may be built
    │   └── OutOfMemoryError    because memory ran out: a smaller batch may fit
    ├── DataError       a data folder, split or checkpoint cannot be used
    ├── CorrectionError corrections of a reviewer do not match the report
    ├── ParityError     an exported graph gives other answers than the model
    ├── OutputError     a report cannot be written where it was asked for
    │   ├── SlideError      that of one slide; others can
    │   └── InUseError      because another process has the ledger
    ├── UsageError      the command line can mean two things: an option says which
    └── InterruptedRun  a person stopped it; says how far it came

Messages say what is wrong, with which file, and how to fix it. Only the command line turns them into
exit codes.
"""

import shlex
from pathlib import Path


class CartclsError(Exception):
    """Root of all errors that cartcls raises on purpose."""


class ImageError(CartclsError):
    """One image cannot be read. The message is the `reason` that a report shows."""


class IncompleteError(ImageError):
    """An image is incomplete: cut off, still being written, or missing for the moment."""


class ScaleError(CartclsError):
    """Nothing in the fields tells how large a cell is."""


class BundleError(CartclsError):
    """A model bundle is missing, altered or malformed."""


class BackendError(CartclsError):
    """The GPU, the engine or the inference library cannot be used."""


class NotInstalledError(BackendError):
    """An inference library is not installed."""


class NoGpuError(BackendError):
    """There is no NVIDIA GPU, or its driver is unsuitable."""


class NoEngineError(BackendError):
    """No engine matches, and none may be built."""


class OutOfMemoryError(BackendError):
    """The GPU or the machine ran out of memory."""


class DataError(CartclsError):
    """A data folder, a split or a checkpoint cannot be used."""


class CorrectionError(CartclsError):
    """Corrections of a reviewer do not match the report; none of them was applied."""


class ParityError(CartclsError):
    """An exported graph gives other answers than the model it came from."""


class OutputError(CartclsError):
    """A report cannot be written where it was asked for."""


class SlideError(OutputError):
    """One slide cannot be classified as it is; others can."""


class InUseError(OutputError):
    """Another process has the ledger."""


class UsageError(CartclsError):
    """The command line can mean two things, and an option says which."""


class InterruptedRun(CartclsError):
    """A person stopped the run. The message says how far it came, and how to go on."""


def install(extras: str) -> str:
    """The command that installs extras: no package index has cartcls."""
    return f"pip install '.[{extras}]' in the clone of cartcls"


def batch_command(slide_dir: Path, option: str, out: Path) -> str:
    """The command that classifies one folder with an option more."""
    return f"cartcls batch {shlex.quote(str(slide_dir))} {option} --out {shlex.quote(str(out))}"
