"""CUDA as cartcls calls it: from any thread and process, without leaks, at the speed of the bus."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import torch
from place import Place, SkippedError

from cartcls.runtime.errors import BackendError
from cartcls.runtime.inference.cuda import Cuda, CudaBindings, PyCuda

SIZES = (1, 3, 4096, 1_000_003)  # bytes
LEAK = 64 * 1024**2  # what a driver may keep for itself


def step_cuda_bindings(place: Place) -> None:
    """`CudaBindings` in the main thread, in a pool's and in a spawned process."""
    if not find_spec("cuda"):
        raise SkippedError("cuda-bindings is not installed")
    _check(place, CudaBindings)


def step_pycuda(place: Place) -> None:
    """`PyCuda` likewise."""
    if not find_spec("pycuda"):
        raise SkippedError("pycuda is not installed")
    _check(place, PyCuda)


def _check(place: Place, kind: Callable[[], Cuda]) -> None:
    cuda = kind()
    place.note("GPU", f"{cuda.gpu.name}, {cuda.gpu.compute_capability}, driver {cuda.gpu.driver}")
    place.attempt("round trips in the main thread", lambda: round_trips(cuda))
    with ThreadPoolExecutor(4) as pool:
        place.attempt("in a pool's thread", lambda: pool.submit(round_trips, cuda).result())
        place.attempt("in four threads at once", lambda: " / ".join(pool.map(_opened_round_trips, [kind] * 4)))
    place.attempt("in a spawned process", lambda: _spawned(kind, place.left()))
    place.attempt("more memory than there is", lambda: _too_much(cuda))
    place.attempt("copies and waiting", lambda: _copies(cuda, 64 if place.small else 512))
    cuda.close()
    place.attempt("memory", lambda: _openings(kind, 20 if place.small else 500, place))


def round_trips(cuda: Cuda, count: int = 25) -> str:
    """Send bytes to the GPU and back, in several sizes and at several places of the same memory."""
    random = np.random.default_rng(0)
    for size in SIZES:
        sent, back = cuda.pinned(size), cuda.pinned(size)
        address = cuda.allocate(size)
        for _ in range(count):
            sent[:], back[:] = random.integers(0, 256, size, np.uint8), 0
            cuda.copy_in(address, sent)
            cuda.copy_out(back, address)
            cuda.wait(cuda.record())
            if not np.array_equal(sent, back):
                raise BackendError(f"{size} bytes came back as others")
        cuda.free(address)
        cuda.unpin(sent)
        cuda.unpin(back)
    return f"{count * len(SIZES)} of 1 byte to 1 MB, all equal"


def _opened_round_trips(kind: Callable[[], Cuda]) -> str:
    cuda = kind()
    try:
        return round_trips(cuda, 5)
    finally:
        cuda.close()


def _spawned(kind: Callable[[], Cuda], seconds: float) -> str:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(_opened_round_trips, [kind]).get(seconds)


def _too_much(cuda: Cuda) -> str:
    try:
        cuda.allocate(1 << 50)
    except BackendError as error:
        if "memory" not in str(error):
            raise
        return f"a clear error: {error}"
    raise AssertionError("2⁵⁰ bytes were allocated")


def _copies(cuda: Cuda, megabytes: int) -> str:
    """Rate both ways, whether a copy returns before it is done, and how much of a core waiting takes."""
    size = megabytes * 1024**2
    host, address = cuda.pinned(size), cuda.allocate(size)
    host[:] = 1
    rates: dict[str, list[float]] = {"in": [], "out": []}
    returned, waiting, used = [], 0.0, 0.0
    for _ in range(6):
        for way, copy in (("in", lambda: cuda.copy_in(address, host)), ("out", lambda: cuda.copy_out(host, address))):
            started, processor = time.perf_counter(), time.thread_time()
            copy()
            called = time.perf_counter()
            cuda.wait(cuda.record())
            ended = time.perf_counter()
            rates[way].append(size / (ended - started) / 1e9)
            returned.append((called - started) / (ended - started))
            waiting, used = waiting + ended - started, used + time.thread_time() - processor
    cuda.free(address)
    cuda.unpin(host)
    rate = ", ".join(f"{way} {statistics.median(values):.1f} GB/s" for way, values in rates.items())
    return (
        f"{rate}; a copy returns after {statistics.median(returned):.1%} of its time;"
        f" waiting takes {used / waiting:.0%} of a core"
    )


def _openings(kind: Callable[[], Cuda], count: int, place: Place) -> str:
    free = [_free_memory(place)]
    started = time.perf_counter()
    for number in range(count):
        cuda = kind()
        host, address = cuda.pinned(1 << 20), cuda.allocate(1 << 20)
        cuda.copy_in(address, host)
        cuda.wait(cuda.record())
        cuda.free(address)
        cuda.unpin(host)
        cuda.close()
        if number == 0:
            free.append(_free_memory(place))
        if place.left() < 5:
            count = number + 1
            break
    each = (time.perf_counter() - started) / count
    lost = free[-1] - _free_memory(place)
    place.check(f"after {count} openings", lost < LEAK, f"{lost / 1024**2:.1f} MiB less than after the first")
    return f"{free[0] / 1024**3:.1f} GiB free before; an opening takes {1000 * each:.1f} ms"


def _free_memory(place: Place) -> int:
    if place.small:
        from cuda.bindings import runtime  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

        return int(runtime.cudaMemGetInfo()[1])
    return torch.cuda.mem_get_info()[0]
