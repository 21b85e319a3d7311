"""vLLM as a program of its own: `python vllm_engine.py`, one JSON object a line.

It needs vLLM and nothing of this project: vLLM 0.33.0 asks for other versions of torch,
transformers and fastapi than this project does, so the two share no environment. The first line of
standard input is `{"model": {...}}`, the arguments of `vllm.LLM`; every further one a request as
`Engine.draw` takes it. Each is answered by one line, `{"rows": [...]}` or `{"error": "..."}`.
"""

import base64
import io
import json
import os
import queue
import sys
import threading
from typing import Any

FORBIDDEN = -1e9
"""Added to the logit of an id that is never drawn; not -inf, which becomes NaN where inf meets it.
"""
MOST_FORBIDDEN = 1024
"""How many ids a request may forbid (vLLM 0.33.0, `MAX_NUM_LOGIT_BIAS_TOKENS`)."""


class Engine:
    """A model in vLLM, in this process."""

    def __init__(self, model: dict[str, Any]) -> None:
        """Load it; `model` are arguments of `vllm.LLM`."""
        import vllm

        self._vllm = vllm
        self._model = vllm.LLM(**model)

    def draw(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Draw one response a row.

        Args:
            request: `images` (base64 of PNG files), `rows` (each `prompt`: ids with one pad for the
                image, `image`: its number, `seed`), and for all rows `temperature`, `top_p`,
                `max_tokens`, `stop` (ids that end a response) and `forbidden` (ids never drawn).

        Returns:
            For each row `prompt` (the ids as vLLM expanded them) and `ids` (the response).
        """
        from PIL import Image

        images = [
            Image.open(io.BytesIO(base64.b64decode(png)), formats=("PNG",)).convert("RGB")
            for png in request["images"]
        ]
        prompts = [
            {"prompt_token_ids": row["prompt"], "multi_modal_data": {"image": images[row["image"]]}}
            for row in request["rows"]
        ]
        settings = [self._settings(request, row["seed"]) for row in request["rows"]]
        outputs = self._model.generate(prompts, settings, use_tqdm=False)
        return [
            {"prompt": list(out.prompt_token_ids), "ids": list(out.outputs[0].token_ids)}
            for out in outputs
        ]

    def _settings(self, request: dict[str, Any], seed: int) -> Any:
        """Return the `SamplingParams` of a row; no log-probabilities are asked for."""
        return self._vllm.SamplingParams(
            seed=seed,
            temperature=request["temperature"],
            top_p=request["top_p"],
            max_tokens=request["max_tokens"],
            stop_token_ids=request["stop"],
            ignore_eos=True,  # the tokenizer's own; those of the request are all that count
            logit_bias=dict.fromkeys(request["forbidden"], FORBIDDEN),
            detokenize=False,
        )


def _listen(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)  # whoever asked is gone: nobody waits for what is being drawn


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what vLLM prints must not stand between the answers
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the end below writes out no buffer
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    engine: Engine | None = None
    while True:
        request = requests.get()
        try:
            if engine is None:
                engine, answer = Engine(request["model"]), {"rows": []}
            else:
                answer = {"rows": engine.draw(request)}
        except Exception as error:  # whoever asked decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
