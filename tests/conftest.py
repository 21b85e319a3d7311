"""What all tests share."""

import json
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:  # before Prefect is imported: a home for each process
    _home = Path(os.environ.get("PREFECT_HOME", ".prefect/tests")).absolute()
    os.environ["PREFECT_HOME"] = str(_home / os.environ["PYTEST_XDIST_WORKER"])
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    os.environ.pop("COLUMNS", None)  # set for the workers; it would fix the width of all consoles

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WORDNET = Path("/usr/share/wordnet")
"""Where Debian's package wordnet-base puts WordNet 3.0."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; it is not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def genuine_tokenizer(shared_data: Path) -> PreTrainedTokenizerBase:
    """The published Qwen2-VL tokenizer."""
    folder = shared_data / "qwen_tokenizer"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"no genuine Qwen2-VL tokenizer in {folder}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        separate = json.loads((folder / "chat_template.json").read_text())
        tokenizer.chat_template = separate["chat_template"]
    return tokenizer


@pytest.fixture(scope="session")
def nltk_data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Tokeniser, tagger and WordNet for NLTK, which follows no link out of its folders."""
    import nltk

    if not (WORDNET / "index.noun").is_file():
        pytest.skip(f"no WordNet at {WORDNET} (apt-get install wordnet-base)")
    folder = tmp_path_factory.mktemp("nltk_data")
    shutil.copytree(WORDNET, folder / "corpora" / "wordnet")
    before = list(nltk.data.path)
    nltk.data.path[:0] = [str(shared_data / "nltk_data"), str(folder)]
    yield folder
    nltk.data.path[:] = before
