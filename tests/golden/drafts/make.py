"""Writes the JPEGs beside this file, and what Pillow's `draft` makes of most of them at a half, a quarter and an eighth (`NAME.BY.rgb`).

    python make.py

Needs Pillow 13 (with libjpeg-turbo) and numpy. All are drawn here.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
W, H = 150, 108
Y, X = np.mgrid[0:H, 0:W]
WAVES = [128 + 100 * np.sin(X / 9 + Y / 31), 128 + 100 * np.sin(Y / 11 - X / 40), 128 + 90 * np.sin((X + Y) / 23)]
NOISE = np.random.default_rng(1).normal(0, 6, (H, W, 1))
RGB = Image.fromarray((np.stack(WAVES, -1) + NOISE).clip(0, 255).astype(np.uint8))

TURNED = Image.Exif()
TURNED[0x0112] = 6

# Those of the last two kinds flow decodes whole.
WHOLE = ("progressive", "cmyk")
PICTURES = {
    "420": (RGB, {"subsampling": "4:2:0"}),
    "422": (RGB, {"subsampling": "4:2:2", "quality": 95}),
    "444": (RGB, {"subsampling": "4:4:4"}),
    "rgb": (RGB, {"keep_rgb": True}),
    "coarse": (RGB, {"quality": 20, "optimize": True}),
    "fine": (RGB, {"quality": 100}),
    "restarts": (RGB, {"subsampling": "4:2:0", "restart_marker_blocks": 3}),
    "turned": (RGB, {"exif": TURNED}),
    "grey": (RGB.convert("L"), {}),
    "progressive": (RGB, {"progressive": True}),
    "cmyk": (RGB.convert("CMYK"), {}),
}

for name, (picture, how) in PICTURES.items():
    path = HERE / f"{name}.jpg"
    picture.save(path, **{"quality": 85, **how})
    for by in () if name in WHOLE else (2, 4, 8):
        drafted = Image.open(path)
        if name == "422":
            # Of its colours libjpeg makes half as many columns as of its brightness, and repeats them. Here all pixels' means, with those
            # beyond the edge, where the file repeats the last.
            drafted = Image.fromarray(np.pad(drafted, ((0, -H % by), (0, -W % by), (0, 0)), mode="edge")).reduce(by)
        else:
            drafted.draft(drafted.mode, (W // by, H // by))
        assert drafted.size == (-(-W // by), -(-H // by))
        (HERE / f"{name}.{by}.rgb").write_bytes(ImageOps.exif_transpose(drafted).convert("RGB").tobytes())
