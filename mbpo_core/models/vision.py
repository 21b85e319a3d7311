"""Visual tokens of images: each image once, a blank image as one vector, remembered where exact."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from mbpo_core.models.preprocessing import ImageConfig, patchify

logger = logging.getLogger(__name__)

QwenModel = Qwen2VLForConditionalGeneration | Qwen2_5_VLForConditionalGeneration


class ImageEncoder:
    """Runs the vision tower of a model, which is handed over with every call.

    A black image has the same rows in every layer: its patches are equal, attention averages equal
    values, and positions turn queries and keys only. So all its visual tokens are one vector, for
    every grid; it is computed from the smallest grid, after one comparison with a real one. Where
    that fails (a tower with position embeddings), blank images are encoded like all others.
    """

    def __init__(self, config: ImageConfig) -> None:
        self._config = config
        self._blank_is_one_vector: bool | None = None
        self._memory: dict[int, tuple[Tensor, Tensor]] | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Inside, the tokens of every image (by tensor object) are kept until `forget`.

        Exact while the vision tower does not change; for images that need no gradient only.
        """
        self._memory = {}
        try:
            yield
        finally:
            self._memory = None

    def forget(self) -> None:
        """Drop what is remembered so far."""
        if self._memory is not None:
            self._memory = {}

    def pixels(self, model: QwenModel, images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """`pixel_values` and `image_grid_thw` of all images, repeated ones included."""
        moved = [image.to(model.device) for image in images]
        grids = [self._config.grid(*image.shape[1:]) for image in moved]
        pixels = torch.cat([patchify(image, self._config) for image in moved])
        return pixels, torch.tensor(grids, device=model.device)

    def __call__(self, model: QwenModel, images: Sequence[Tensor]) -> list[Tensor]:
        """Visual tokens `[gh * gw / 4, D]` of each image; float `[3, H, W]` in [0, 1].

        A tensor object that repeats is encoded once. Differentiable in images and parameters.
        """
        distinct = {id(image): image for image in images}
        known = self._recalled(distinct)
        new = {key: image for key, image in distinct.items() if key not in known}
        blank = {key for key, image in new.items() if _is_blank(image)}
        known |= self._blanks(model, {key: new[key] for key in blank})
        known |= self._seen(model, {key: new[key] for key in new if key not in blank})
        self._keep(new, known)
        return [known[id(image)] for image in images]

    def _seen(self, model: QwenModel, images: dict[int, Tensor]) -> dict[int, Tensor]:
        if not images:
            return {}
        pixels, grids = self.pixels(model, list(images.values()))
        with _patches_by_matrix(model.model.visual.patch_embed):
            features = model.get_image_features(pixels, grids, return_dict=True).pooler_output
        return dict(zip(images, features, strict=True))

    def _blanks(self, model: QwenModel, images: dict[int, Tensor]) -> dict[int, Tensor]:
        if not images:
            return {}
        largest = max(images.values(), key=self._tokens)
        if self._blank_is_one_vector is None and self._tokens(largest) > 1:
            self._blank_is_one_vector = self._compare(model, largest)
        if not self._blank_is_one_vector:
            return self._seen(model, images)
        vector = self._blank_vector(model)
        return {key: vector.expand(self._tokens(image), -1) for key, image in images.items()}

    @torch.no_grad()
    def _compare(self, model: QwenModel, image: Tensor) -> bool:
        (features,) = self._seen(model, {0: image}).values()
        apart = float((features - self._blank_vector(model)).abs().max() / features.abs().max())
        # What summing in another order may change: a few units in the last place.
        same = apart <= 64 * torch.finfo(features.dtype).eps
        logger.log(
            logging.DEBUG if same else logging.WARNING,
            "visual tokens of a blank image of %d x %d differ from one vector by %.1e of it: %s",
            *image.shape[1:],
            apart,
            "encoded as one vector" if same else "every blank image is encoded in full",
        )
        return same

    def _blank_vector(self, model: QwenModel) -> Tensor:
        side = self._config.factor
        black = torch.zeros(3, side, side, device=model.device)
        (features,) = self._seen(model, {0: black}).values()
        return features

    def _tokens(self, image: Tensor) -> int:
        _, rows, columns = self._config.grid(*image.shape[1:])
        return rows * columns // self._config.merge_size**2

    def _recalled(self, images: dict[int, Tensor]) -> dict[int, Tensor]:
        memory = self._memory or {}
        return {key: memory[key][1] for key in images if key in memory}

    def _keep(self, images: dict[int, Tensor], features: dict[int, Tensor]) -> None:
        if self._memory is None:
            return
        for key, image in images.items():
            if not (image.requires_grad or features[key].requires_grad):
                # The image is kept too: its id could otherwise pass to another tensor.
                self._memory[key] = image, features[key]


@contextmanager
def _patches_by_matrix(embedding: nn.Module) -> Iterator[None]:
    """Inside, the patch embedding is a matrix product: its Conv3d has one position per patch.

    The same sums; a convolution over whole patches is several times slower, and its gradient more.
    """
    weight, bias = embedding.proj.weight, embedding.proj.bias
    embedding.forward = lambda patches: F.linear(
        patches.to(weight.dtype).reshape(len(patches), -1), weight.flatten(1), bias
    )
    try:
        yield
    finally:
        del embedding.forward


def _is_blank(image: Tensor) -> bool:
    return not image.requires_grad and not bool(image.any())
