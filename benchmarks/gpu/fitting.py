"""Trains RCMNet at its full size in the time that there is, by `cartcls train fit`'s own code and recipe."""

import json
import sys
import time

import torch
from place import ROOT, Place, SkippedError
from torch import Tensor

from cartcls.calibration.split import read_split
from cartcls.runtime.bundle.provenance import Stage
from cartcls.train.augment import augment
from cartcls.train.loaders import BalancedSampler, CellData
from cartcls.train.models.base import FeatureClassifier, normalize
from cartcls.train.models.build import build
from cartcls.train.training import LAST, TrainingSettings, read_run, train

SIZE, SMALL_SIZE = (360, 363), (32, 32)
BATCH, SMALL_BATCH = 256, 8
MOST_EPOCHS, SMALL_EPOCHS = 100, 2
STEPS, SMALL_STEPS = 8, 1  # that are timed
WARM = 2  # steps before them, which are slower
OTHER = 1.5  # seconds of an epoch for `select` and the checkpoints
FINISH = 25.0  # seconds for the best checkpoint's answers on the CPU, at the end
SHARE = 0.85  # of the time that is left is planned for
MANIFEST = "manifest.json"


def step_fit(place: Place) -> None:
    """As many epochs as the time allows, at most 100; a run that was cut off goes on."""
    file = place.cells.parent / MANIFEST
    if not file.exists():
        raise SkippedError("no crops were brought along: python benchmarks/gpu/pack.py CELLS")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    split_file = ROOT / "splits" / "pbc.csv" if not place.small else place.cells.parent / "split.csv"
    split = read_split(split_file)
    if split.sha256 != manifest["split_sha256"]:
        raise SkippedError(f"the crops were packed for another split than {split_file}")
    paths = [*split.paths("fit"), *split.paths("select")]
    if missing := sum(not (place.cells / path).exists() for path in paths):
        raise SkippedError(f"{missing} of {len(paths)} crops are not here yet: bring the other parts")
    size, batch = (SMALL_SIZE, SMALL_BATCH) if place.small else (SIZE, BATCH)
    resume = (place.run / LAST).exists()
    data = CellData(place.cells, split, [Stage(size, 1)], batch, seed=0)
    started = time.perf_counter()
    for part in ("fit", "select"):
        if data.images(part, size).sha256 != manifest["data_sha256"][part]:
            raise SkippedError(f"the crops of {part} are not those that were packed")
    place.note("crops", f"{len(paths)} read in {time.perf_counter() - started:.1f} s")
    stages = list(read_run(place.run).stages) if resume else [Stage(size, planned_epochs(place, data, size, batch))]
    data.stages = stages
    settings = TrainingSettings(stages, batch_size=batch)
    width, height = size
    sizes = f"{width}x{height}:{stages[0].epochs}"
    # What the run's record says: the command that does the same.
    sys.argv = ["cartcls", "train", "fit", str(place.cells), "--split", split_file.name, "--sizes", sizes]
    sys.argv += ["--batch-size", str(batch), "--out", str(place.run)]
    others = {part: manifest["data_sha256"][part] for part in ("calibrate", "report")}
    started = time.perf_counter()
    metrics = train(data, split_file, place.run, settings, others, resume)
    place.note("training", f"{stages[0].epochs} epochs, {time.perf_counter() - started:.0f} s{', resumed' * resume}")
    if metrics:
        place.note("right on select", f"{metrics.correct} of {metrics.count} ({metrics.unit})")
    if not place.small:
        place.note("memory", f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def planned_epochs(place: Place, data: CellData, size: tuple[int, int], batch: int) -> int:
    """Number of epochs that fit into the time that is left, from the time of some steps with a model of its own."""
    loaded = data.images("fit", size)
    images = torch.from_numpy(loaded.images[:batch]).to(place.device)
    labels = torch.from_numpy(loaded.labels[:batch]).to(place.device)
    model = build("rcmnet", len(data.classes), size).to(place.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    seconds = 0.0
    timed = SMALL_STEPS if place.small else STEPS
    for number in range(WARM + timed):
        if number == WARM:
            place.wait()
            seconds = time.perf_counter()
        with torch.autocast(place.device, torch.bfloat16):
            loss = _loss(model, images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    place.wait()
    seconds = (time.perf_counter() - seconds) / timed
    torch.cuda.empty_cache()  # what the GPU has free decides where the images are held
    steps = len(BalancedSampler(loaded.labels, 0)) // batch
    epochs = int((SHARE * place.left() - FINISH) / (steps * seconds + OTHER))
    rate = f"{batch / seconds:,.0f} images/s"
    place.note("a step", f"{1000 * seconds:.0f} ms for {batch} images ({rate}), {steps} an epoch")
    if epochs < 1:
        raise SkippedError(f"no epoch fits into {place.left():.0f} s")
    return min(epochs, SMALL_EPOCHS if place.small else MOST_EPOCHS)


def _loss(model: FeatureClassifier, images: Tensor, labels: Tensor) -> Tensor:
    x = normalize(augment(images)).contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.cross_entropy(model(x), labels)
