"""Mistakes in negative images without an attack, and in what is made of them (MFPO, AdaViP)."""

from tests.mutation.mutants.mutant import Mutant

_NOISE = "mbpo_core/mining/noise.py"
_REGIONS = "mbpo_core/mining/region_noise.py"
_CROP = "mbpo_core/mining/crop.py"
_CELLS = "mbpo_core/mining/cells.py"
_REMOVAL = "mbpo_core/mining/removal.py"
_ALTERATION = "mbpo_core/mining/alteration.py"
_GIVEN = "mbpo_core/given_responses.py"
_OF_NOISE = ("tests/mbpo_core/mining/test_noise.py",)
_OF_REGIONS = ("tests/mbpo_core/mining/test_region_noise.py",)
_OF_CROP = ("tests/mbpo_core/mining/test_crop.py",)
_OF_CELLS = ("tests/mbpo_core/mining/test_cells.py",)
_OF_REMOVAL = ("tests/mbpo_core/mining/test_removal.py",)
_OF_ALTERATION = ("tests/mbpo_core/mining/test_alteration_miner.py",)
_OF_GIVEN = ("tests/mbpo_core/test_given_responses.py",)

MUTANTS = (
    Mutant(
        "noise-without-the-root",
        "the image is weighted by abar instead of its square root: far too little noise",
        _NOISE,
        "math.sqrt(1 - alpha) * eps",
        "(1 - alpha) * eps",
        _OF_NOISE,
    ),
    Mutant(
        "noise-on-zero-to-one",
        "pixels are taken to [0, 1] instead of [-1, 1]: twice the noise",
        _NOISE,
        "clean = image.cpu().double() / (LEVELS / 2) - 1",
        "clean = image.cpu().double() / LEVELS",
        _OF_NOISE,
    ),
    Mutant(
        "schedule-one-step-late",
        "the schedule counts from 1",
        _NOISE,
        "alpha = alpha_bars()[t].item()",
        "alpha = alpha_bars()[t - 1].item()",
        _OF_NOISE,
    ),
    Mutant(
        "noise-outside-of-the-region",
        "what lies outside of the mask is altered, what lies inside is kept",
        _NOISE,
        "torch.where(mask.to(image.device), altered, image)",
        "torch.where(mask.to(image.device), image, altered)",
        _OF_NOISE,
    ),
    Mutant(
        "uniform-noise-lopsided",
        "the largest positive change never occurs",
        _NOISE,
        "torch.randint(-units, units + 1,",
        "torch.randint(-units, units,",
        _OF_NOISE,
    ),
    Mutant(
        "regions-intersected",
        "noise falls only where all keywords are",
        _REGIONS,
        ".any(dim=0)",
        ".all(dim=0)",
        _OF_REGIONS,
    ),
    Mutant(
        "no-region-no-noise",
        "a response without regions leaves the image as it is",
        _REGIONS,
        "return Altered(diffuse(item.image, self.t, seed), area=1.0, tried=tried)",
        "return Altered(item.image, area=1.0, tried=tried)",
        _OF_REGIONS,
    ),
    Mutant(
        "crop-that-removes",
        "the share is what is cut away, not what is kept",
        _CROP,
        "area = rng.uniform(least, most) * pixels",
        "area = (1 - rng.uniform(least, most)) * pixels",
        _OF_CROP,
    ),
    Mutant(
        "crop-of-the-corner",
        "every crop begins at the left border",
        _CROP,
        "rng.randint(0, width - columns)",
        "0 * rng.randint(0, width - columns)",
        _OF_CROP,
    ),
    Mutant(
        "gradients-of-shared-images-added",
        "two items of one picture get the sum of their gradients",
        _CELLS,
        "leaves = {i: to_unit(items[i].image.to(policy.device)).requires_grad_() for i in asked}",
        "own = {id(items[i].image): to_unit(items[i].image).requires_grad_() for i in asked}\n"
        "    leaves = {i: own[id(items[i].image)] for i in asked}",
        _OF_CELLS,
    ),
    Mutant(
        "superpixels-of-least-gradient",
        "the region is where the phrase does not matter",
        _CELLS,
        "means.sort(descending=True, stable=True)",
        "means.sort(stable=True)",
        _OF_CELLS,
    ),
    Mutant(
        "removal-that-matters-least",
        "the candidate with the highest score becomes the negative",
        _REMOVAL,
        "key=lambda one: one.image_score",
        "key=lambda one: -one.image_score",
        _OF_REMOVAL,
    ),
    Mutant(
        "whole-pictures-removed",
        "a region as large as the picture counts as an object",
        _REMOVAL,
        "_share(region.mask) > self.max_area",
        "_share(region.mask) > 1",
        _OF_REMOVAL,
    ),
    Mutant(
        "figures-of-another-image",
        "the re-read negative is scored as the blank image is",
        _ALTERATION,
        "*(to_unit(image).to(device) for image in reread),\n            *blanks(stored, device),",
        "*blanks(stored, device),\n            *(to_unit(image).to(device) for image in reread),",
        _OF_ALTERATION,
    ),
    Mutant(
        "unchanged-image-kept",
        "an image that equals the clean one becomes a negative",
        _ALTERATION,
        "return replace(made, image=None, reason=UNCHANGED)",
        "return made",
        _OF_ALTERATION,
    ),
    Mutant(
        "given-text-measured-on-the-negative",
        "log-probabilities of a given text under the clean image are those under the negative",
        _GIVEN,
        "to_units(clean, device),",
        "to_units([row.negative for row in rows][::1], device),",
        _OF_GIVEN,
    ),
)
