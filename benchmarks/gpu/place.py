"""Where a step runs, and what it finds out."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SLIDE = ROOT / "examples" / "slide-01"
DEVICE = "CARTCLS_GPU_DEVICE"  # `cuda`, or `cpu` for a rehearsal


class SkippedError(Exception):
    """A step cannot run here; the message is the reason."""


@dataclass
class Place:
    """Where a step runs.

    Attributes:
        state: Folder of all that is unpacked and made.
        device: `cuda`, or `cpu` in a rehearsal, where everything is small.
        ends: When the step must be done, as `time.monotonic` counts.
        notes: File of its notes, a JSON line each; none in tests.
        found: The notes.
        failed: What failed.
    """

    state: Path
    device: str
    ends: float
    notes: Path | None = None
    found: list[tuple[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def small(self) -> bool:
        """Whether this is a rehearsal."""
        return self.device == "cpu"

    @property
    def cells(self) -> Path:
        """Folder of the crops to train on."""
        return self.state / "unpacked" / "cells"

    @property
    def run(self) -> Path:
        """Run folder of the training."""
        return self.state / "run"

    def left(self) -> float:
        """Seconds left."""
        return self.ends - time.monotonic()

    def wait(self) -> None:
        """Wait for all that the GPU has been given."""
        if not self.small:
            import torch

            torch.cuda.synchronize()

    def note(self, what: str, result: str) -> None:
        """Write down a result at once, so that nothing later can lose it."""
        result = result.replace(f"{ROOT}/", "")
        self.found.append((what, result))
        if self.notes:
            with self.notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps([what, result]) + "\n")
        print(f"{what}: {result}", flush=True)

    def check(self, what: str, right: bool, result: str) -> None:
        """Write down a result that must be right."""
        if not right:
            self.failed.append(what)
        self.note(what, result if right else f"**WRONG**: {result}")

    def attempt(self, what: str, action: Callable[[], str]) -> None:
        """Write down what an action says; if it raises, that, and the step goes on."""
        try:
            self.note(what, action())
        except SkippedError as reason:
            self.note(what, f"not run: {reason}")
        except Exception as error:
            self.check(what, False, f"{type(error).__name__}: {str(error).strip()[:300]}")


def here() -> str:
    """The device of this process."""
    return os.environ.get(DEVICE, "cuda")
