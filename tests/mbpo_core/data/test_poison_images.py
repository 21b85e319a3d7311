"""Every kind of image file is either shown as it should be seen, or refused with its reason."""

import numpy as np
import pytest

from mbpo_core.data.images import ImagePolicy, PreparedImage, decode_png, prepare_image
from mbpo_core.records import Refusal
from tests.poison_images import images

POLICY = ImagePolicy(28, 784, 401_408, max_source_pixels=178_956_970)
IMAGES = images()


@pytest.mark.parametrize("name", [name for name, each in IMAGES.items() if each.reason is None])
def test_what_is_taken_has_the_pixels_that_a_viewer_shows(name):
    poison = IMAGES[name]
    made = prepare_image(poison.data, POLICY)
    assert isinstance(made, PreparedImage), made
    found = decode_png(made.png)
    assert found.shape == poison.shows.shape
    assert np.abs(found.astype(int) - poison.shows.astype(int)).max() <= poison.off_by


@pytest.mark.parametrize("name", [name for name, each in IMAGES.items() if each.reason])
def test_what_is_refused_says_why(name):
    found = prepare_image(IMAGES[name].data, POLICY)
    assert isinstance(found, Refusal) and found.reason is IMAGES[name].reason, found
    assert found == prepare_image(IMAGES[name].data, POLICY)
