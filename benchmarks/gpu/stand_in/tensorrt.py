"""PyTorch in TensorRT's place, with as much of its Python API as cartcls uses, for a GPU that has no TensorRT.

All of cartcls around TensorRT then runs as it is: CUDA's memory, copies, stream and events, batches, the engine's file
and build record, parity. An "engine" is the ONNX file, whose weights are put into the PyTorch model of the shipped
bundle; that computes on the stream and the addresses that it is given. Never used outside the steps of `make gpu`.
"""

import ctypes
import hashlib
import json
import os
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from normalization import keep_constants_on
from torch import Tensor

from cartcls.export.graph import Graph, graph_of
from cartcls.runtime.bundle.bundle import load_bundle
from cartcls.train.models.build import build
from cartcls.train.start import load_graph

__version__ = "0.0+pytorch"
ON_CPU = os.environ.get("CARTCLS_GPU_DEVICE") == "cpu"

float16, float32 = torch.float16, torch.float32
NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
BuilderFlag = SimpleNamespace(TF32=1)
ProfilingVerbosity = SimpleNamespace(DETAILED=1)
MemoryPoolType = SimpleNamespace(WORKSPACE=1)
LayerInformationFormat = SimpleNamespace(JSON=1)
TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)
ExecutionContextAllocationStrategy = SimpleNamespace(STATIC=0, USER_MANAGED=2)


class ILogger:
    """Takes messages; derived from."""

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, message: str) -> None:
        """Take one message."""


class Logger(ILogger):
    """Drops messages."""

    def __init__(self, severity: int = 2):
        super().__init__()


class IProgressMonitor:
    """Is told of a build's progress; derived from."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins."""

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step is done."""
        return True

    def phase_finish(self, phase_name: str) -> None:
        """A phase ends."""


class OnnxParser:
    """Keeps the graph for the builder."""

    num_errors = 0

    def __init__(self, network: SimpleNamespace, log: ILogger):
        self.network = network

    def parse(self, graph: bytes) -> bool:
        """Take an ONNX file."""
        self.network.graph = graph
        return True


class Builder:
    """Serialises the graph as it is."""

    def __init__(self, log: ILogger):
        self.log = log

    def create_network(self, flags: int) -> SimpleNamespace:
        """An empty network."""
        return SimpleNamespace(num_layers=0)

    def create_builder_config(self) -> "_Config":
        """A configuration without effect."""
        return _Config()

    def create_optimization_profile(self) -> SimpleNamespace:
        """A profile without effect."""
        return SimpleNamespace(set_shape=lambda name, smallest, usual, largest: None)

    def build_serialized_network(self, network: SimpleNamespace, config: "_Config") -> bytes:
        """The "engine"."""
        config.progress_monitor.phase_start("PyTorch in TensorRT's place", None, 1)
        config.progress_monitor.step_complete("PyTorch in TensorRT's place", 0)
        config.progress_monitor.phase_finish("PyTorch in TensorRT's place")
        return network.graph


class _Config:
    progress_monitor: Any = None

    def add_optimization_profile(self, profile: SimpleNamespace) -> int:
        return 0

    def clear_flag(self, flag: int) -> None:
        pass

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        pass

    def create_timing_cache(self, data: bytes) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"")

    def set_timing_cache(self, cache: SimpleNamespace, ignore_mismatch: bool) -> bool:
        return True

    def get_timing_cache(self) -> None:
        return None


class Runtime:
    """Loads engines."""

    def __init__(self, log: ILogger):
        self.log = log

    def deserialize_cuda_engine(self, data: bytes) -> "_Engine":
        """Load the graph's weights into PyTorch."""
        return _Engine(data, self.log)


class _Engine:
    def __init__(self, data: bytes, log: ILogger):
        self.log = log
        self.graph = _OnceEach(read_graph(data)) if ON_CPU else read_graph(data)
        self.names = ["image", *self.graph.outputs]
        with torch.inference_mode():
            shown = self.graph(torch.zeros((1, *_image_shape()), dtype=torch.uint8, device=_device()))
        self.shapes = {name: (-1, *answer.shape[1:]) for name, answer in zip(self.graph.outputs, shown, strict=True)}
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> int:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self, strategy: int = 0) -> "_Context":
        return _Context(self)

    def create_engine_inspector(self) -> SimpleNamespace:
        layer = {"Outputs": [{"Format/Datatype": "Half" if self.graph.dtype == torch.float16 else "Float"}]}
        return SimpleNamespace(get_engine_information=lambda kind: json.dumps({"Layers": [layer]}))


class _OnceEach:
    """Computes each image once for all processes: a rehearsal sees the same few again and again, and a CPU is slow."""

    def __init__(self, graph: Graph):
        self.graph, self.outputs, self.dtype = graph, graph.outputs, graph.dtype
        self.folder = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.mkdtemp()) / "answers"
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        answers = [self._answer(image) for image in images]
        return tuple(torch.cat(parts) for parts in zip(*answers, strict=True))

    def _answer(self, image: Tensor) -> tuple[Tensor, ...]:
        file = self.folder / f"{hashlib.sha256(image.numpy().tobytes()).hexdigest()}.pt"
        if file.exists():
            return torch.load(file, weights_only=True)
        answer = self.graph(image[None])
        whole = file.with_suffix(f".{os.getpid()}")
        torch.save(answer, whole)
        whole.replace(file)
        return answer


class _Context:
    def __init__(self, engine: _Engine):
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return tuple(shape[1:]) == _image_shape()

    def update_device_memory_size_for_shapes(self) -> int:
        return 1  # PyTorch allocates for itself

    def set_device_memory(self, address: int, size: int) -> None:
        pass

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.names

    def execute_async_v3(self, stream: int) -> bool:
        try:
            if ON_CPU:
                self._compute()
            else:
                with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
                    self._compute()
        except RuntimeError as error:  # torch.OutOfMemoryError too
            self.engine.log.log(ILogger.ERROR, str(error))
            return False
        return True

    @torch.inference_mode()
    def _compute(self) -> None:
        image = tensor_at(self.addresses["image"], self.shape, torch.uint8)
        answers = self.engine.graph(image)
        for name, answer in zip(self.engine.graph.outputs, answers, strict=True):
            tensor_at(self.addresses[name], tuple(answer.shape), torch.float32).copy_(answer)


def read_graph(data: bytes) -> Graph:
    """The PyTorch model of the shipped bundle, with an ONNX file's weights: half precision on a GPU."""
    bundle = load_bundle()
    model = build(bundle.manifest.source.arch, len(bundle.classes), (bundle.width, bundle.height))
    load_graph(model, data, Path("engine"))
    keep_constants_on(_device())
    graph = graph_of(model, half=not ON_CPU).to(_device())
    for parameter in graph.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return graph.eval()


def tensor_at(address: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory as a tensor; it stays its owner's."""
    size = torch.Size(shape).numel() * dtype.itemsize
    if ON_CPU:
        return torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=dtype).reshape(shape)
    kind = {torch.uint8: "|u1", torch.float32: "<f4"}[dtype]
    description = {"shape": shape, "typestr": kind, "data": (address, False), "version": 3, "strides": None}
    return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=description), device="cuda:0")


def _device() -> str:
    return "cpu" if ON_CPU else "cuda"


@cache
def _image_shape() -> tuple[int, int, int]:
    bundle = load_bundle()
    return bundle.height, bundle.width, 3
