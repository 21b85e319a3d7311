"""Rows as the arguments of a policy and as the inputs of transformers."""

import torch

from mbpo_core.models.preprocessing import patchify, to_units


def columns(rows):
    images = to_units([row.image for row in rows])
    return [row.prompt for row in rows], [row.response for row in rows], images


def transformers_inputs(policy, rows, side):
    """A batch padded on one side, as transformers takes it: raw patches, a mask, no positions."""
    whole = [row.prompt + row.response for row in rows]
    width = max(map(len, whole))
    ids = torch.full((len(rows), width), policy.pad_id)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(whole):
        where = slice(width - len(row), None) if side == "left" else slice(len(row))
        ids[index, where] = torch.tensor(row)
        mask[index, where] = 1
    images = to_units([row.image for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == policy.image_token_id).int(),
        "pixel_values": torch.cat([patchify(image, policy.image_config) for image in images]),
        "image_grid_thw": torch.tensor([policy.grid(*image.shape[1:]) for image in images]),
    }
