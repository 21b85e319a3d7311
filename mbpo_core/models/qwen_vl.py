"""The policy adapter for Qwen2-VL and Qwen2.5-VL."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mbpo_core.models.packing import pack_rows
from mbpo_core.models.preprocessing import ImageConfig, mrope_positions
from mbpo_core.models.protocol import Sampled
from mbpo_core.models.sampling import (
    cut_at_eos,
    decode_rows,
    evaluation_mode,
    left_pad,
    sampling_processors,
)
from mbpo_core.models.vision import ImageEncoder, QwenModel

END_OF_TURN = "<|im_end|>"
IMAGE_PAD = "<|image_pad|>"
VISION_TOKENS = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


class QwenVL:
    """`Policy` over a transformers Qwen2-VL or Qwen2.5-VL model.

    `model` may be the plain model or one with adapters (peft). Every scoring and sampling function
    takes `model=` for a module that wraps it during training (accelerate, DDP, FSDP); the forward
    then goes through that module. Rows are padded on the right: under causal attention no response
    token sees the padding, so no mask is needed and a row scores alone as it does in a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        image_config: ImageConfig,
        *,
        max_length: int | None = None,
    ) -> None:
        base = unwrapped(model)
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in (END_OF_TURN, IMAGE_PAD) if token not in vocabulary]
        if missing:
            raise ValueError(f"the tokenizer lacks {', '.join(missing)}")
        self.model = model
        self.tokenizer = tokenizer
        self.image_config = image_config
        self.images = ImageEncoder(image_config)
        self.max_length = max_length or base.config.text_config.max_position_embeddings
        self.image_token_id: int = base.config.image_token_id
        if vocabulary[IMAGE_PAD] != self.image_token_id:
            raise ValueError(
                f"{IMAGE_PAD} is {vocabulary[IMAGE_PAD]} for the tokenizer and "
                f"{self.image_token_id} for the model"
            )
        self.eos_ids = _eos_ids(base, vocabulary[END_OF_TURN])
        self.pad_id: int = (
            self.eos_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        )
        self.suppressed = _suppressed_ids(base, vocabulary)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return unwrapped(self.model).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return unwrapped(self.model).dtype

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """`image_grid_thw` of a prepared image; see `ImageConfig.grid` for its errors."""
        return self.image_config.grid(height, width)

    def prompt_ids(self, question: str, height: int, width: int) -> list[int]:
        """Ids of the chat template around one image and the question, with generation prompt.

        The image pad is expanded to one id per visual token of an image of `height` x `width`
        pixels. Never truncated: compare its length with `max_length` and refuse.
        Errors: ValueError if the question holds a special token, which would be read as one.
        """
        self._refuse_special(question, "question")
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        ids = self._encode(text)
        at = ids.index(self.image_token_id)
        _, gh, gw = self.grid(height, width)
        count = gh * gw // self.image_config.merge_size**2
        return ids[:at] + [self.image_token_id] * count + ids[at + 1 :]

    def response_ids(self, text: str) -> list[int]:
        """Ids of the text, tokenised apart from the prompt, then the id of `<|im_end|>`.

        Errors: ValueError if the text holds a special token.
        """
        self._refuse_special(text, "response")
        return [*self._encode(text), self.eos_ids[0]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens."""
        return self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def encode_images(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Visual tokens `[gh * gw / 4, D]` of each image; a tensor object that repeats runs once.

        Images are float `[3, H, W]` in [0, 1]. Differentiable in images and parameters.
        """
        return self.images(unwrapped(self.model), images)

    def token_logps(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        *,
        temperature: float | Sequence[float] = 1.0,
        model: nn.Module | None = None,
    ) -> list[Tensor]:
        """log pi(y_t | q, v, y_<t) of every response token (the terms of lp in eqs. 4, 5 and 7).

        Per row `[T_i]` in nats, float32 (float64 for a float64 model); the log-softmax never runs
        in half precision. `temperature`, of all rows or one each, divides the logits, as in
        sampling. Differentiable in images and parameters. `model` is a module that wraps this
        policy's own.
        Errors: ValueError for an empty response, a row beyond `max_length`, image tokens that do
        not fit the image, or lists of different lengths.
        Differs from the paper: it does not say whether the EOS token counts; it does here if the
        response ends with it.
        """
        logits, index = self._response_logits(prompts, responses, images, temperature, model)
        targets = torch.tensor([token for ids in responses for token in ids], device=logits.device)
        logps = torch.log_softmax(logits, dim=-1)[index, targets]
        return list(logps.split([len(ids) for ids in responses]))

    @torch.no_grad()
    def token_entropies(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        *,
        temperature: float | Sequence[float] = 1.0,
        model: nn.Module | None = None,
    ) -> list[Tensor]:
        """H_t = -sum_v p_v log p_v with p = pi(. | q, v, y_<t), at every response token (MFPO).

        Over the whole vocabulary. Arguments, shapes, units, precision and errors are those of
        `token_logps`; no gradient.
        """
        logits, index = self._response_logits(prompts, responses, images, temperature, model)
        entropies = torch.special.entr(torch.softmax(logits, dim=-1)).sum(dim=-1)[index]
        return list(entropies.split([len(ids) for ids in responses]))

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[list[int]],
        images: Sequence[Tensor],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> list[Sampled]:
        """Draw y ~ pi(. | q, v) for each row (eq. 6 when v is the negative image).

        A row's draw depends on its seed, prompt and image only, up to the rounding of another batch
        shape. Repeat a row (same image object) with other seeds for several rollouts. Temperature 0
        is greedy. Vision ids are never drawn: a later forward would take them for an image.
        Nothing of the checkpoint's own sampling configuration is used, except its EOS ids.
        Errors: ValueError for settings out of range or a row beyond `max_length`.
        """
        self.check_prompts(prompts, images, seeds, max_new_tokens)
        base = unwrapped(self.model)
        # Rows of one prompt and image are continued from one prefill.
        kinds = [(id(image), *prompt) for prompt, image in zip(prompts, images, strict=True)]
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
        firsts = [kinds.index(kind) for kind in numbers]
        prefill, following = self._prefill(
            [prompts[i] for i in firsts], [images[i] for i in firsts]
        )
        processors = sampling_processors(
            seeds, self.device, suppressed=self.suppressed, temperature=temperature, top_p=top_p
        )
        with evaluation_mode(base):
            drawn, finite = decode_rows(
                base,
                prefill,
                torch.tensor([numbers[kind] for kind in kinds], device=self.device),
                following,
                processors,
                eos_ids=self.eos_ids,
                max_new_tokens=max_new_tokens,
            )
        return [
            cut_at_eos(row, self.eos_ids, good) for row, good in zip(drawn, finite, strict=True)
        ]

    def check_prompts(
        self,
        prompts: Sequence[list[int]],
        images: Sequence[Tensor],
        seeds: Sequence[int],
        max_new_tokens: int,
    ) -> None:
        """Raise ValueError for rows that cannot be sampled; see `sample`."""
        _check_rows(prompts=prompts, images=images, seeds=seeds)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        for index, prompt in enumerate(prompts):
            self._check_length(index, len(prompt) + max_new_tokens, max_new_tokens)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, no parameter requires a gradient; what required one does again afterwards."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def float32(self) -> Self:
        """Itself if its parameters are float32, else a policy over a float32 copy of the model."""
        if self.dtype == torch.float32:
            return self
        clone = copy.copy(self)
        clone.model = copy.deepcopy(self.model).float()
        clone.images = ImageEncoder(self.image_config)
        return clone

    def _response_logits(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        temperature: float | Sequence[float],
        model: nn.Module | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits, at least float32, and for each response token which of them predict it."""
        _check_rows(prompts=prompts, responses=responses, images=images)
        each = [temperature] * len(prompts) if isinstance(temperature, int | float) else temperature
        _check_rows(prompts=prompts, temperatures=each)
        if min(each) <= 0:
            raise ValueError(f"temperature must be above 0, got {min(each)}")
        rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        for index, (row, response) in enumerate(zip(rows, responses, strict=True)):
            self._check_length(index, len(row), len(response))
        module = self.model if model is None else model
        packed = pack_rows(
            prompts,
            responses,
            [self._positions(row, image) for row, image in zip(rows, images, strict=True)],
            [id(image) for image in images] if self._may_share() else range(len(rows)),
            image_token_id=self.image_token_id,
            pad_id=self.pad_id,
            hidden_size=unwrapped(self.model).config.text_config.hidden_size,
        )
        logits = module(
            input_ids=packed.ids.to(self.device),
            position_ids=packed.positions.to(self.device),
            attention_mask=self._attention_mask(packed.visible),
            logits_to_keep=packed.keep.to(self.device),
            use_cache=False,
            **self._vision_inputs(module, [images[row] for row in packed.image_rows]),
        ).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        index = packed.index.to(logits.device)
        if len(set(each)) > 1:  # what rows share has the temperature of each
            tokens = [t for t, response in zip(each, responses, strict=True) for _ in response]
            logits = logits[index] / torch.tensor(tokens, device=logits.device)[:, None]
            return logits, torch.arange(len(tokens), device=logits.device)
        if each[0] != 1:  # a copy of the largest tensor there is
            logits = logits / each[0]
        return logits, index

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _refuse_special(self, text: str, what: str) -> None:
        for token in self.tokenizer.get_added_vocab():
            if token in text:
                raise ValueError(f"the {what} holds the special token {token}")

    def _check_length(self, index: int, length: int, response: int) -> None:
        if response < 1:
            raise ValueError(f"row {index}: the response has no tokens")
        if length > self.max_length:
            raise ValueError(f"row {index}: {length} tokens, the limit is {self.max_length}")

    def _vision_inputs(self, module: nn.Module, images: Sequence[Tensor]) -> dict[str, Any]:
        if module is not self.model:
            # A distributed wrapper gathers and synchronises parameters in its own forward only, so
            # the vision tower must run inside it, repeated images included.
            pixels, grids = self.images.pixels(unwrapped(module), images)
            return {"pixel_values": pixels, "image_grid_thw": grids}
        return {"mm_encoder_outputs": _as_encoder_outputs(self.encode_images(images))}

    def _positions(self, row: list[int], image: Tensor) -> Tensor:
        grid = self.grid(*image.shape[1:])
        return mrope_positions(row, self.image_token_id, grid, self.image_config.merge_size)

    def _prefill(
        self, prompts: list[list[int]], images: list[Tensor]
    ) -> tuple[dict[str, Any], Tensor]:
        ids, mask = left_pad(prompts, self.pad_id)
        positions = torch.zeros(3, *ids.shape, dtype=torch.long)
        for row, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
            positions[:, row, ids.shape[1] - len(prompt) :] = self._positions(prompt, image)
        following = positions.amax(dim=(0, 2)) + 1
        inputs = {
            "input_ids": ids.to(self.device),
            "attention_mask": mask.to(self.device),
            "position_ids": positions.to(self.device),
            "mm_encoder_outputs": _as_encoder_outputs(self.encode_images(images)),
        }
        return inputs, following.to(self.device)

    def _may_share(self) -> bool:
        """Flash attention takes no mask of ours; rows then stand alone."""
        return self._attention in ("sdpa", "eager")

    @property
    def _attention(self) -> str:
        return unwrapped(self.model).config.text_config._attn_implementation

    def _attention_mask(self, visible: Tensor | None) -> Tensor | None:
        if visible is None:
            return None
        visible = visible.to(self.device)
        if self._attention == "sdpa":
            return visible
        # Eager attention adds its mask to the scores.
        return torch.where(visible, 0.0, torch.finfo(self.dtype).min).to(self.dtype)


def unwrapped(model: nn.Module) -> QwenModel:
    """The transformers model inside the wrappers of accelerate, torch.distributed and peft.

    Errors: TypeError if there is no Qwen2-VL or Qwen2.5-VL inside.
    """
    while hasattr(model, "module"):
        model = model.module
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    if not isinstance(model, QwenModel):
        raise TypeError(f"expected a Qwen2-VL or Qwen2.5-VL model, got {type(model).__name__}")
    return model


def _eos_ids(base: QwenModel, end_of_turn: int) -> tuple[int, ...]:
    listed = base.generation_config.eos_token_id
    listed = [] if listed is None else [listed] if isinstance(listed, int) else listed
    return tuple(dict.fromkeys([end_of_turn, *listed]))


def _suppressed_ids(base: QwenModel, vocabulary: dict[str, int]) -> list[int]:
    vision = [vocabulary[token] for token in VISION_TOKENS if token in vocabulary]
    # Rows of the embedding beyond the tokenizer have no text: they would vanish from the response.
    nameless = set(range(base.config.text_config.vocab_size)) - set(vocabulary.values())
    return sorted({*vision, *nameless})


def _as_encoder_outputs(features: list[Tensor]) -> dict[str, BaseModelOutputWithPooling]:
    return {"image": BaseModelOutputWithPooling(pooler_output=features)}


def _check_rows(**columns: Sequence[Any]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"expected equally many rows and at least one, got {lengths}")
