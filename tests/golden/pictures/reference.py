"""Decodes pictures as Pillow and pydicom do: a line of JSON for each file named on standard input, its RGB beside it.

    python reference.py OUT < list-of-files

Needs Pillow and numpy; for DICOM pydicom with pylibjpeg[all]. A line is {"file", "kind", "size": [width, height], "rgb": file in OUT} or
{"file", "kind", "error"}. Grey values of DICOM go through pydicom's rescaling and windowing; without a window, more than 8 bits are
stretched between the least and the greatest value, for which there is no function to ask.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

warnings.filterwarnings("ignore")
Image.MAX_IMAGE_PIXELS = 1 << 28
Image.init()
FORMATS = ["JPEG", "PNG", "BMP", "TIFF", "WEBP"]


def picture(path):
    with Image.open(path, formats=FORMATS) as opened:
        kind = opened.format
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I"):
            values = np.asarray(upright).astype(np.float64)
            grey = np.clip(np.round(values / 257), 0, 255).astype(np.uint8)
            return kind, np.stack([grey] * 3, -1)
        if upright.mode == "F":
            raise ValueError("floating point")
        return kind, np.asarray(upright.convert("RGB"))


def dicom(path):
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, pixel_array

    data = pydicom.dcmread(path)
    photometric = data.PhotometricInterpretation
    values = pixel_array(data, index=0)
    if photometric == "PALETTE COLOR":
        if not data.original_encoding[1]:
            # pydicom takes the tables of big-endian files for little-endian ones.
            for name in ("Red", "Green", "Blue"):
                table = data[f"{name}PaletteColorLookupTableData"]
                table.value = np.frombuffer(table.value, "<u2").byteswap().tobytes()
        values = apply_color_lut(values, data)
        return np.asarray(values >> 8 if values.dtype == np.uint16 else values).astype(np.uint8)
    if values.ndim == 3:
        shift = max(data.BitsStored - 8, 0)
        return (values >> shift).astype(np.uint8)
    values = values.astype(np.int64)
    rescaled = apply_modality_lut(values, data)
    bits, signed = data.BitsStored, data.PixelRepresentation == 1
    if "WindowWidth" in data and data.WindowWidth not in (None, ""):
        shown = apply_windowing(rescaled.astype(np.float64) if "RescaleSlope" in data else values, data)
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
        least, most = least * slope + intercept, most * slope + intercept
    elif bits <= 8 and not signed:
        shown, least, most = values, 0, 2**bits - 1
    else:
        shown, least, most = rescaled, rescaled.min(), rescaled.max()
    grey = np.round(255 * (np.asarray(shown, np.float64) - least) / max(most - least, 1e-9)).clip(0, 255).astype(np.uint8)
    grey = 255 - grey if photometric == "MONOCHROME1" else grey
    return np.stack([grey] * 3, -1)


def main(out):
    for number, line in enumerate(sys.stdin):
        path = line.rstrip("\n")
        said = {"file": path}
        try:
            with open(path, "rb") as file:
                is_dicom = file.read(132)[128:] == b"DICM"
            said["kind"], rgb = ("DICOM", dicom(path)) if is_dicom else picture(path)
            said["size"] = [rgb.shape[1], rgb.shape[0]]
            said["rgb"] = f"{number}.rgb"
            np.ascontiguousarray(rgb).tofile(out / said["rgb"])
        except Exception as error:
            said["error"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
