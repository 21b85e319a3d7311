"""Tables leave the store: `datasets` opens the folder offline, with types and decoded images."""

import numpy as np
import pytest
from datasets import Image, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

from storage.dictionary import dictionary
from storage.store import ArtifactStore
from tasks.registry import ORDER, STAGES
from tests.pipelines import rows
from tests.tasks.reopened import exported
from tests.tasks.test_gallery import pixels_of


@pytest.mark.parametrize("stage", ["ingest", "mine", "train"])
def test_datasets_opens_every_table_as_it_stands_in_the_store(finished, tmp_path, stage):
    root, folder = finished[0], tmp_path / "data"
    made = exported(root, folder, stage, format="datasets")
    names = [table.name for table in STAGES[stage].tables]
    filled = [name for name in names if rows(root, stage, name)]
    assert list(made.rows) == names
    assert sorted(get_dataset_config_names(str(folder))) == sorted(filled)
    for name in filled:
        found = load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache"))
        stored = rows(root, stage, name)
        assert len(found) == len(stored) == made.rows[name]
        images = {n for n, feature in found.features.items() if isinstance(feature, Image)}
        assert images == set(STAGES[stage].tables[names.index(name)].image_columns)
        plain = found.remove_columns(list(images)).to_list()
        assert plain == [{k: v for k, v in row.items() if k not in images} for row in stored]
        for image in images:
            for shown, row in zip(found[image], stored, strict=True):
                assert (shown is None) == (row[image] is None)
                if shown is not None:
                    assert (np.asarray(shown) == pixels_of(row[image])).all()


def test_the_main_table_is_the_one_that_is_opened_without_a_name(finished, tmp_path):
    exported(finished[0], tmp_path / "data", "mine")
    found = load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert "negative_id" in found.column_names
    card = DatasetCard.load(tmp_path / "data" / "README.md")
    assert card.data.license is None and card.data.configs[0]["default"] is True
    assert "altered by an attack (PGD)" in card.text


def test_every_stage_can_be_exported_and_its_card_counts_what_was_refused(finished, tmp_path):
    root, _, made = finished
    store = ArtifactStore(root)
    for stage in ORDER:
        folder = tmp_path / stage
        exported(root, folder, stage, format="datasets")
        text = (folder / "README.md").read_text()
        manifest = store.manifest(made[stage].ref)
        for table in manifest.tables:
            assert f"### `{table}`: " in text
            described = dictionary().get(table)
            for name, column in described.columns.items() if described else ():
                assert f"| `{name}` | `" in text and column.meaning.replace("|", "\\|") in text
            for reason, count in manifest.reasons.get(table, {}).items():
                assert f"{count} {reason}" in text
    assert manifest.ref.short in text
