import pytest
import torch
from transformers import GenerationConfig

from mbpo_core.models.preprocessing import patchify, to_units
from mbpo_core.models.sampling import SeededGumbel, cut_at_eos, left_pad

CPU = torch.device("cpu")


def prompts_and_images(rows):
    return [row.prompt for row in rows], to_units([row.image for row in rows])


def draw(policy, rows, seeds, **changes):
    settings = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 8} | changes
    return policy.sample(*prompts_and_images(rows), seeds, **settings)


def test_gumbel_max_draws_from_the_softmax():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    processor = SeededGumbel([7], CPU)
    draws = [processor(None, probabilities.log()[None]).argmax().item() for _ in range(4000)]
    found = torch.bincount(torch.tensor(draws), minlength=4) / len(draws)
    # Four standard deviations of a frequency over 4000 draws are at most 0.032.
    torch.testing.assert_close(found, probabilities, rtol=0, atol=0.032)


def test_gumbel_noise_never_revives_a_suppressed_token():
    scores = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    processor = SeededGumbel([1], CPU)
    assert all(processor(None, scores).argmax() == 0 for _ in range(100))


def test_noise_belongs_to_the_seed_and_not_to_the_place():
    scores = torch.zeros(3, 5)
    straight = SeededGumbel([1, 2, 3], CPU)(None, scores)
    turned = SeededGumbel([3, 1, 2], CPU)(None, scores)
    assert torch.equal(straight, turned[[1, 2, 0]])
    assert torch.equal(straight[:1], SeededGumbel([1], CPU)(None, scores[:1]))


def test_a_draw_depends_on_its_seed_alone(tiny_policy, tiny_rows):
    straight = draw(tiny_policy, tiny_rows, [11, 12, 13])
    turned = draw(tiny_policy, tiny_rows[::-1], [13, 12, 11])
    alone = [draw(tiny_policy, [r], [s])[0] for r, s in zip(tiny_rows, [11, 12, 13], strict=True)]
    assert straight == turned[::-1] == alone
    other = draw(tiny_policy, tiny_rows, [21, 12, 13])
    assert other[0] != straight[0]
    assert other[1:] == straight[1:]


def test_rollouts_of_one_prompt(tiny_policy, tiny_rows):
    rollouts = draw(tiny_policy, [tiny_rows[0]] * 4, [1, 2, 3, 1])
    assert rollouts[0] == rollouts[3]
    assert rollouts[0] != rollouts[1] != rollouts[2]


def test_temperature_zero_equals_the_greedy_search_of_transformers(tiny_policy, tiny_rows):
    found = draw(tiny_policy, tiny_rows, [1, 2, 3], temperature=0.0)
    # As a user would do it: explicit settings, one row at a time, raw pixels, no adapter.
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=8,
        suppress_tokens=tiny_policy.suppressed,
        eos_token_id=list(tiny_policy.eos_ids),
        pad_token_id=tiny_policy.pad_id,
        repetition_penalty=1.0,
        temperature=1.0,
        top_k=50,
    )
    images = prompts_and_images(tiny_rows)[1]
    for row, image, sampled in zip(tiny_rows, images, found, strict=True):
        ids = torch.tensor([row.prompt])
        expected = tiny_policy.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == tiny_policy.image_token_id).int(),
            pixel_values=patchify(image, tiny_policy.image_config),
            image_grid_thw=torch.tensor([tiny_policy.grid(*image.shape[1:])]),
            generation_config=settings,
        )
        assert sampled == cut_at_eos(expected[0, ids.shape[1] :].tolist(), tiny_policy.eos_ids)


@pytest.mark.parametrize("narrow", [{"top_p": 1e-6}, {"temperature": 1e-6}])
def test_a_narrow_nucleus_or_a_low_temperature_is_greedy(tiny_policy, tiny_rows, narrow):
    """Noise comes last: added before the nucleus it would choose what the nucleus keeps."""
    greedy = draw(tiny_policy, tiny_rows, [1, 2, 3], temperature=0.0)
    assert draw(tiny_policy, tiny_rows, [1, 2, 3], **narrow) == greedy


def test_sampled_ids_are_likely_under_the_scorer(tiny_policy, tiny_rows):
    """Greedy tokens are the arg max of the scoring forward: same positions, same images."""
    (found,) = draw(tiny_policy, tiny_rows[:1], [1], temperature=0.0)
    prompts, images = prompts_and_images(tiny_rows[:1])
    (logps,) = tiny_policy.token_logps(prompts, [found.ids], images)
    for position in range(len(found.ids)):
        for token in range(0, 260, 7):
            changed = [*found.ids[:position], token]
            (other,) = tiny_policy.token_logps(prompts, [changed], images)
            assert other[position] <= logps[position] + 1e-5


def test_scoring_and_the_model_are_unchanged_by_sampling(tiny_policy, tiny_rows):
    prompts, images = prompts_and_images(tiny_rows)
    responses = [row.response for row in tiny_rows]
    model = tiny_policy.model.train()
    model.model.visual.eval()
    modes = [module.training for module in model.modules()]
    settings = model.generation_config.to_dict()
    before = tiny_policy.token_logps(prompts, responses, images)
    draw(tiny_policy, tiny_rows[:2], [1, 2])
    after = tiny_policy.token_logps(prompts, responses, images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [module.training for module in model.modules()] == modes
    assert model.generation_config.to_dict() == settings
    assert model.model.rope_deltas is None


def test_forward_of_transformers_is_unchanged_by_sampling_another_batch(tiny_policy, tiny_rows):
    row, (image,) = tiny_rows[0], to_units([tiny_rows[0].image])
    ids = torch.tensor([row.prompt])
    inputs = {
        "input_ids": ids,
        "mm_token_type_ids": (ids == tiny_policy.image_token_id).int(),
        "pixel_values": patchify(image, tiny_policy.image_config),
        "image_grid_thw": torch.tensor([tiny_policy.grid(*image.shape[1:])]),
    }
    before = tiny_policy.model(**inputs).logits
    draw(tiny_policy, tiny_rows, [1, 2, 3])
    assert torch.equal(before, tiny_policy.model(**inputs).logits)


def test_vision_ids_are_never_drawn_even_if_the_model_wants_them(tiny_policy, tiny_rows):
    wanted = torch.zeros(tiny_policy.model.lm_head.out_features)
    wanted[tiny_policy.suppressed] = 1e4
    hook = tiny_policy.model.lm_head.register_forward_hook(lambda m, a, out: out + wanted)
    drawn = [draw(tiny_policy, tiny_rows, [1, 2, 3], temperature=t) for t in (0.0, 1.0)]
    hook.remove()
    names = ["vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"]
    ids = {tiny_policy.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    assert ids <= set(tiny_policy.suppressed)
    for sampled in drawn[0] + drawn[1]:
        assert not set(sampled.ids) & set(tiny_policy.suppressed)


@pytest.mark.parametrize("which", [0, 1])
def test_every_eos_id_ends_a_response_and_is_kept(tiny_policy, tiny_rows, which):
    eos = tiny_policy.eos_ids[which]
    wanted = torch.zeros(tiny_policy.model.lm_head.out_features)
    wanted[eos] = 1e4
    hook = tiny_policy.model.lm_head.register_forward_hook(lambda m, a, out: out + wanted)
    found = draw(tiny_policy, tiny_rows, [1, 2, 3])
    hook.remove()
    assert all(sampled.ids == [eos] and sampled.finished for sampled in found)


def test_eos_ids_are_those_of_the_checkpoint_with_the_turn_first(tiny_policy):
    ids = tiny_policy.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert tiny_policy.eos_ids == tuple(ids)


def test_what_follows_the_first_eos_is_dropped():
    assert cut_at_eos([5, 9, 8, 9], (8, 9)).ids == [5, 9]
    assert cut_at_eos([5, 6], (8, 9)) == cut_at_eos([5, 6], ())
    assert not cut_at_eos([5, 6], (8, 9)).finished


def test_left_padding():
    ids, mask = left_pad([[1, 2, 3], [4]], pad_id=0)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\]"),
        ({"top_p": 1.1}, r"top_p must be in \(0, 1\]"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"max_new_tokens": 600}, "row 0: .* the limit is 512"),
    ],
)
def test_settings_out_of_range_are_refused(tiny_policy, tiny_rows, changes, message):
    with pytest.raises(ValueError, match=message):
        draw(tiny_policy, tiny_rows, [1, 2, 3], **changes)


def test_a_prompt_is_read_once_whatever_is_drawn_from_it(tiny_policy, tiny_rows):
    """Three rollouts each of two prompts: two rows are prefilled, then six go on."""
    shapes = []
    hook = tiny_policy.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["inputs_embeds"].shape[:2])),
        with_kwargs=True,
    )
    prompts, images = prompts_and_images(tiny_rows[:2])
    order = [0, 1, 1, 0, 1, 0]
    repeated = [prompts[i] for i in order], [images[i] for i in order]
    settings = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 8}
    drawn = tiny_policy.sample(*repeated, list(range(6)), **settings)
    hook.remove()
    assert shapes[0] == (2, max(map(len, prompts)))
    assert set(shapes[1:]) == {(6, 1)}
    alone = [
        tiny_policy.sample([prompts[i]], [images[i].clone()], [seed], **settings)[0]
        for seed, i in enumerate(order)
    ]
    assert drawn == alone
