"""An exported model opened by transformers, beside the policy that training left in the store."""

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import to_unit
from storage.store import ArtifactStore
from tasks.export import Asked, export
from tasks.rows import pixels
from tests.pipelines import rows


def exported(root, target, ref="train", **how):
    return export(ArtifactStore(root), Asked(ref, target, **how), lambda amount, total=None: None)


def trained(root):
    store = ArtifactStore(root)
    return store.path(store.resolve("train")) / "files"


def compare_reopened(root, folder):
    """Compare prompts and log-probabilities of a sample; return the model that was opened.

    Text and image go through the tokenizer, the template and the processor of the folder.
    """
    policy = load_policy(str(trained(root) / "model"))
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    sample = next(row for row in rows(root, "ingest", "samples") if row["image"])
    image = pixels(sample["image"])
    prompt = policy.prompt_ids(sample["question"], *image.shape[1:])
    response = policy.response_ids(sample["response"])
    ours = policy.token_logps([prompt], [response], [to_unit(image)])[0]

    tokenizer = AutoTokenizer.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": sample["question"]}]
    asked = {"role": "user", "content": content}
    text = tokenizer.apply_chat_template([asked], tokenize=False, add_generation_prompt=True)
    vision = AutoImageProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")
    tokens = int(vision["image_grid_thw"].prod()) // 4
    text = text.replace("<|image_pad|>", "<|image_pad|>" * tokens)
    ids = tokenizer(text)["input_ids"]
    assert ids == list(prompt)
    whole = torch.tensor([[*ids, *response]])
    kinds = (whole == policy.image_token_id).int()
    with torch.no_grad():
        logits = model(input_ids=whole, mm_token_type_ids=kinds, **vision).logits
    theirs = logits[0, len(ids) - 1 : -1].log_softmax(-1).gather(1, whole[0, len(ids) :, None])
    torch.testing.assert_close(theirs[:, 0], ours.detach(), rtol=0, atol=1e-5)
    return model
