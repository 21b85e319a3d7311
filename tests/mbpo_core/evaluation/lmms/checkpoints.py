"""Checkpoint folders without weights, and the genuine results beside this file."""

import json
from pathlib import Path

RUN = Path(__file__).with_name("embedded_run")
MIN_PIXELS, MAX_PIXELS = 56 * 56, 1280 * 28 * 28


def checkpoint(folder: Path, model_type="qwen2_vl") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    limits = {"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS}
    (folder / "preprocessor_config.json").write_text(json.dumps(limits))
    return folder


def results_path() -> Path:
    (found,) = RUN.glob("*_results.json")
    return found
