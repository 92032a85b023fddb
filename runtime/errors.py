"""Everything cartcls raises on purpose.

    CartclsError
    ├── ImageError      one image cannot be read; the run goes on
    │   └── IncompleteError     but it may be whole later
    ├── BundleError     a model bundle is missing, altered or malformed
    ├── BackendError    the GPU, engine or inference library cannot be used
    │   ├── NotInstalledError   because it is not installed
    │   ├── NoGpuError          because there is no GPU, or no driver that fits
    │   ├── NoEngineError       because no engine fits, and none may be built
    │   └── OutOfMemoryError    because its memory is short: fewer cells at once may fit
    ├── DataError       a data folder, split or checkpoint does not fit
    ├── CorrectionError corrections of a reviewer do not fit the report
    ├── ParityError     an exported graph gives other answers than the model
    └── OutputError     a report cannot be written where it was asked for

Messages say what is wrong, with which file, and how to mend it. Only the command line turns them into
exit codes.
"""


class CartclsError(Exception):
    """Root of all errors that cartcls raises on purpose."""


class ImageError(CartclsError):
    """One image cannot be read. The message is the `reason` that a report shows."""


class IncompleteError(ImageError):
    """An image is not whole: cut off, still being written, or gone for the moment."""


class BundleError(CartclsError):
    """A model bundle is missing, altered or malformed."""


class BackendError(CartclsError):
    """The GPU, the engine or the inference library cannot be used."""


class NotInstalledError(BackendError):
    """An inference library is not installed."""


class NoGpuError(BackendError):
    """There is no NVIDIA GPU, or its driver does not fit."""


class NoEngineError(BackendError):
    """No engine fits, and none may be built."""


class OutOfMemoryError(BackendError):
    """The memory of the GPU or of the machine is short."""


class DataError(CartclsError):
    """A data folder, a split or a checkpoint does not fit."""


class CorrectionError(CartclsError):
    """Corrections of a reviewer do not fit the report; none of them was applied."""


class ParityError(CartclsError):
    """An exported graph gives other answers than the model it came from."""


class OutputError(CartclsError):
    """A report cannot be written where it was asked for."""
