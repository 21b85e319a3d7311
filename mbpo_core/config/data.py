"""Which samples there are and which are mined: ingest, score, select."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mbpo_core.config.base import Frozen


class EmbeddedSource(Frozen):
    """Scenes of the embedded world, written as a LLaVA-style file and read like any other."""

    kind: Literal["embedded"] = "embedded"
    scenes: int = Field(400, ge=1)
    seed: int = 0


class FileSource(Frozen):
    """A JSON, JSONL or Parquet file, or a `datasets` folder, of conversations."""

    kind: Literal["files"] = "files"
    path: str
    image_root: str | None = None
    """Folder that image names are relative to; default: the folder of `path`."""
    follow_links: bool = False
    """Whether symbolic links in that folder may lead out of it."""


Source = Annotated[EmbeddedSource | FileSource, Field(discriminator="kind")]


class IngestConfig(Frozen):
    """Which conversations are read, and the one policy for their images."""

    source: Source
    limit: int | None = Field(None, ge=1)
    """Read only the first records: a pilot."""
    min_pixels: int = Field(4 * 28 * 28, ge=28 * 28)
    max_pixels: int = Field(401_408, ge=28 * 28)
    """R1-V; images are resized once, here, and never again."""
    max_source_pixels: int = Field(178_956_970, ge=1)
    """Larger pictures are refused unread (Pillow's own bound for a decompression bomb)."""
    long_yes_no: bool = False
    """Also a gold answer that goes on after yes or no makes a sample closed-ended (assumed)."""
    shard_rows: int = Field(2048, ge=1)


Signal = Literal["information_gain", "answer_entropy"]


class ScoreConfig(Frozen):
    """What every readable sample is scored by; nothing = the samples pass through."""

    signals: tuple[Signal, ...] = ("information_gain",)
    """`information_gain`: how much the image adds to the gold response (MBPO, eq. 4).
    `answer_entropy`: how unsure the policy is of its own answer (MFPO's difficulty)."""
    answer_tokens: int = Field(256, ge=1)
    """Length limit of the answers whose entropy is taken (assumed)."""
    batch_tokens: int = Field(8192, ge=1)
    """Padded tokens that run together (a pack); part of the plan, so of the fingerprint."""
    max_length: int = Field(4096, ge=16)
    """Prompt and response tokens; longer samples are refused, never cut."""
    shard_rows: int = Field(2048, ge=1)


class SelectConfig(Frozen):
    """Random pre-selection, then top k; both sizes are unknown (paper App. A.1 names none)."""

    seed: int = 0
    presample: int | None = Field(30_000, ge=1)
    k: int | None = Field(10_000, ge=1)
    """`None` = all of the pre-selection."""
    key: Literal["iig_mean", "iig_sum", "low_iig_mean"] | None = "iig_mean"
    """Mean per token (assumed): a sum favours long responses. `low_iig_mean` = smallest mean first,
    a control; `None` = not ranked by score but in the order of the draw."""
    pool: Literal["open", "all"] = "open"
    """`all`: closed-ended samples too, as preference sets have pairs on them (assumed)."""
