"""Everything that needs an NVIDIA GPU, in one command, within minutes: the most valuable first.

    make gpu                       # or: python3 benchmarks/gpu/run.py, with any Python that has PyTorch
    python benchmarks/gpu/run.py --minutes 5        in the time that is left; what is done is not done again
    python benchmarks/gpu/run.py throughput fit     these steps, also again
    python benchmarks/gpu/run.py --device cpu       a rehearsal without a GPU

Each step is a process with a time limit, so that a crash, a hang or a CUDA error that stays ends nothing else. Its
result is written at once to `.gpu/out-cuda/results.jsonl`, and after it the page there and `docs/results/gpu.md`. That
folder is what to bring back: at most 8 files below 16 MiB. Remove it to begin anew. Nothing is downloaded. What a
machine without network lacks is brought along: wheels in `.gpu/wheels`, and in `.gpu/parts` the parts that `pack.py`
made, which may come one after the other.
"""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import gpu_page
import prepare
from place import DEVICE, ROOT

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "docs" / "results" / "gpu.md"
WORK = ROOT / ".gpu"
SKIPPED = 75
GRACE = 5.0  # seconds to end by itself
RESERVED = {"weights": 0.0}  # a step leaves RESERVE to those after it
RESERVE = 25.0
SLOWER = {"cpu": 4.0}  # limits in a rehearsal
LOG_BYTES = 2 * 1024**2


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Its name.
        about: What it shows.
        seconds: Its limit on a GPU.
        after: The step whose outcome it uses: once that ran again, it does too.
        command: What to run, in place of `step.py NAME`; for tests.
    """

    name: str
    about: str
    seconds: float
    after: str = ""
    command: Sequence[str] = ()


FIRST = "machine"  # without which no other makes sense
STEPS = (
    Step(FIRST, "GPU, driver and libraries", 60),
    Step("pytest", "`pytest -m gpu`", 150),
    Step("cuda_bindings", "CUDA by cuda-bindings: threads, processes, memory, copies", 90),
    Step("tensorrt", "the TensorRT backend: every batch size, parity, speed", 240),
    Step("recovery", "the child process after a fault", 150),
    Step("end_to_end", "`batch`, `watch`, `doctor`", 120),
    Step("pycuda", "CUDA by PyCUDA", 60),
    Step("onnxruntime", "ONNX Runtime with CUDA", 60),
    Step("tensorrt_rtx", "TensorRT for RTX", 120),
    Step("throughput", "images/s beside PyTorch", 120),
    Step("fit", "training of RCMNet at 360×363", 1e9),
    Step("weights", "its weights, in parts", 60, after="fit"),
)


def main() -> None:
    """Run the steps that are not done yet, in the time that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", help="these alone, also if they are done")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for all of it")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if unknown := set(options.steps) - {step.name for step in STEPS}:
        parser.error(f"there is no step {', '.join(sorted(unknown))}")
    ends = time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends the step too
    state, out = WORK / f"state-{options.device}", WORK / f"out-{options.device}"
    problems = prepare.prepare(ROOT, WORK, state)
    chosen = [step for step in STEPS if not options.steps or step.name in options.steps]
    results = run(chosen, state, out, environment(state, options.device), ends, again=bool(options.steps))
    for problem in problems:
        print(problem, file=sys.stderr)
    if options.device == "cuda" and any(result["step"] == FIRST and result["state"] == "passed" for result in results):
        PAGE.write_text(gpu_page.page(results), encoding="utf-8")
    if (out / "gpu.md").exists():
        print((out / "gpu.md").read_text(encoding="utf-8"))
    sys.exit(any(result["state"] not in ("passed", "skipped") for result in results))


def run(
    steps: Sequence[Step], state: Path, out: Path, env: Mapping[str, str], ends: float, again: bool = False
) -> list[gpu_page.Result]:
    """Run steps one after the other.

    Args:
        steps: In their order.
        state: Folder of all that is unpacked and made.
        out: Folder of what to bring back.
        env: Environment of their processes.
        ends: When all must be done, as `time.monotonic` counts.
        again: Whether to run those too that are done.

    Returns:
        The latest result of each step.
    """
    out.mkdir(parents=True, exist_ok=True)
    (state / "logs").mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    results = gpu_page.read_results(file)
    ran: set[str] = set()
    for step in steps:
        done = step.name in results and _is_done(results[step.name])
        if done and not again and step.after not in ran:
            continue
        limit = step.seconds * SLOWER.get(env.get(DEVICE, ""), 1)
        seconds = min(limit, ends - time.monotonic() - RESERVED.get(step.name, RESERVE))
        if seconds < 1:
            continue
        ran.add(step.name)
        print(f"== {step.name}: at most {seconds:.0f} s", flush=True)
        results[step.name] = result = _run_step(step, state, env, seconds)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(result, ensure_ascii=False) + "\n")
        (out / "gpu.md").write_text(gpu_page.page(list(results.values())), encoding="utf-8")
        _keep_logs(state, out / "logs.tar.gz")
        print(f"== {step.name}: {result['state']} in {result['seconds']:.1f} s {result['reason']}", flush=True)
        if step.name == FIRST and result["state"] != "passed":
            print("no GPU can be used; a rehearsal: --device cpu", file=sys.stderr)
            break
    return list(results.values())


def _is_done(result: gpu_page.Result) -> bool:
    return result["state"] == "passed" or (result["state"] == "failed" and result["step"] != FIRST)


def _run_step(step: Step, state: Path, env: Mapping[str, str], seconds: float) -> gpu_page.Result:
    notes, log = state / f"{step.name}.notes", state / "logs" / f"{step.name}.log"
    notes.unlink(missing_ok=True)
    started = time.monotonic()
    command = step.command or [sys.executable, str(HERE / "step.py"), step.name]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, str(state), str(notes), f"{seconds:.1f}"],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=dict(env),
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1][:300] if lines else ""
    outcome = {0: "passed", SKIPPED: "skipped", None: "cut off"}.get(code, "failed")
    reason = {"passed": "", "cut off": f"after {seconds:.0f} s"}.get(outcome, last)
    if code is not None and code < 0:
        reason = f"ended by {signal.Signals(-code).name}"
    return {
        "step": step.name,
        "about": step.about,
        "state": outcome,
        "seconds": round(time.monotonic() - started, 1),
        "reason": reason,
        "device": env.get(DEVICE, "cuda"),
        "figures": gpu_page.read_notes(notes),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step and all that it started, which is in its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None or number == signal.SIGKILL:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _keep_logs(state: Path, file: Path) -> None:
    """The ends of all logs, and the small files of the training."""
    with tarfile.open(file, "w:gz") as archive:
        for path in [*sorted((state / "logs").glob("*.log")), *sorted((state / "run").glob("*.[cj]s*"))]:
            data = path.read_bytes()[-LOG_BYTES:]
            entry = tarfile.TarInfo(path.name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def environment(state: Path, device: str) -> dict[str, str]:
    """For the steps: the copy of cartcls, wheels, and PyTorch in TensorRT's place where that is missing."""
    folders = [state / "site", HERE]
    if device == "cpu":
        folders.append(HERE / "rehearsal")
    if device == "cpu" or not find_spec("tensorrt"):
        folders.append(HERE / "stand_in")
    before = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, folders), *([before] if before else [])]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(state / "cache"),
        DEVICE: device,
    }


if __name__ == "__main__":
    main()
