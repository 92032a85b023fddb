"""Options that several commands have."""

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class BackendName(str, Enum):
    """Names of the backends."""

    auto = "auto"
    tensorrt = "tensorrt"
    cuda = "cuda"
    openvino = "openvino"


def seconds(text: str | float) -> float:
    """Read a time such as 2, 0.5 or 2s; a default comes as a number."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?s?", str(text).strip())
    if not found or float(found[1]) < 0.1:
        raise typer.BadParameter(f"{text!r} is not a time of at least 0.1 s: write seconds, such as 2 or 2s")
    return float(found[1])


Backend = Annotated[BackendName, typer.Option(help="What runs the model.")]
BundleDir = Annotated[Path | None, typer.Option(help="Bundle to use.", show_default="the shipped rcmnet-pbc8")]
CaptureDir = Annotated[
    Path, typer.Argument(metavar="CAPTURE_DIR", help="Folder that the microscope writes to.", show_default=False)
]
LabelledDir = Annotated[
    Path, typer.Argument(metavar="LABELLED_DIR", help="Folder with one folder of images per class.", show_default=False)
]
Out = Annotated[Path, typer.Option(help="Folder for the reports; never searched for images.")]
ReportsDir = Annotated[Path, typer.Argument(metavar="REPORTS_DIR", help="Folder of reports.", show_default=False)]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME…",
        help="Answer with these classes only. The calibration does not hold then: every cell is for review.",
        show_default="all classes of the bundle",
    ),
]
Black = Annotated[int, typer.Option(help="Value that is black in pictures of 16 bits per channel.")]
White = Annotated[
    int,
    typer.Option(help="Value that is white in them, such as 4095 of a camera with 12 bits; kept for a slide."),
]
Fields = Annotated[
    bool,
    typer.Option(
        "--fields", help="Files are whole fields: find the white cells and erythroblasts in them; no platelets."
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=2.0, metavar="NUMBER", help="µm per pixel of the fields.", show_default="from files or red cells"
    ),
]
NoBuild = Annotated[
    bool, typer.Option("--no-build", help="Build no TensorRT engine: fail (exit code 4) if none matches.")
]
Poll = Annotated[float, typer.Option(parser=seconds, metavar="SECONDS", help="Shortest pause between two scans.")]
Quiet = Annotated[
    float,
    typer.Option(parser=seconds, metavar="SECONDS", help="Time without a change until a file is read; 10 on a share."),
]
REPORTS = Path("cartcls-reports")
