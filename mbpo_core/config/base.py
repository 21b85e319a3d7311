"""What all settings are made of: frozen values, numbers written as fractions, models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mbpo_core.mining.lattice import lattice_units


class Frozen(BaseModel):
    """A frozen value; an unknown key is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _fraction(value: Any) -> Any:
    """Read `"16/255"` as the number it writes."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = (float(part) for part in value.split("/"))
        if below == 0:
            raise ValueError(f"division by zero in {value!r}")
        return above / below
    return value


def lattice(name: str) -> BeforeValidator:
    """Return the check of a pixel distance: a whole number of 1/255 in [0, 1], or None."""

    def check(value: Any) -> Any:
        value = _fraction(value)
        if value is not None:
            lattice_units(value, name)
        return value

    return BeforeValidator(check)


class EmbeddedModel(Frozen):
    """The tiny Qwen2-VL that comes with the project (`mbpo_core.testbed`)."""

    kind: Literal["embedded"] = "embedded"


class PretrainedModel(Frozen):
    """A Qwen2-VL or Qwen2.5-VL checkpoint: a local folder, or a hub id with a pinned revision."""

    kind: Literal["pretrained"] = "pretrained"
    name: str
    revision: str | None = None
    """Commit of the hub repository; needed for a hub id, refused for a folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    parameters: float | None = Field(None, gt=0)
    """Billions, for the estimates of `plan` only."""
    vision_parameters: float | None = Field(None, gt=0)
    """Billions of them in the vision tower."""


Model = Annotated[EmbeddedModel | PretrainedModel, Field(discriminator="kind")]
