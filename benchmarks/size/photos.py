"""What a real photograph costs a core and the disk: `python -m benchmarks.size.photos FOLDER`.

Prints one JSON object: CPU seconds a megapixel of the stored picture (prepared as `ingest` does,
decoded, encoded after an attack), its bytes a pixel before and after, and bytes hashed a second.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

from benchmarks.timing import taken
from mbpo_core.config import IngestConfig
from mbpo_core.data.images import ImagePolicy, PreparedImage, prepare_image
from mbpo_core.mining.png import decode_png, encode_png
from mbpo_core.recipes.worlds import MMSEED
from tasks.ingest import FACTOR

MOST = 60
UNITS = 4
"""Step of the attack in 1/255; as many steps at most to each side as its radius of 16 has."""


def measure(folder: Path) -> dict[str, float]:
    """Return the figures of the first photographs of a folder."""
    files = sorted(folder.glob("*.jpg"))[:MOST]
    config = IngestConfig(source=MMSEED)
    policy = ImagePolicy(FACTOR, config.min_pixels, config.max_pixels, config.max_source_pixels)
    data = [file.read_bytes() for file in files]
    with taken() as preparing:
        made = [prepare_image(each, policy) for each in data]
    images = [each for each in made if isinstance(each, PreparedImage)]
    with taken() as decoding:
        pixels = [decode_png(image.png) for image in images]
    draw = torch.Generator().manual_seed(0)
    attacked = [_attacked(each, draw) for each in pixels]
    with taken() as encoding:
        encoded = [encode_png(each) for each in attacked]
    stored = b"".join(image.png for image in images)
    with taken() as hashing:
        hashlib.sha256(stored).digest()
    area = sum(image.height * image.width for image in images)
    seconds = {"prepare": preparing, "decode": decoding, "encode": encoding}
    return {
        "photographs": len(images),
        "mean_pixels": round(area / len(images)),
        "stored_bytes_a_pixel": round(len(stored) / area, 3),
        "attacked_bytes_a_pixel": round(sum(map(len, encoded)) / area, 3),
        **{f"{name}_cpu_seconds_a_megapixel": round(each.cpu / area * 1e6, 4)
           for name, each in seconds.items()},
        "hashed_bytes_a_cpu_second": round(len(stored) / hashing.cpu),
    }  # fmt: skip


def _attacked(pixels: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Move every value by a random whole number of steps: as hard to compress as an attack."""
    steps = torch.randint(-UNITS, UNITS + 1, pixels.shape, generator=draw)
    return (pixels.int() + UNITS * steps).clamp(0, 255).to(torch.uint8)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(Path(sys.argv[1]))))
