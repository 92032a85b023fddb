"""Parity on the GPU that runs: checked once for each GPU and driver, and remembered, a refusal too."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..bundle.bundle import Bundle
from ..errors import BackendError, ParityError
from ..files import replace_file, writing
from .backend import BATCHES, Outputs
from .engine_store import BuildRecord, engine_directories, engine_directory
from .parity import Check, Images, answer_limit, compare, explain, read_reference

CELLS = 3 * BATCHES[-1] + sum(BATCHES)  # each size of batch, and the buffers used again, with a remainder


@dataclass(frozen=True)
class Verdict:
    """What a parity check said.

    Attributes:
        passed: Whether the answers are the model's.
        text: How far they differ.
        file: Where this is remembered.
    """

    passed: bool
    text: str
    file: Path


def subject_of(*facts: object) -> str:
    """Digest of what a verdict is about: where anything of it differs, parity is checked again."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def build_subject(record: BuildRecord) -> str:
    """Subject of the engines that are built for such a record, whether they are kept or not."""
    return subject_of("build", asdict(record))


def prove(infer: Callable[[Images], Outputs], bundle: Bundle, precision: str, runner: str) -> Check:
    """Compare answers with the model's on the labelled cells in the bundle, in all sizes of batch.

    Args:
        infer: `infer` of a backend.
        bundle: The bundle that it runs.
        precision: Of what runs.
        runner: What runs it.

    Raises:
        BackendError: The backend failed.
        BundleError: The bundle has no labelled cells.
    """
    reference = read_reference(bundle)
    reference = reference.repeated(-(-CELLS // len(reference.labels)))
    batches = (*BATCHES[:-1], len(reference.labels))
    return compare(precision, runner, infer, reference, answer_limit(bundle, precision), batches)


def require_parity(
    bundle: Bundle, subject: str | None, check: Callable[[], Check], notify: Callable[[str], None]
) -> None:
    """Check parity, unless that was done before.

    Args:
        bundle: The bundle that runs.
        subject: What is checked; see `subject_of`. Where it is None, it is checked each time.
        check: Checks it.
        notify: Called where the result cannot be remembered.

    Raises:
        ParityError: The answers are not the model's, now or as remembered.
    """
    if subject is None:
        if not (found := check()).passed:
            raise ParityError(explain(found))
        return
    verdict = recall(bundle, subject) or remember(bundle, subject, check(), notify)
    if not verdict.passed:
        raise ParityError(f"{verdict.text}; to check it again, remove {verdict.file}")


def recall(bundle: Bundle, subject: str) -> Verdict | None:
    """What is remembered of a subject, in the bundle or in the user's cache."""
    for directory in (engine_directory(bundle), *engine_directories(bundle)):
        file = _file(directory, subject)
        try:
            fields = json.loads(file.read_bytes())
            return Verdict(fields["passed"] is True, str(fields["text"]), file)
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return None


def remember(bundle: Bundle, subject: str, check: Check, notify: Callable[[str], None] = lambda line: None) -> Verdict:
    """Write down the result of a parity check."""
    verdict = Verdict(check.passed, explain(check), _file(engine_directory(bundle), subject))
    fields = {"passed": verdict.passed, "text": verdict.text}
    try:
        with writing(verdict.file, BackendError):
            verdict.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(verdict.file, (json.dumps(fields, indent=2) + "\n").encode())
    except BackendError as error:
        notify(f"parity is checked again at the next start: {error}")
    return verdict


def _file(directory: Path, subject: str) -> Path:
    return directory / f"parity-{subject[:16]}.json"
