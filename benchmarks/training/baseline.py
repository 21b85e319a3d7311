"""The baseline: TRL's GRPOTrainer and DPOTrainer themselves, on the same model and groups.

Without torchvision transformers cannot build `Qwen2VLProcessor` (it wants a video processor), so
the processor here is composed of the tokenizer and the PIL image processor; nothing else of TRL's
own path is replaced, but for the one line in `score_responses_only`.

Used well: no gradient checkpointing, float32 as on our side, one micro-batch for the whole group or
pair, one optimiser step per set of rollouts, the reference by disabled adapters where there are
adapters, no truncation of prompts.
"""

from collections.abc import Callable
from pathlib import Path

import trl.trainer.utils
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProcessorMixin,
    Qwen2VLForConditionalGeneration,
    TrainerCallback,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

from benchmarks.training.batch import IMAGE_PAD, Work, build_policy, groups_of, images_of, reward
from benchmarks.training.phases import GENERATION, GRADIENT, OTHER, Stopwatch


class ImageTextProcessor(ProcessorMixin):
    """What `Qwen2VLProcessor` does for images, without its video processor."""

    return_mm_token_type_ids = True

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token = IMAGE_PAD
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs, image_idx, **_):
        """One pad per visual token."""
        patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        return self.image_token * (patches // self.image_processor.merge_size**2)

    @property
    def model_input_names(self):
        """The types that Qwen2-VL's positions are made of are an input too."""
        return [*super().model_input_names, "mm_token_type_ids"]


def processor_of(tokenizer: PreTrainedTokenizerBase) -> ImageTextProcessor:
    """The processor around a tokenizer with a chat template."""
    images = Qwen2VLImageProcessorPil()
    return ImageTextProcessor(images, tokenizer, chat_template=tokenizer.chat_template)


def score_responses_only() -> None:
    """Pass only response rows through the head.

    TRL's head does that on GPUs alone; elsewhere it passes all rows, prompt and image included. The
    stronger baseline is the GPU's way, so it is switched on here.
    """
    trl.trainer.utils._use_triton = lambda device: True


def run(
    work: Work,
    folder: Path,
    watch: Stopwatch,
    on_step: Callable[[], None],
    *,
    as_shipped: bool = False,
) -> None:
    """Train `work.steps` optimiser steps; `on_step` is called after each."""
    if not as_shipped:
        score_responses_only()
    trainer = build_trainer(work, folder)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_AfterStep(on_step))
    watch.method(GRPOTrainer, "_generate_single_turn", GENERATION)
    watch.method(GRPOTrainer, "_generate_and_score_completions", OTHER)
    watch.method(type(trainer), "training_step", GRADIENT)
    watch.optimiser()
    watch.reference_forwards(trainer.model)
    if trainer.ref_model is not None:
        watch.reference_forwards(trainer.ref_model)
    trainer.train()


def build_trainer(work: Work, folder: Path) -> GRPOTrainer | DPOTrainer:
    """The trainer of a stream, its reference read from the same files as its policy."""
    policy = build_policy(work)
    policy.model.save_pretrained(folder / "model")
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder / "model")
    processor = processor_of(policy.tokenizer)
    adapters = _adapters(work) if work.tuning == "lora" else None
    common = {
        "output_dir": str(folder / "run"),
        "max_steps": work.steps,
        "learning_rate": work.learning_rate,
        "beta": work.beta,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    build = _online if work.stream == "online" else _offline
    return build(work, model, processor, adapters, common)


def _online(work, model, processor, adapters, common) -> GRPOTrainer:
    args = GRPOConfig(
        per_device_train_batch_size=work.trl_rows,
        gradient_accumulation_steps=work.generations // work.trl_rows,
        num_generations=work.generations,
        max_completion_length=work.new_tokens,
        temperature=1.0,
        top_p=1.0,
        num_iterations=1,
        loss_type="grpo",
        scale_rewards="group",
        use_bias_correction_kl=False,
        **common,
    )

    def parity(completions, **_):
        return [reward(completion[0]["content"]) for completion in completions]

    return GRPOTrainer(
        model, parity, args, _rows(work), processing_class=processor, peft_config=adapters
    )


def _offline(work, model, processor, adapters, common) -> DPOTrainer:
    args = DPOConfig(per_device_train_batch_size=1, loss_type="sigmoid", max_length=None, **common)
    return DPOTrainer(
        model, args=args, train_dataset=_rows(work), processing_class=processor,
        peft_config=adapters,
    )  # fmt: skip


def _adapters(work: Work) -> LoraConfig:
    """The same as `mbpo_core.training` makes of the settings."""
    names = "|".join(work.lora.targets)
    return LoraConfig(
        r=work.lora.rank,
        lora_alpha=work.lora.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=rf".*language_model.*\.({names})",
        task_type="CAUSAL_LM",
    )


def _rows(work: Work) -> Dataset:
    """The groups as TRL's conversational vision datasets have them."""
    groups = groups_of(work)
    images = images_of(work, groups)
    rows = []
    for group in groups:
        image = Image.fromarray(images[group.image_id].permute(1, 2, 0).numpy())
        row = {"prompt": [{"role": "user", "content": group.question}], "image": image}
        for candidate in group.candidates:
            row[candidate.role] = [{"role": "assistant", "content": candidate.text}]
        rows.append(row)
    return Dataset.from_list(rows)


class _AfterStep(TrainerCallback):
    """Calls back when a step has been logged, which is where our side does."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step

    def on_log(self, args, state, control, logs=None, **_):
        """The Trainer's closing summary has no loss."""
        if "loss" in logs:
            self._on_step()
