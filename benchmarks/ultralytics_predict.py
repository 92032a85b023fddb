"""Ultralytics' `classify predict` with a network about as large as ResNet18, in an environment of its own (AGPL).

python benchmarks/ultralytics_predict.py CROPS_DIR OUT_DIR

Its weights are random: only time and memory are compared.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

from memory import peak_memory
from ultralytics import YOLO  # pyright: ignore[reportMissingImports]

NETWORK = "yolo11m-cls.yaml"  # 10.4 million parameters
SIDE = 384  # the multiple of its stride that is next to 360x363

if __name__ == "__main__":
    crops, out = map(Path, sys.argv[1:])
    with contextlib.redirect_stdout(sys.stderr):
        started = time.perf_counter()
        model = YOLO(NETWORK, task="classify")
        model.predict(next(crops.iterdir()), imgsz=SIDE, verbose=False)  # sets the predictor up
        loaded = time.perf_counter()
        results = model.predict(
            crops, imgsz=SIDE, batch=8, save=True, save_txt=True, project=str(out), stream=True, verbose=False
        )
        count = sum(1 for _ in results)
        finished = time.perf_counter()
    times = {"load": loaded - started, "work": finished - loaded}
    print(json.dumps({**times, "count": count, "peak": peak_memory()}))
