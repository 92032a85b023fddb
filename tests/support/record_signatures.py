"""Writes anew what TensorRT's bindings take: `record_signatures.py WHEEL... > tensorrt_signatures.json`.

It needs gcc and no GPU. The wheels are small, and come from the index for the Python that runs this:
`pip download --no-deps tensorrt-cu12-bindings==10.0.1`, likewise the other versions, and tensorrt-rtx-cu13-bindings.
Their libraries are replaced by empty ones.
"""

import ctypes
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

CALLS = """Builder.__init__ create_network create_builder_config create_optimization_profile build_serialized_network
IBuilderConfig.add_optimization_profile clear_flag create_timing_cache set_timing_cache get_timing_cache
set_memory_pool_limit set_compute_capability num_compute_capabilities progress_monitor profiling_verbosity
INetworkDefinition.get_layer num_layers
ILayer.get_output num_outputs
ITensor.dtype
IOptimizationProfile.set_shape
ITimingCache.serialize
OnnxParser.__init__ parse get_error num_errors
ParserError.desc
ILogger.__init__ log
IProgressMonitor.__init__ phase_start step_complete phase_finish
Runtime.__init__ deserialize_cuda_engine
ICudaEngine.num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape create_execution_context
create_runtime_config create_engine_inspector
EngineInspector.get_engine_information
IExecutionContext.set_input_shape set_tensor_address execute_async_v3 update_device_memory_size_for_shapes
set_device_memory device_memory
IRuntimeConfig.create_runtime_cache set_runtime_cache set_execution_context_allocation_strategy
dynamic_shapes_kernel_specialization_strategy
IRuntimeCache.serialize deserialize"""
ENUMS = """BuilderFlag ComputeCapability DataType DynamicShapesKernelSpecializationStrategy
ExecutionContextAllocationStrategy LayerInformationFormat MemoryPoolType NetworkDefinitionCreationFlag
ProfilingVerbosity TensorIOMode"""
LIBRARIES = r"lib(?:nvinfer|nvonnxparser|nvinfer_plugin|tensorrt_rtx|tensorrt_onnxparser_rtx)\.so\.\d+"
STUBS = """createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL
createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL initLibNvInferPlugins getBuilderPluginRegistry
getPluginRegistry getNvOnnxParserVersion getInferLibVersion"""


def main() -> None:
    """Print the signatures of the wheels named on the command line."""
    if sys.argv[1] == "--one":
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(read(load(Path(sys.argv[2]), Path(folder)))))
        return
    merged: dict[str, dict[str, list[str]]] = {}
    versions = [Path(wheel).name.split("-")[1] for wheel in sys.argv[1:]]
    for wheel, version in zip(sys.argv[1:], versions, strict=True):  # bindings load once in a process
        found = json.loads(subprocess.check_output([sys.executable, __file__, "--one", wheel]))
        for name, texts in found.items():
            merged.setdefault(name, {}).setdefault(" | ".join(texts), []).append(version)
    print(json.dumps({"versions": versions, "signatures": merged}, indent=1))


def read(module: ModuleType) -> dict[str, list[str]]:
    """Overloads of each call, `get` or `set` of each property, members of each enumeration."""
    found: dict[str, list[str]] = {}
    kind = ""
    for entry in CALLS.split():
        owner, _, name = entry.rpartition(".")
        kind = owner or kind
        member = vars(getattr(module, kind, object)).get(name)
        if isinstance(member, property):
            found[f"{kind}.{name}"] = ["get" if member.fget else "", "set" if member.fset else ""]
        elif member is not None:
            found[f"{kind}.{name}"] = overloads(name, member.__doc__ or "")
    for name in ENUMS.split():
        if hasattr(module, name):
            members = getattr(module, name).__members__
            found[name] = [f"{member}={int(value)}" for member, value in members.items()]
    return {name: texts for name, texts in found.items() if texts}


def overloads(name: str, doc: str) -> list[str]:
    """The parameters of each overload, as pybind11 writes them, without the package's name."""
    lines = re.findall(rf"^(?:\d+\. )?{name}(\(.*\) -> .*)$", doc, re.MULTILINE)
    return [re.sub(r"\b(tensorrt(_rtx)?(_bindings)?\.)+|nvinfer1::|nvonnxparser::", "", line) for line in lines]


def load(wheel: Path, folder: Path) -> ModuleType:
    """Import a wheel's bindings over empty libraries."""
    zipfile.ZipFile(wheel).extractall(folder)
    library = next(folder.glob("tensorrt*_bindings/tensorrt*.so"))
    source = folder / "stub.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in STUBS.split()))
    for name in re.findall(LIBRARIES, subprocess.check_output(["ldd", library], text=True)):
        stub = folder / name
        subprocess.check_call(["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", stub, source])
        ctypes.CDLL(os.fspath(stub), mode=ctypes.RTLD_GLOBAL)
    sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
    spec = importlib.util.spec_from_file_location(library.stem, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
