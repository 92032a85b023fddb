"""The CPU in a GPU's place, with the calls of `cuda.bindings.runtime` that cartcls uses; all is done at once."""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

MEMORY = 1 << 30
OUT_OF_MEMORY, INVALID = 2, 1

cudaHostAllocDefault, cudaEventBlockingSync = 0, 1
_blocks: dict[int, ctypes.Array[ctypes.c_uint8]] = {}


class cudaMemcpyKind(IntEnum):
    """Direction of a copy."""

    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


def cudaGetDeviceProperties(device: int) -> tuple[int, SimpleNamespace]:
    """The CPU as a GPU."""
    return 0, SimpleNamespace(name=b"CPU in a GPU's place", major=0, minor=0, totalGlobalMem=MEMORY)


def cudaDriverGetVersion() -> tuple[int, int]:
    """A version."""
    return 0, 13000


def cudaMemGetInfo() -> tuple[int, int, int]:
    """Free memory, and all of it."""
    return 0, MEMORY - sum(map(len, _blocks.values())), MEMORY


def cudaMalloc(size: int) -> tuple[int, int]:
    """Allocate."""
    if size > cudaMemGetInfo()[1]:
        return OUT_OF_MEMORY, 0
    block = (ctypes.c_uint8 * size)()
    _blocks[ctypes.addressof(block)] = block
    return 0, ctypes.addressof(block)


def cudaHostAlloc(size: int, flags: int) -> tuple[int, int]:
    """Allocate."""
    return cudaMalloc(size)


def cudaFree(address: int) -> tuple[int]:
    """Free."""
    return (0 if _blocks.pop(address, None) is not None else INVALID,)


cudaFreeHost = cudaFree


def cudaMemcpyAsync(target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
    """Copy."""
    ctypes.memmove(target, source, size)
    return (0,)


def cudaStreamCreate() -> tuple[int, int]:
    """A stream."""
    return 0, 7


def cudaStreamSynchronize(stream: int) -> tuple[int]:
    """Wait."""
    return (0,)


def cudaStreamDestroy(stream: int) -> tuple[int]:
    """Destroy."""
    return (0,)


def cudaEventCreateWithFlags(flags: int) -> tuple[int, int]:
    """An event."""
    return 0, 9


def cudaEventRecord(event: int, stream: int) -> tuple[int]:
    """Record."""
    return (0,)


def cudaEventSynchronize(event: int) -> tuple[int]:
    """Wait."""
    return (0,)


def cudaEventDestroy(event: int) -> tuple[int]:
    """Destroy."""
    return (0,)


def cudaGetErrorString(error: int) -> tuple[int, bytes]:
    """A text."""
    return 0, {OUT_OF_MEMORY: b"out of memory", INVALID: b"invalid argument"}.get(error, b"unknown error")
