"""TensorRT without a GPU: it takes what the real bindings take, and runs a graph by ONNX Runtime, late.

`tensorrt_signatures.json` has the real bindings' signatures and enumerations; `record_signatures.py` makes it anew.
"""

import json
import math
import re
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import cache, partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from fake_gpu import FakeGpu

RECORDED = json.loads(Path(__file__).with_name("tensorrt_signatures.json").read_text())
VERSIONS: list[str] = RECORDED["versions"]
RTX_VERSION = next(version for version in VERSIONS if version.startswith("1."))
TYPES = {"str": str, "int": int, "typing.SupportsInt": int, "bool": bool, "tuple": tuple}
TYPES |= {"buffer": (bytes, bytearray), "typing_extensions.Buffer": (bytes, bytearray), "Dims": tuple}
LAYOUTS = {
    "10": [
        {"Format/Datatype": "Row major linear FP16 format"},
        {"Format/Datatype": "Half"},
        {"Format/Datatype": "Float"},
    ],
    "11": [{"Format": "Row major linear", "DataType": kind} for kind in ("Half", "FP16", "Float")],
}


def signatures(version: str) -> dict[str, list[str]]:
    """Overloads and enumerators of one version, by their names."""
    return {
        name: text.split(" | ")
        for name, texts in RECORDED["signatures"].items()
        for text, versions in texts.items()
        if version in versions
    }


class Strict:
    """An object of the bindings: only what the real class has can be used, and only as it is declared."""

    def __init__(self, kind: str, version: str, **members: Any):
        self.__dict__.update(_kind=kind, _known=signatures(version), _members=members)

    def _declared(self, name: str) -> list[str]:
        if f"{self._kind}.{name}" not in self._known:
            raise AttributeError(f"{self._kind} has no {name}")
        return self._known[f"{self._kind}.{name}"]

    def __getattr__(self, name: str) -> Any:
        declared = self._declared(name)
        if "get" in declared or "set" in declared:
            assert "get" in declared, f"{name} cannot be read"
            return self._members[name]
        return partial(checked, declared, self._members.get(name, lambda *given, **named: None))

    def __setattr__(self, name: str, value: object) -> None:
        assert "set" in self._declared(name), f"{self._kind}.{name} cannot be set"
        if callable(hook := self._members.get(f"on_{name}")):
            hook(value)
        self._members[name] = value


def checked(declared: list[str], function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a function with what one of the declared overloads takes."""
    if not any(_fits(text, given, named) for text in declared):
        raise TypeError(f"incompatible function arguments: {given}, {named}; supported are {declared}")
    return function(*given, **named)


def _fits(declared: str, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
    parameters = _parameters(declared)
    if len(given) > len(parameters) or not named.keys() <= {name for name, _, _ in parameters[len(given) :]}:
        return False
    values = dict(zip((name for name, _, _ in parameters), given, strict=False)) | named
    return all(optional if name not in values else _is(values[name], kind) for name, kind, optional in parameters)


def _is(value: object, kind: str) -> bool:
    if kind in TYPES:
        return isinstance(value, TYPES[kind]) and not (TYPES[kind] is int and isinstance(value, bool))
    if isinstance(value, Strict):
        return value._kind in (kind, f"I{kind}")
    return kind in [base.__name__ for base in type(value).__mro__]


@cache
def _parameters(declared: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether it may be left out, of each parameter but `self`."""
    text = re.sub(r"<[^>]*>", "default", declared[1 : declared.rindex(") ->")])
    parts = [re.fullmatch(r"(\w+): ([\w.]+)( = .*)?", part) for part in text.split(", ")[1:]]
    return [(part[1], part[2], part[3] is not None) for part in parts if part]


class FakeTensorRT(ModuleType):
    """The module, of one version.

    Attributes:
        gpu: Where it works; a call of it can be the one that fails.
        needs: Bytes that a batch's layers need on the GPU, by its size.
        shapes: Each size of batch that was run, in order.
        sign: Of all answers; wrong ones with -1.
        builds: Number of engines that were built.
        limits: Bytes that builds may work in.
        compiled: Sizes of batch whose kernels RTX was given, or compiled.
    """

    def __init__(self, version: str, gpu: FakeGpu, layout: str = "10", loads: bool = True, runs: bool = True):
        super().__init__("tensorrt_rtx" if version == RTX_VERSION else "tensorrt")
        self.__version__, self.__spec__ = version, ModuleSpec(self.__name__, None)
        self.gpu, self.layout, self.loads, self.runs = gpu, layout, loads, runs
        self.needs = {1: 1000, 8: 8000, 32: 32000}
        self.reason = "Error Code 2: OutOfMemory (Requested size was 4 bytes.)"
        self.shapes: list[int] = []
        self.sign, self.builds = 1, 0
        self.limits: list[int] = []
        self.compiled: set[int] = set()
        self.log: Any = None
        self.graph, self.strategy = b"", None
        for name, members in signatures(version).items():
            if "." not in name:
                setattr(self, name, IntEnum(name, {key: int(value) for key, value in map(_pair, members)}))
        kinds: Any = self
        self.float16, self.float32 = kinds.DataType.HALF, kinds.DataType.FLOAT
        severity = IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2})
        self.ILogger = type("ILogger", (), {"Severity": severity, "ERROR": severity.ERROR})
        self.Logger = type("Logger", (self.ILogger,), {"__init__": lambda self, level: None, "log": _print})
        self.IProgressMonitor = type("IProgressMonitor", (), {})

    def fails(self, name: str) -> bool:
        """Note a call; where it is the one that fails, the log says why, if there is a reason."""
        if failed := self.gpu.call(name):
            self.tell(self.reason)
        return failed

    def tell(self, reason: str) -> None:
        """Log an error."""
        if reason:
            self.log.log(1, reason)

    def strict(self, kind: str, **members: Any) -> Strict:
        return Strict(kind, self.__version__, **members)

    def created(self, name: str, *given: Any) -> None:
        """Check a constructor, and remember its log."""
        checked(signatures(self.__version__)[f"{name}.__init__"], lambda *given: None, *given)
        self.log = given[-1]

    def Runtime(self, log: Any) -> Strict:
        self.created("Runtime", log)
        if not self.runs:
            self.tell("CUDA initialization failure with error: 35")
        if not self.runs or self.fails("Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return self.strict("Runtime", deserialize_cuda_engine=self._load)

    def _load(self, data: bytes) -> Strict | None:
        if not self.loads:
            self.tell("Error Code 6: The engine plan file is not compatible")
        if not self.loads or self.fails("deserialize_cuda_engine"):
            return None
        session = _session(data)
        shapes = {port.name: (-1, *port.shape[1:]) for port in (*session.get_inputs(), *session.get_outputs())}
        mode: Any = vars(self)["TensorIOMode"]
        layers = [{"Name": "a layer", "Outputs": [output]} for output in LAYOUTS[self.layout]]
        text = json.dumps({"Layers": [*layers, {"Name": "without outputs", "Outputs": []}]})
        return self.strict(
            "ICudaEngine",
            num_io_tensors=len(shapes),
            get_tensor_name=lambda index: list(shapes)[index],
            get_tensor_mode=lambda name: mode.INPUT if name == "image" else mode.OUTPUT,
            get_tensor_shape=lambda name: shapes[name],
            create_execution_context=partial(self._context, session),
            create_engine_inspector=lambda: self.strict("EngineInspector", get_engine_information=lambda kind: text),
            create_runtime_config=lambda: self.strict(
                "IRuntimeConfig",
                on_dynamic_shapes_kernel_specialization_strategy=lambda value: setattr(self, "strategy", None),
                create_runtime_cache=lambda: self.strict(
                    "IRuntimeCache",
                    serialize=lambda: json.dumps(sorted(self.compiled)).encode(),
                    deserialize=lambda blob: self.compiled.update(json.loads(blob)) is None,
                ),
                set_runtime_cache=lambda cache: True,
                set_execution_context_allocation_strategy=lambda strategy: setattr(self, "strategy", strategy),
                dynamic_shapes_kernel_specialization_strategy=None,
            ),
        )

    def _context(self, session: Any, how: Any = None) -> Strict | None:
        if self.fails("create_execution_context"):
            return None
        strategy = vars(self)["ExecutionContextAllocationStrategy"]
        managed = strategy.USER_MANAGED in (how, self.strategy)
        if not managed and not self.gpu.has_room(self.needs[32]):
            self.tell(self.reason)
            return None
        context = Context(self, session, managed)
        return self.strict(
            "IExecutionContext",
            set_input_shape=context.set_shape,
            set_tensor_address=context.set_address,
            execute_async_v3=context.execute,
            update_device_memory_size_for_shapes=context.size,
            set_device_memory=context.give,
            on_device_memory=lambda address: context.give(address, max(self.needs.values())),
        )

    def Builder(self, log: Any) -> Strict:
        self.created("Builder", log)
        layer = self.strict(
            "ILayer", num_outputs=1, get_output=lambda index: self.strict("ITensor", dtype=self.float16)
        )
        network = self.strict("INetworkDefinition", num_layers=1, get_layer=lambda index: layer)
        cache = partial(self.strict, "ITimingCache", serialize=lambda: b"timings")
        config = self.strict(
            "IBuilderConfig",
            create_timing_cache=lambda data: cache(),
            set_timing_cache=lambda cache, ignore_mismatch: True,
            get_timing_cache=cache,
            set_compute_capability=lambda kind, index: True,
            set_memory_pool_limit=lambda pool, size: self.limits.append(size),
        )
        return self.strict(
            "Builder",
            create_network=lambda flags: network,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: self.strict("IOptimizationProfile"),
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network: Strict, log: Any) -> Strict:
        self.created("OnnxParser", network, log)

        def parse(data: bytes) -> bool:
            self.graph = data
            return True

        return self.strict("OnnxParser", parse=parse, num_errors=0)

    def _build(self, network: Strict, config: Strict) -> bytes | None:
        self.builds += 1
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 1)
        monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        return None if self.fails("build_serialized_network") else self.graph


class Context:
    """Runs the graph on raw addresses when its stream comes to it."""

    def __init__(self, trt: FakeTensorRT, session: Any, managed: bool):
        self.trt, self.gpu, self.session, self.managed = trt, trt.gpu, session, managed
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.memory, self.memory_size, self.sized = 0, 0, ()

    def set_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        self.shape = tuple(shape)
        return not self.trt.fails("set_input_shape")

    def set_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return not self.trt.fails("set_tensor_address")

    def size(self) -> int:
        assert self.managed
        self.sized = self.shape
        return self.trt.needs[self.shape[0]]

    def give(self, address: int, size: int) -> None:
        self.memory, self.memory_size = address, size

    def execute(self, stream: int) -> bool:
        if self.trt.fails("execute_async_v3"):
            return False
        if self.managed:
            assert self.sized == self.shape, "memory is laid out for another shape"
            self.gpu.view(self.memory, min(self.trt.needs[self.shape[0]], self.memory_size), self.gpu.device)
        addresses, shape = dict(self.addresses), self.shape
        self.trt.shapes.append(shape[0])
        self.trt.compiled.add(shape[0])

        def work() -> None:
            images = self.gpu.view(addresses["image"], math.prod(shape), self.gpu.device).reshape(shape)
            names = [output.name for output in self.session.get_outputs()]
            for name, answer in zip(names, self.session.run(names, {"image": images}), strict=True):
                data = np.ascontiguousarray(self.trt.sign * answer, np.float32).view(np.uint8).ravel()
                self.gpu.view(addresses[name], data.size, self.gpu.device)[:] = data

        self.gpu.streams[stream].append(work)
        return True


@cache
def _session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def _pair(member: str) -> tuple[str, str]:
    name, _, value = member.partition("=")
    return name, value


def _print(self: object, severity: int, message: str) -> None:
    """As TensorRT's own logger does."""
    print(message, file=sys.stdout)
