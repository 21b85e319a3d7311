"""What a launcher cannot do is said before anything is computed, not after hours of scoring."""

import sys
from pathlib import Path

import pytest

from tasks.launchers import check_launcher, command
from tests.pipelines import run, runtime, small_recipe

SHIPPED = Path(__file__).parents[2] / "deployments" / "accelerate"
NAMES = ("ddp", "fsdp", "deepspeed_zero2")


def launch(config, *, joined=False):
    option = [f"--config_file={config}"] if joined else ["--config_file", str(config)]
    return ("accelerate", "launch", *option, "--num_processes", "2")


def checked(tmp_path, launcher, **changes):
    check_launcher(small_recipe(**changes), runtime(tmp_path, train_launcher=launcher))


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_configurations_are_accelerates_and_leave_the_number_of_ranks_open(
    tmp_path, name
):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(SHIPPED / f"{name}.yaml"))
    assert config.num_processes == -1  # what accelerate refuses to start with
    assert config.mixed_precision == "no"  # the recipe decides
    checked(tmp_path, launch(SHIPPED / f"{name}.yaml"), train__stream_norm_every=0)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("name", "kind"), [("fsdp", "FSDP"), ("deepspeed_zero2", "DEEPSPEED")])
def test_sharded_gradients_have_no_norms_by_stream(tmp_path, name, kind, joined):
    launcher = launch(SHIPPED / f"{name}.yaml", joined=joined)
    with pytest.raises(ValueError, match=f"stream_norm_every must be 0 with {kind}.*got 2.*--set"):
        checked(tmp_path, launcher, train__stream_norm_every=2)


@pytest.mark.parametrize(
    "launcher", [(), ("python", "-m", "torch.distributed.run"), launch(SHIPPED / "ddp.yaml")]
)
def test_whole_gradients_have_them(tmp_path, launcher):
    checked(tmp_path, launcher, train__stream_norm_every=2)


def test_a_run_is_refused_before_its_first_stage(tmp_path):
    how = runtime(tmp_path / "store", train_launcher=launch(SHIPPED / "fsdp.yaml"))
    recipe = small_recipe(train__stream_norm_every=2)
    with pytest.raises(ValueError, match="stream_norm_every must be 0"):
        run(recipe, how)
    assert not list(tmp_path.glob("store/runs/*"))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="program 'acelerate' was not found"):
        checked(tmp_path, ("acelerate", "launch"))
    with pytest.raises(FileNotFoundError, match=r"configuration file .*gone\.yaml does not exist"):
        checked(tmp_path, launch(tmp_path / "gone.yaml"))


def test_a_configuration_that_accelerate_does_not_take_is_refused(tmp_path):
    text = (SHIPPED / "fsdp.yaml").read_text()
    (tmp_path / "typo.yaml").write_text(text + "num_procesess: 8\n")
    with pytest.raises(ValueError, match="num_procesess"):
        checked(tmp_path, launch(tmp_path / "typo.yaml"))
    (tmp_path / "old.yaml").write_text(text.replace("fsdp_version: 2", "fsdp_version: 1"))
    with pytest.raises(ValueError, match="fsdp_version must be 2, got 1"):
        checked(tmp_path, launch(tmp_path / "old.yaml"), train__stream_norm_every=0)


def test_the_program_beside_this_python_comes_first(tmp_path):
    beside = Path(sys.executable).parent
    assert command(("accelerate", "launch", "-x")) == [str(beside / "accelerate"), "launch", "-x"]
    assert Path(command(("sh",))[0]).name == "sh"
    assert command((sys.executable, "-m", "x")) == [sys.executable, "-m", "x"]  # a whole path
