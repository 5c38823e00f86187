"""Decoding and scaling beside Pillow, on more images than tests/golden keeps, and torchvision's cut of the centre.

    python tests/referee/test_images.py
"""
import ctypes as C
import os
import sys
import tempfile

import numpy as np

try:
    from PIL import Image
except ImportError:
    print("Pillow is not installed (scripts/setup --for test): left out")
    sys.exit(77)
from retort_ctypes import lib

lib.rt_error.restype = C.c_char_p
failed = 0


class Pixels(C.Structure):
    _fields_ = [("height", C.c_int64), ("width", C.c_int64), ("channels", C.c_int64), ("pixel", C.POINTER(C.c_uint8))]

    def array(self):
        return np.ctypeslib.as_array(self.pixel, (self.height, self.width, self.channels)).copy()


def call(name, *arguments):
    if getattr(lib, name)(*arguments) != 0:
        raise RuntimeError(lib.rt_error().decode())


def expect(good, what):
    global failed
    print("  ok     " if good else "  FAILED ", what, flush=True)
    failed += not good


def read(path, channels):
    image = Pixels()
    call("rt_image_read", path.encode(), C.c_int64(channels), C.byref(image))
    out = image.array()
    lib.rt_image_release(C.byref(image))
    return out


def resized(pixels, height, width, method):
    image, out = Pixels(), Pixels()
    flat = np.ascontiguousarray(pixels)
    image.height, image.width, image.channels = pixels.shape
    image.pixel = flat.ctypes.data_as(C.POINTER(C.c_uint8))
    call("rt_image_resize", C.byref(image), C.c_int64(height), C.c_int64(width), method.encode(), C.byref(out))
    result = out.array()
    lib.rt_image_release(C.byref(out))
    return result


def furthest(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def photo(rng, height, width):
    """Something between smooth and noise."""
    coarse = Image.fromarray(rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def decoding(rng, directory):
    worst = {"JPEG": 0, "PNG": 0}
    for i in range(60):
        pixels = photo(rng, int(rng.integers(1, 200)), int(rng.integers(1, 200)))
        image = Image.fromarray(pixels)
        mode = ["RGB", "L"][i % 5 == 4]
        for form, options in (("JPEG", {"quality": int(rng.integers(20, 99)), "subsampling": i % 3, "progressive": i % 2 == 1}),
                              ("PNG", {"compress_level": i % 4})):
            path = os.path.join(directory, f"{i}.{form.lower()}")
            image.convert(mode).save(path, form, **options)
            ours = read(path, 3)
            worst[form] = max(worst[form], furthest(ours, np.asarray(Image.open(path).convert("RGB"))))
            grey = read(path, 1)[:, :, 0]
            worst[form] = max(worst[form], furthest(grey, np.asarray(Image.open(path).convert("L"))))
    expect(worst["JPEG"] <= 1, f"60 JPEGs: at most {worst['JPEG']} levels from Pillow")
    expect(worst["PNG"] == 0, f"60 PNGs: at most {worst['PNG']} levels from Pillow")


def scaling(rng):
    methods = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    for method, theirs in methods.items():
        worst = 0
        for _ in range(60):
            pixels = photo(rng, int(rng.integers(2, 300)), int(rng.integers(2, 300)))
            height, width = int(rng.integers(1, 260)), int(rng.integers(1, 260))
            other = np.asarray(Image.fromarray(pixels).resize((width, height), theirs))
            worst = max(worst, furthest(resized(pixels, height, width, method), other))
        expect(worst == 0, f"60 times {method}: at most {worst} levels from Pillow")


def inputs(rng):
    """Resize(shorter), CenterCrop, ToTensor, Normalize in torchvision's order and arithmetic."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    worst = 0.0
    for _ in range(40):
        pixels = photo(rng, int(rng.integers(20, 300)), int(rng.integers(20, 300)))
        h, w = pixels.shape[:2]
        shorter, size = 73, 64
        new = (int(shorter * h / w), shorter) if w < h else (shorter, int(shorter * w / h))
        image = Image.fromarray(pixels).resize((new[1], new[0]), Image.Resampling.BILINEAR)
        top, left = int(round((new[0] - size) / 2.0)), int(round((new[1] - size) / 2.0))
        cut = np.asarray(image)[top : top + size, left : left + size]
        expected = ((cut.astype(np.float32) / np.float32(255) - mean) / deviation).transpose(2, 0, 1)
        flat = np.ascontiguousarray(pixels)
        ours, source = np.empty((3, size, size), np.float32), Pixels(h, w, 3, flat.ctypes.data_as(C.POINTER(C.c_uint8)))
        call("rt_image_input", C.byref(source), C.c_int64(shorter), b"bilinear", mean.ctypes.data_as(C.c_void_p),
             deviation.ctypes.data_as(C.c_void_p), C.c_int64(3), C.c_int64(size), C.c_int64(size),
             ours.ctypes.data_as(C.c_void_p))
        worst = max(worst, float(np.abs(ours - expected).max()))
    expect(worst == 0, f"40 images made inputs: at most {worst} from NumPy's single precision")


rng = np.random.default_rng(1)
with tempfile.TemporaryDirectory() as directory:
    decoding(rng, directory)
scaling(rng)
inputs(rng)
sys.exit(failed > 0)
