"""What the scripts of the scorecard share: the trial of the test suite, a folder to work in, and one line of result."""

import csv
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cartcls.runtime.reports.table import CSV, ENCODING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from field_trial import MPP, FieldTrial  # noqa: E402
from hostile_names import hostile_names  # noqa: E402
from odd_images import odd_images  # noqa: E402
from trial import (  # noqa: E402
    EXAMPLES,
    LABELLED,
    Trial,
    kill_again_and_again,
    sleep_through,
    write_in_every_way,
)

__all__ = [
    "EXAMPLES",
    "LABELLED",
    "MPP",
    "ROOT",
    "Trial",
    "finish",
    "hostile_names",
    "kill_again_and_again",
    "new_trial",
    "odd_images",
    "path_of",
    "rows_of",
    "skip",
    "sleep_through",
    "write_in_every_way",
]
EXIT_SKIPPED = 77  # as automake has it


@contextmanager
def new_trial(*mutants: str, real: bool = False, fields: bool = False, timings: float = 600.0) -> Iterator[Trial]:
    """A trial in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cartcls-trial-") as folder:
        if fields:
            trial: Trial = FieldTrial(Path(folder), *mutants, real=real, timings=timings)
        else:
            trial = Trial(Path(folder), *mutants, real=real, timings=timings)
        try:
            yield trial
        finally:
            trial.end()


def rows_of(trial: Trial) -> list[dict[str, str]]:
    """Rows of all slides."""
    rows: list[dict[str, str]] = []
    for table in sorted(trial.out.glob(f"*/{CSV}")):
        with table.open(newline="", encoding=ENCODING) as file:
            rows += csv.DictReader(file)
    return rows


def path_of(row: dict[str, str]) -> bytes:
    """Path of a row's image in its slide, as the file system has it."""
    return unquote_to_bytes(row["path"]) if row["path_encoded"] == "1" else row["path"].encode()


def finish(measured: str, problems: list[str]) -> None:
    """Print what was measured, and exit with 1 if there are problems."""
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    print(measured)
    raise SystemExit(1 if problems else 0)


def skip(reason: str) -> None:
    """Print why nothing can be measured here."""
    print(f"skipped: {reason}")
    raise SystemExit(EXIT_SKIPPED)
