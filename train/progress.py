"""What a training prints on stderr: what it does, from the first second on, and nothing of its framework's own."""

import logging
import sys
import time
import warnings
from collections.abc import Callable

from lightning_fabric.utilities.rank_zero import rank_zero_only
from lightning_utilities.core import rank_zero

PAUSE = 10.0  # seconds between two lines of the same kind

SILENCED = (
    "GPU available: ",  # the training says itself what it runs on
    "TPU available: ",  # likewise
    "Using bfloat16 Automatic Mixed Precision",  # likewise
    "💡 Tip: ",  # advertises a service
    "Loading `train_dataloader` to estimate number of stepping batches",  # the images are read only once
    "`Trainer.fit` stopped: `max_epochs=",  # that is its regular end
    "\nDetected KeyboardInterrupt",  # the command says how to go on
    "Restoring states from the checkpoint path at ",  # that is what `--resume` asks for
    "Found current_model_state in the checkpoint.",  # how averaged weights are stored
    "Restored all states from the checkpoint at ",  # a training that cannot be resumed ends with an error
)
"""How messages of Lightning begin that tell a user nothing."""

WARNINGS = (
    r"Checkpoint directory .* exists and is not empty",  # it holds `run.json` and `split.csv`, or is resumed
    r"Found \d+ module\(s\) in eval mode at the start of training",  # those that `--freeze` names
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # for the developers of Lightning
    r"The '\w+' does not have many workers",  # the images are in memory: workers would only copy them
)
"""Warnings of Lightning that tell a user nothing, as regular expressions."""


@rank_zero_only
def say(line: str) -> None:
    """Print a line, in one process of several."""
    print(line, file=sys.stderr, flush=True)


class Pace:
    """Says how far something is, at most every `PAUSE` seconds."""

    def __init__(self):
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        """Say it, if the last line was long enough ago."""
        if time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            say(line)


def reading(part: str, count: int, size: tuple[int, int]) -> Callable[[int], None]:
    """Say that images are read; returns a function to call with the number of those that are done."""
    say("reading {} images of {} at {}x{}".format(count, part, *size))
    pace = Pace()
    return lambda done: pace(f"reading images of {part}: {done} of {count}")


def silence() -> None:
    """Leave out what the framework says that tells a user nothing; all else is shown."""
    if _tells_something not in rank_zero.log.filters:
        rank_zero.log.addFilter(_tells_something)
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)


def _tells_something(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(SILENCED)
