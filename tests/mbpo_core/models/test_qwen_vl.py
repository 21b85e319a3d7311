import copy

import pytest
import torch

from mbpo_core.models.preprocessing import ImageConfig, patchify, to_unit, to_units
from mbpo_core.models.qwen_vl import QwenVL, unwrapped
from tests.mbpo_core.tiny_models import build_model, build_rows

TOLERANCE = {"rtol": 0, "atol": 1e-5}


def columns(rows):
    images = to_units([row.image for row in rows])
    return [row.prompt for row in rows], [row.response for row in rows], images


def inputs_of(policy, row, image):
    """One row as transformers' own processor would give it, without positions."""
    ids = torch.tensor([row.prompt + row.response])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == policy.image_token_id).int(),
        "pixel_values": patchify(image, policy.image_config),
        "image_grid_thw": torch.tensor([policy.grid(*image.shape[1:])]),
    }


def test_prompt_has_template_image_tokens_and_question(tiny_policy):
    ids = tiny_policy.prompt_ids("How many birds?", 56, 84)
    text = tiny_policy.tokenizer.decode(ids)
    pads = "<|image_pad|>" * 6
    assert text == (
        f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>How many birds?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_response_ends_with_the_turn_and_decodes_without_it(tiny_policy):
    ids = tiny_policy.response_ids("a red bird")
    assert ids[-1] == tiny_policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tiny_policy.decode(ids) == "a red bird"


@pytest.mark.parametrize("text", ["what is <|image_pad|>?", "end <|im_end|> here"])
def test_text_with_special_tokens_is_refused(tiny_policy, text):
    with pytest.raises(ValueError, match="special token"):
        tiny_policy.prompt_ids(text, 56, 56)
    with pytest.raises(ValueError, match="special token"):
        tiny_policy.response_ids(text)


def test_sum_of_logps_is_minus_the_loss_of_transformers_times_length(tiny_policy, tiny_rows):
    found = tiny_policy.token_logps(*columns(tiny_rows))
    for row, logps in zip(tiny_rows, found, strict=True):
        inputs = inputs_of(tiny_policy, row, to_unit(row.image))
        labels = inputs["input_ids"].clone()
        labels[:, : len(row.prompt)] = -100
        loss = tiny_policy.model(**inputs, labels=labels).loss
        assert logps.shape == (len(row.response),)
        torch.testing.assert_close(logps.sum(), -loss * len(row.response), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [((56, 84), (84, 56), (56, 84)), ((56, 84),) * 3])
def test_batch_equals_single(tiny_policy, sizes):
    rows = build_rows(tiny_policy, sizes)
    together = tiny_policy.token_logps(*columns(rows))
    for row, logps in zip(rows, together, strict=True):
        (alone,) = tiny_policy.token_logps(*columns([row]))
        torch.testing.assert_close(logps, alone, **TOLERANCE)


def test_equals_the_left_padded_forward_of_transformers(tiny_policy, tiny_rows):
    rows = tiny_rows
    width = max(len(r.prompt) + len(r.response) for r in rows)
    ids = torch.full((len(rows), width), tiny_policy.pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        whole = row.prompt + row.response
        ids[i, -len(whole) :] = torch.tensor(whole)
        mask[i, -len(whole) :] = 1
    images = [to_unit(row.image) for row in rows]
    logits = tiny_policy.model(
        input_ids=ids,
        attention_mask=mask,
        mm_token_type_ids=(ids == tiny_policy.image_token_id).int(),
        pixel_values=torch.cat([patchify(image, tiny_policy.image_config) for image in images]),
        image_grid_thw=torch.tensor([tiny_policy.grid(*image.shape[1:]) for image in images]),
    ).logits
    found = tiny_policy.token_logps(*columns(rows))
    for i, row in enumerate(rows):
        count = len(row.response)
        rows_before = logits[i, -count - 1 : -1].log_softmax(-1)
        expected = rows_before.gather(-1, torch.tensor(row.response)[:, None])[:, 0]
        torch.testing.assert_close(found[i], expected, **TOLERANCE)


def test_leak_canary(tiny_policy, tiny_rows):
    """Another neighbour of the same shape must not move a row by one bit."""
    before = tiny_policy.token_logps(*columns(tiny_rows))
    prompts, responses, images = columns(tiny_rows)
    letter, other = tiny_policy.response_ids("x")[0], tiny_policy.response_ids("y")[0]
    changed = list(images)
    changed[1] = 1 - images[1]
    prompts[1] = [other if token == letter else token for token in prompts[1]]
    responses[1] = [letter] * len(responses[1])
    after = tiny_policy.token_logps(prompts, responses, changed)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])


def test_two_images_of_one_grid_are_not_mixed_up(tiny_policy, tiny_rows):
    """Rows 0 and 2 have the same grid: swapped features would raise no error."""
    prompts, responses, images = columns(tiny_rows)
    straight = tiny_policy.token_logps(prompts, responses, images)
    swapped = tiny_policy.token_logps(prompts, responses, [images[2], images[1], images[0]])
    assert (straight[0] - swapped[0]).abs().max() > 1e-3
    torch.testing.assert_close(straight[1], swapped[1], **TOLERANCE)


def test_a_repeated_image_is_encoded_once_and_gives_the_same(tiny_policy, tiny_rows):
    prompts, responses, images = columns(tiny_rows)
    seen = []
    tower = unwrapped(tiny_policy.model).model.visual
    hook = tower.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0].shape[0]), with_kwargs=True
    )
    repeated = tiny_policy.token_logps(
        [prompts[0]] * 3, [responses[0], responses[1], responses[0]], [images[0]] * 3
    )
    separate = tiny_policy.token_logps(
        [prompts[0]] * 3,
        [responses[0], responses[1], responses[0]],
        [images[0].clone() for _ in range(3)],
    )
    hook.remove()
    assert seen[1] == 3 * seen[0]
    for one, other in zip(repeated, separate, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


def test_temperature_divides_the_logits(tiny_policy, tiny_rows):
    row = tiny_rows[0]
    (logps,) = tiny_policy.token_logps(*columns([row]), temperature=2.0)
    logits = tiny_policy.model(**inputs_of(tiny_policy, row, to_unit(row.image))).logits
    rows_before = (logits[0, len(row.prompt) - 1 : -1] / 2.0).log_softmax(-1)
    expected = rows_before.gather(-1, torch.tensor(row.response)[:, None])[:, 0]
    torch.testing.assert_close(logps, expected, **TOLERANCE)
    with pytest.raises(ValueError, match="above 0"):
        tiny_policy.token_logps(*columns([row]), temperature=0.0)


def test_half_precision_model_gives_float32_logps(tiny_policy, tiny_rows):
    exact = tiny_policy.token_logps(*columns(tiny_rows))
    half = copy.copy(tiny_policy)
    half.model = copy.deepcopy(tiny_policy.model).bfloat16()
    for one, other in zip(exact, half.token_logps(*columns(tiny_rows)), strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0.3)
    full = half.float32()
    assert full.dtype == torch.float32
    assert half.dtype == torch.bfloat16
    assert tiny_policy.float32() is tiny_policy


class Wrapper(torch.nn.Module):
    """As DistributedDataParallel: the real model under `.module`, reached through forward."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.calls = 0

    def forward(self, **kwargs):
        self.calls += 1
        return self.module(**kwargs)


def test_a_wrapped_module_runs_its_own_forward_and_agrees(tiny_policy, tiny_rows):
    wrapper = Wrapper(tiny_policy.model)
    plain = tiny_policy.token_logps(*columns(tiny_rows))
    through = tiny_policy.token_logps(*columns(tiny_rows), model=wrapper)
    assert wrapper.calls == 1
    for one, other in zip(plain, through, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


# Of peft, against transformers: not ours to change.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_work_and_the_disabled_adapter_is_the_base(tiny_policy, tiny_rows):
    peft = pytest.importorskip("peft")
    before = tiny_policy.token_logps(*columns(tiny_rows))
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|v_proj)")
    adapted = peft.get_peft_model(copy.deepcopy(tiny_policy.model), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    with_adapter = QwenVL(adapted, tiny_policy.tokenizer, tiny_policy.image_config)
    moved = with_adapter.token_logps(*columns(tiny_rows))
    assert (moved[0] - before[0]).abs().max() > 1e-3
    with adapted.disable_adapter():
        disabled = with_adapter.token_logps(*columns(tiny_rows))
    for one, other in zip(before, disabled, strict=True):
        assert torch.equal(one, other)
    moved[0].sum().backward()
    assert all(p.grad is not None for n, p in adapted.named_parameters() if "lora" in n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, r, i: (p, [[], *r[1:]], i), "row 0: the response has no tokens"),
        (lambda p, r, i: (p, [[5] * 600, *r[1:]], i), "row 0: 6[0-9]+ tokens, the limit is 512"),
        (lambda p, r, i: (p, r, i[:-1]), "equally many rows"),
        (lambda p, r, i: ([], [], []), "at least one"),
        (lambda p, r, i: (p, r, [i[0][:, :28], *i[1:]]), "image needs one run of 3"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tiny_policy, tiny_rows, change, message):
    with pytest.raises(ValueError, match=message):
        tiny_policy.token_logps(*change(*columns(tiny_rows)))


def test_refuses_other_models_and_tokenizers(tiny_policy, tiny_tokenizer):
    with pytest.raises(TypeError, match=r"expected a Qwen2-VL .* got Linear"):
        QwenVL(torch.nn.Linear(1, 1), tiny_tokenizer, ImageConfig())
    model = copy.deepcopy(tiny_policy.model)
    model.config.image_token_id += 1
    with pytest.raises(ValueError, match="for the tokenizer and"):
        QwenVL(model, tiny_tokenizer, ImageConfig())


class TestGradient:
    def test_directional_finite_difference_in_float64(self, tiny_policy, tiny_rows, monkeypatch):
        """transformers casts to float32 in places; with these casts patched it is exact."""
        policy = copy.copy(tiny_policy)
        policy.model = copy.deepcopy(tiny_policy.model).double()
        in_double(policy.model, monkeypatch)
        row = tiny_rows[0]
        image = to_unit(row.image).double().requires_grad_()

        def logp(pixels):
            return policy.token_logps([row.prompt], [row.response], [pixels])[0].sum()

        (gradient,) = torch.autograd.grad(logp(image), image)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            way = torch.randn(image.shape, generator=generator, dtype=torch.float64)
            way /= way.norm()
            with torch.no_grad():
                slope = (logp(image + 1e-4 * way) - logp(image - 1e-4 * way)) / 2e-4
            torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-6, atol=1e-8)

    def test_parameters_images_and_mode_are_left_alone(self, tiny_policy, tiny_rows):
        prompts, responses, images = columns(tiny_rows)
        tiny_policy.model.train()
        points = [image.clone().requires_grad_() for image in images]
        trained = [p for p in tiny_policy.model.parameters() if p.requires_grad]
        with tiny_policy.frozen():
            assert not any(p.requires_grad for p in tiny_policy.model.parameters())
            logps = tiny_policy.token_logps(prompts, responses, points)
            gradients = torch.autograd.grad(torch.cat(logps).sum(), points)
        assert all(g.abs().max() > 0 for g in gradients)
        assert all(p.requires_grad and p.grad is None for p in trained)
        assert tiny_policy.model.training
        assert all(torch.equal(a, b) for a, b in zip(images, points, strict=True))

    def test_one_rows_gradient_does_not_depend_on_the_others(self, tiny_policy, tiny_rows):
        def gradients(rows):
            prompts, responses, images = columns(rows)
            points = [image.clone().requires_grad_() for image in images]
            logps = tiny_policy.token_logps(prompts, responses, points)
            return torch.autograd.grad(torch.cat(logps).sum(), points)

        together = gradients(tiny_rows)
        for row, gradient in zip(tiny_rows, together, strict=True):
            (alone,) = gradients([row])
            torch.testing.assert_close(gradient, alone, rtol=1e-4, atol=1e-4)


def in_double(model, monkeypatch):
    """Undo the casts to float32 inside the model (normalisation, rotary embeddings)."""
    to = torch.Tensor.to

    def keep_double(tensor, *args, **kwargs):
        args = [torch.float64 if arg is torch.float32 else arg for arg in args]
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", keep_double)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def test_genuine_size_windows(tiny_tokenizer):
    """Qwen2.5-VL attends in windows: a grid that is no multiple of the window scores alone too."""
    policy = QwenVL(build_model("qwen2_5_vl", tiny_tokenizer), tiny_tokenizer, ImageConfig())
    rows = build_rows(policy, sizes=((140, 84), (28, 28), (84, 196)))
    together = policy.token_logps(*columns(rows))
    for row, logps in zip(rows, together, strict=True):
        (alone,) = policy.token_logps(*columns([row]))
        torch.testing.assert_close(logps, alone, **TOLERANCE)
