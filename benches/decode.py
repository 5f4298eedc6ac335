"""Pictures below a folder by Pillow, from file to resized pixels, with the fields of `flow bench decode`. usage: decode.py FOLDER [SIDE [shorter] [draft]]

With `shorter` only the shorter side is brought to SIDE, and the ratio stays; with `draft` JPEGs are decoded at a fraction of their size that leaves
twice the wanted one. Best of seven rounds, by CPU time of the process; Pillow works on one thread.
"""
import json
import pathlib
import sys
import time

import PIL
from PIL import Image

side = int(sys.argv[2]) if len(sys.argv) > 2 else 256
shorter, draft = (word in sys.argv[3:] for word in ("shorter", "draft"))
files = sorted(path for path in pathlib.Path(sys.argv[1]).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:100]


def size(picture):
    return tuple(now * side // min(picture.size) for now in picture.size) if shorter else (side, side)


def one_round():
    for path in files:
        picture = Image.open(path)
        wanted = size(picture)
        if draft:
            picture.draft("RGB", tuple(2 * now for now in wanted))
        picture.convert("RGB").resize(wanted, Image.BILINEAR).tobytes()


def spent():
    wall, cpu = time.perf_counter(), time.process_time()
    one_round()
    return time.process_time() - cpu, time.perf_counter() - wall


cpu, wall = min(spent() for _ in range(7))
print(json.dumps({
    "job": "decode", "peer": f"Pillow {PIL.__version__}", "images": len(files),
    "images_per_cpu_second": len(files) / cpu, "wall": wall, "side": side, "shorter": shorter, "draft": draft, "threads": 1,
}))
