"""Mistakes between the file of an image, its stored pixels, patches and rotary positions."""

from tests.mutation.mutants.mutant import Mutant

_FILE = "mbpo_core/models/preprocessing.py"
_FILES = "mbpo_core/data/images.py"
_TESTS = ("tests/mbpo_core/models/test_preprocessing.py",)
_OF_FILES = ("tests/mbpo_core/data/test_images.py",)

MUTANTS = (
    Mutant(
        "blank-is-zero-after-normalisation",
        "the blank image is mean grey (zeros in pixel_values) instead of black",
        _FILE,
        "return torch.zeros_like(image)",
        "grey = torch.tensor((123, 117, 104), dtype=image.dtype)[:, None, None]\n"
        "    return torch.zeros_like(image) + grey",
        _TESTS,
    ),
    Mutant(
        "patch-columns-time-before-channel",
        "columns of a patch are ordered time, channel, y, x",
        _FILE,
        "blocks.unsqueeze(5).expand(-1, -1, -1, -1, -1, t, -1, -1)",
        "blocks.unsqueeze(4).expand(-1, -1, -1, -1, t, -1, -1, -1)",
        _TESTS,
    ),
    Mutant(
        "merge-blocks-ignored",
        "patches are in raster order: four patches of different places become one token",
        _FILE,
        ".permute(1, 4, 2, 5, 0, 3, 6)",
        ".permute(1, 2, 4, 5, 0, 3, 6)",
        _TESTS,
    ),
    Mutant(
        "rescaled-in-float32",
        "grey levels are multiplied by 1/255 in float32: off by a bit from the processor",
        _FILE,
        "(levels.double() * (1 / 255)).float()",
        "levels.float() * (1 / 255)",
        _TESTS,
    ),
    Mutant(
        "mean-of-imagenet",
        "pixels are normalised by ImageNet's mean instead of CLIP's",
        _FILE,
        "(0.48145466, 0.4578275, 0.40821073)",
        "(0.485, 0.456, 0.406)",
        _TESTS,
    ),
    Mutant(
        "std-before-mean",
        "pixels are divided by the standard deviation before the mean is taken away",
        _FILE,
        "normal = (image - mean[:, None, None]) / std[:, None, None]",
        "normal = image / std[:, None, None] - mean[:, None, None]",
        _TESTS,
    ),
    Mutant(
        "unmerged-grid-resized",
        "sides need to be multiples of a patch only: half a token passes",
        _FILE,
        "return self.patch_size * self.merge_size",
        "return self.patch_size",
        _TESTS,
    ),
    Mutant(
        "rotary-positions-continue-from-the-length",
        "text behind the image counts on from the number of its tokens, not from its longer side",
        _FILE,
        "+ start + max(rows, columns)",
        "+ start + count",
        _TESTS,
    ),
    Mutant(
        "rotary-positions-continue-from-the-rows",
        "text behind the image counts on from its rows, whichever side is longer",
        _FILE,
        "max(rows, columns)\n",
        "rows\n",
        _TESTS,
    ),
    Mutant(
        "repeat-for-repeat_interleave-in-rows",
        "rows of the rotary grid cycle like its columns: tokens sit on a diagonal",
        _FILE,
        "torch.arange(rows).repeat_interleave(columns)",
        "torch.arange(rows).repeat(columns)",
        _TESTS,
    ),
    Mutant(
        "rotary-image-starts-at-zero",
        "the image's positions begin at 0 instead of behind the text before it",
        _FILE,
        "image = start + torch.stack(",
        "image = 0 + torch.stack(",
        _TESTS,
    ),
    Mutant(
        "photographs-lie-on-their-side",
        "the EXIF rotation is not applied",
        _FILES,
        "upright = ImageOps.exif_transpose(image)",
        "upright = image",
        _OF_FILES,
    ),
    Mutant(
        "transparency-over-black",
        "drawings with a transparent ground become black on black",
        _FILES,
        "(255, 255, 255, 255)",
        "(0, 0, 0, 255)",
        _OF_FILES,
    ),
    Mutant(
        "sixteen-bit-clipped",
        "16-bit images are clipped at 255, not scaled: nearly all white",
        _FILES,
        "scaled = (values * 255 + _MAX_16_BIT // 2) // _MAX_16_BIT",
        "scaled = values.clip(0, 255)",
        _OF_FILES,
    ),
    Mutant(
        "resized-by-another-filter",
        "pixels are not those that the model's own processor makes of the raw file",
        _FILES,
        "Image.Resampling.BICUBIC",
        "Image.Resampling.BILINEAR",
        _OF_FILES,
    ),
)
