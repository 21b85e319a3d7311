"""No code out of data, checkpoints or artifacts is run: no pickle, no `trust_remote_code`."""

import ast
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import transformers.trainer

from mbpo_core.mining.inpainting import LamaInpainter
from mbpo_core.mining.published import open_published
from mbpo_core.mining.tags import LabelTagger
from mbpo_core.models.loading import load_policy
from tasks.models import EMBEDDED

PROJECT = Path(__file__).parents[2]
PACKAGES = ("mbpo_core", "storage", "tasks", "flows", "deployments")
MODULES = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
CALLS = (
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "np.load",
    "numpy.load", "pd.read_pickle", "pandas.read_pickle", "pd.read_hdf", "datasets.load_dataset",
    "load_dataset", "yaml.load", "yaml.unsafe_load", "nltk.data.load", "nltk.download", "eval",
    "exec",
)  # fmt: skip
ALLOWED = {("mbpo_core/mining/inpainting.py", "torch.jit.load")}
"""TorchScript, which its reader opens without Python's pickle; docs/security.md."""


def sources():
    return [file for package in PACKAGES for file in sorted((PROJECT / package).rglob("*.py"))]


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def offences(tree, name):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{each}" for each in names)]
            for each in names:
                if each.partition(".")[0] in MODULES or each in CALLS:
                    yield f"{name}:{node.lineno} imports {each}"
        elif isinstance(node, ast.Call):
            yield from called(node, name)


def called(node, name):
    function = dotted(node.func)
    given = {key.arg: key.value for key in node.keywords}
    if function in CALLS and (name, function) not in ALLOWED:
        yield f"{name}:{node.lineno} calls {function}"
    if "allow_pickle" in given:
        yield f"{name}:{node.lineno} names allow_pickle"
    trust = given.get("trust_remote_code")
    if trust is not None and not (isinstance(trust, ast.Constant) and trust.value is False):
        yield f"{name}:{node.lineno} may trust remote code"
    owner, _, method = function.rpartition(".")
    if method != "from_pretrained":
        return
    if owner.startswith("Auto") and trust is None:
        yield f"{name}:{node.lineno} leaves trust_remote_code open"
    reads_no_weights = any(word in owner for word in ("Tokenizer", "Processor", "Config"))
    safe = given.get("use_safetensors")
    if not reads_no_weights and not (isinstance(safe, ast.Constant) and safe.value is True):
        yield f"{name}:{node.lineno} reads weights that may be pickled"


def test_project_code_has_no_way_to_run_foreign_code():
    found = [
        offence
        for file in sources()
        for offence in offences(
            ast.parse(file.read_text(encoding="utf-8")), str(file.relative_to(PROJECT))
        )
    ]
    assert len(sources()) > 150 and not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "from torch import load",
        "torch.load(file)",
        "np.load(file)",
        "f(file, allow_pickle=True)",
        "AutoModel.from_pretrained(folder, use_safetensors=True)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=wanted)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "Qwen2VL.from_pretrained(folder)",
        "model_class.from_pretrained(folder, use_safetensors=None)",
        "type(self.model).from_pretrained(folder)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_looks_for(code):
    assert list(offences(ast.parse(code), "example"))


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (self.target, "run"))


@pytest.fixture
def mark(tmp_path):
    """What a payload writes; absent where nothing of it was run."""
    target = tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(target)))
    assert target.exists()  # the payload works
    target.unlink()
    return target


def checkpoint(tmp_path, mark):
    """The embedded model with its weights replaced by a pickle that writes the mark."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(EMBEDDED, folder)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Payload(mark)}, folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize(
    "load",
    [
        load_policy,
        LabelTagger.load,
        lambda folder: open_published(str(folder), {"qwen2_vl": transformers.Qwen2VLModel}),
    ],
)
def test_a_checkpoint_with_pickled_weights_is_refused_unread(tmp_path, mark, load):
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors in .*pickled weights"):
        load(checkpoint(tmp_path, mark))
    assert not mark.exists()


def test_weights_that_only_claim_to_be_safetensors_are_not_run(tmp_path, mark):
    folder = checkpoint(tmp_path, mark)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(Exception, match=r"(?i)header"):
        load_policy(str(folder))
    assert not mark.exists()


def test_an_index_that_names_pickled_shards_is_not_followed(tmp_path, mark):
    folder = checkpoint(tmp_path, mark)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(EMBEDDED / "model.safetensors", folder / "unused.safetensors")
    with pytest.raises(FileNotFoundError, match="pickled weights are not loaded"):
        load_policy(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_that_a_checkpoint_brings_is_not_run(tmp_path, mark, file, monkeypatch):
    folder = tmp_path / "with_code"
    shutil.copytree(EMBEDDED, folder)
    (folder / "brought_along.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    settings = json.loads((folder / file).read_text())
    names = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoTokenizer")
    settings["auto_map"] = {name: "brought_along.Thing" for name in names}
    settings["auto_map"]["AutoTokenizer"] = ["brought_along.Thing", "brought_along.Thing"]
    (folder / file).write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked the user"))
    assert load_policy(str(folder)).decode([300])
    assert not mark.exists() and not any("brought_along" in name for name in sys.modules)


def test_a_pickle_in_place_of_torchscript_is_not_run(tmp_path, mark):
    torch.save(Payload(mark), tmp_path / "lama.pt")
    with zipfile.ZipFile(tmp_path / "lama.pt") as archive:
        assert any(name.endswith("data.pkl") for name in archive.namelist())
    with pytest.warns(DeprecationWarning), pytest.raises(RuntimeError):
        LamaInpainter(tmp_path / "lama.pt")
    assert not mark.exists()


def test_the_trainer_reads_its_checkpoints_without_running_them():
    """Optimiser, scheduler and random states are `torch.save`d: read with `weights_only`."""
    tree = ast.parse(Path(transformers.trainer.__file__).read_text(encoding="utf-8"))
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and dotted(n.func) == "torch.load"
    ]
    assert calls
    for call in calls:
        given = {key.arg: key.value for key in call.keywords}
        assert given["weights_only"].value is True, call.lineno


def test_arrow_has_no_types_that_are_pickled():
    assert not hasattr(pa, "PyExtensionType")
