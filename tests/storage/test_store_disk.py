"""Errors of the disk in words."""

import errno
import os

import pytest

from storage.disk import naming_the_disk, trouble_of
from storage.errors import DiskError, UnknownArtifact


def wrapped(inner, outer):
    try:
        try:
            raise inner
        except type(inner) as error:
            raise outer from error
    except type(outer) as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError('IO Error: Could not write file "x": No space left on device'),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        wrapped(OSError(errno.ENOSPC, "full"), RuntimeError("the checkpoint was not written")),
    ],
)
def test_a_full_disk_is_named_whoever_met_it(tmp_path, error):
    assert f"the disk of {tmp_path} is full" in trouble_of(error, tmp_path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_named(tmp_path, number):
    said = trouble_of(OSError(number, os.strerror(number)), tmp_path / "not-made-yet")
    assert f"{tmp_path}/not-made-yet cannot be written" in said


def test_what_the_disk_has_no_part_in_stays_what_it_is(tmp_path):
    assert trouble_of(ValueError("wrong"), tmp_path) is None
    for error in (ValueError("wrong"), UnknownArtifact("none"), OSError(errno.EIO, "cable")):
        with pytest.raises(type(error)) as caught, naming_the_disk(tmp_path):
            raise error
        assert caught.value is error


def test_the_error_that_reaches_people_is_one_of_the_store(tmp_path):
    with pytest.raises(DiskError, match="is full"), naming_the_disk(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
