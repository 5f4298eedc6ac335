"""Writes the small pictures beside this file, and what Pillow and pydicom make of them (`expected.jsonl`, `*.rgb`).

    python make.py PYDICOM_TEST_FILES

Needs Pillow, numpy and pydicom with pylibjpeg[all]. All are drawn here but those that begin with `SC_`: these are pydicom's own test files
(https://github.com/pydicom/pydicom, src/pydicom/data/test_files, MIT licence), copied unchanged.
"""

import io
import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, SecondaryCaptureImageStorage,
)

import reference

HERE = Path(__file__).parent
W, H = 20, 14
Y, X = np.mgrid[0:H, 0:W]
RGB = np.stack([X * 12, Y * 17, 200 - X * 4 - Y * 5], -1).astype(np.uint8)
GREY = (X * 8 + Y * 7).astype(np.uint8)
DEEP = (X * 3000 + Y * 400).astype(np.uint16)


def save(name, picture, **how):
    picture.save(HERE / name, **how)


def turned(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def rgb16(name):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (RGB[y].astype(">u2") * 257).tobytes() for y in range(H))
    head = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")]
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def dicom(name, pixels, photometric, syntax=ExplicitVRLittleEndian, bits=8, stored=None, samples=1, frames=1, **more):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    plain, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    data = FileDataset(name, {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=plain, is_little_endian=little)
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    # A sequence before the pixels, which a reader must pass over.
    item = Dataset()
    item.CodeValue = "x"
    data.AnatomicRegionSequence = [item]
    data["AnatomicRegionSequence"].is_undefined_length = True
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = samples, photometric, H, W
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, stored or bits, (stored or bits) - 1, 0
    if samples > 1:
        data.PlanarConfiguration = 0
    if frames > 1:
        data.NumberOfFrames = frames
    for key, value in more.items():
        setattr(data, key, value)
    data.PixelData = pixels
    if syntax.is_encapsulated:
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
    else:
        data["PixelData"].VR = "OW" if bits > 8 or syntax == ExplicitVRBigEndian else "OB"
    data.save_as(HERE / name, enforce_file_format=True)


def jpeg(pixels, **how):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **how)
    return out.getvalue()


def packbits(plane):
    return b"".join(bytes([0, value]) for value in plane)


def rle(*planes):
    coded = [packbits(plane.tobytes()) for plane in planes]
    starts = [64 + sum(len(c) for c in coded[:i]) for i in range(len(coded))]
    return struct.pack("<16I", len(coded), *starts, *[0] * (15 - len(coded))) + b"".join(coded)


def main(test_files):
    colour, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    save("baseline.jpg", colour, quality=90, subsampling=2)
    save("progressive.jpg", colour, quality=90, progressive=True)
    save("grey.jpg", grey, quality=90)
    save("cmyk.jpg", colour.convert("CMYK"), quality=95)
    for number in (2, 6, 7):
        save(f"turned-{number}.jpg", colour, quality=95, exif=turned(number))
    save("turned-6.webp", colour, lossless=True, exif=turned(6))
    save("lossy.webp", colour, quality=90)
    save("deep.png", Image.fromarray(DEEP))
    rgb16("deep-rgb.png")
    save("bits.png", grey.convert("1"))
    save("palette.png", colour.quantize(16), transparency=0)
    save("alpha.png", Image.merge("RGBA", (*colour.split(), grey)))
    save("plain.bmp", colour)
    save("palette.bmp", colour.quantize(16))
    save("deep.tif", Image.fromarray(DEEP))
    save("turned-8.tif", colour, compression="tiff_lzw", tiffinfo={0x0112: 8})
    save("cmyk.tif", colour.convert("CMYK"), compression="tiff_deflate")

    dicom("grey.dcm", GREY.tobytes(), "MONOCHROME2", ImplicitVRLittleEndian)
    ct = dict(bits=16, stored=12, PixelRepresentation=1, RescaleSlope="2", RescaleIntercept="-1024", WindowCenter=["40", "300"], WindowWidth=["400", "1500"])
    signed = ((X * 40 + Y * 30 - 100).astype(np.int16) & 0x0FFF).astype("<u2")
    dicom("window.dcm", signed.tobytes(), "MONOCHROME2", **ct)
    dicom("white-is-least.dcm", (DEEP // 16).astype("<u2").tobytes(), "MONOCHROME1", bits=16, stored=12)
    dicom("big-endian.dcm", (DEEP // 16).astype(">u2").tobytes(), "MONOCHROME2", ExplicitVRBigEndian, bits=16, stored=12)
    dicom("planar.dcm", np.moveaxis(RGB, -1, 0).tobytes(), "RGB", samples=3, PlanarConfiguration=1)
    ybr = np.asarray(colour.convert("YCbCr"))
    dicom("ybr.dcm", ybr.tobytes(), "YBR_FULL", samples=3)
    half = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]], -1)
    dicom("ybr-422.dcm", half.tobytes(), "YBR_FULL_422", samples=3)
    baseline = dict(syntax=JPEGBaseline8Bit, samples=3)
    dicom("jpeg-ybr.dcm", encapsulate([jpeg(RGB, subsampling=1)]), "YBR_FULL_422", **baseline)
    dicom("jpeg-grey.dcm", encapsulate([jpeg(GREY)]), "MONOCHROME2", JPEGBaseline8Bit)
    three = [np.roll(RGB, 5 * k, 1) for k in range(3)]
    dicom("frames.dcm", b"".join(f.tobytes() for f in three), "RGB", samples=3, frames=3)
    dicom("frames-jpeg.dcm", encapsulate([jpeg(f, subsampling=0) for f in three]), "YBR_FULL", frames=3, **baseline)
    planes = [[np.ascontiguousarray(f[..., c]) for c in range(3)] for f in three]
    dicom("frames-rle.dcm", encapsulate([rle(*p) for p in planes]), "RGB", RLELossless, samples=3, frames=3)
    table = dict.fromkeys(("Red", "Green", "Blue"))
    tables = {}
    for i, c in enumerate(table):
        tables[f"{c}PaletteColorLookupTableDescriptor"] = [200, 10, 16]
        tables[f"{c}PaletteColorLookupTableData"] = ((np.arange(200) * (i + 1) * 80) % 65536).astype("<u2").tobytes()
    dicom("palette.dcm", GREY.tobytes(), "PALETTE COLOR", **tables)
    for name in ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm"):
        shutil.copy(Path(test_files) / name, HERE / name)

    lines = []
    for path in sorted(HERE.iterdir()):
        if path.suffix not in (".jpg", ".png", ".bmp", ".tif", ".webp", ".dcm"):
            continue
        kind, rgb = ("DICOM", reference.dicom(path)) if path.suffix == ".dcm" else reference.picture(path)
        np.ascontiguousarray(rgb).tofile(HERE / f"{path.name}.rgb")
        lines.append(json.dumps({"file": path.name, "kind": kind, "size": [rgb.shape[1], rgb.shape[0]], "rgb": f"{path.name}.rgb"}))
    (HERE / "expected.jsonl").write_text("\n".join(lines) + "\n")


main(sys.argv[1])
