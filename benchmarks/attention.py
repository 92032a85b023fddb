"""What the spatial attention of `apl_sa` shows beside Grad-CAM: the first cell of each class in `select`.

    python benchmarks/attention.py PBC CHECKPOINT --out FILE.jpg

PBC holds the class folders that splits/pbc.csv was made of. One column per class: the crop, the crop under its
attention, and under the Grad-CAM of the predicted class. The colours of a map run from its least to its highest value,
those of Grad-CAM from 0; the span of the attention stands above it.
"""

import argparse
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure

from cartcls.calibration.split import read_split
from cartcls.runtime.images.decode import read_image
from cartcls.runtime.images.thumbnail import overlay
from cartcls.train.checkpoint import load_checkpoint
from cartcls.train.images import load_images
from cartcls.train.models.base import AttentionClassifier, normalize

SPLIT = Path(__file__).resolve().parent.parent / "splits" / "pbc.csv"
ROWS = ("crop", "attention", "Grad-CAM")


def main(data_dir: Path, file: Path, out: Path) -> None:
    """Classify eight cells, and draw them."""
    checkpoint = load_checkpoint(file)
    model = cast(AttentionClassifier, checkpoint.model)
    paths = read_split(SPLIT).paths("select")
    chosen = [next(path for path in paths if path.startswith(f"{name}/")) for name in checkpoint.classes]
    cells = load_images(data_dir, chosen, checkpoint.classes, checkpoint.image_size)
    with torch.inference_mode():
        features, attention = model.map_and_attention(normalize(torch.from_numpy(cells.images)))
        labels = model.fc(features.float().mean((2, 3))).argmax(1)
        cams = torch.einsum("nd,ndhw->nhw", model.fc.weight[labels], features)
    figure = Figure((2 * len(chosen), 6.4), layout="constrained")
    axes = figure.subplots(len(ROWS), len(chosen))
    for column, path in enumerate(chosen):
        crop, seen = read_image(data_dir / path)[0], attention[column, 0]
        low, high = float(seen.min()), float(seen.max())
        pictures = crop, overlay(crop, (seen - low).numpy()), overlay(crop, cams[column].numpy())
        label = checkpoint.classes[int(labels[column])]
        for row, (picture, title) in enumerate(zip(pictures, (path, f"{low:.2f} to {high:.2f}", label), strict=True)):
            axes[row, column].imshow(picture)
            axes[row, column].set_title(title, fontsize=7)
            axes[row, column].set(xticks=[], yticks=[], ylabel="" if column else ROWS[row])
    figure.savefig(out, dpi=90, pil_kwargs={"quality": 80})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pbc", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    main(options.pbc, options.checkpoint, options.out)
