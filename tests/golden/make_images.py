"""Write tests/golden/images.json: what Pillow makes of small images.

    python tests/golden/make_images.py            write the file
    python tests/golden/make_images.py --check    compute everything again and compare with the file

"files": encoded images and the pixels that Pillow reads from them; "resizes" and "colours": operations on the pixels of
"scene". Bytes are hexadecimal; pixels lie channels last.
"""
import io
import json
import os
import sys

import numpy as np
from PIL import Image, ImageEnhance

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images.json")
HEIGHT, WIDTH = 19, 23


def scene(height=HEIGHT, width=WIDTH):
    """Smooth colour, a hard edge and some noise: what scaling and compression treat differently."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 60, (height, width, 3))
    pixels = np.stack([x * 255 // width, y * 255 // height, (x * 3 + y * 5) % 256], 2) + noise
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 30)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def recorded(name, data):
    image = Image.open(io.BytesIO(data))
    grey = image.mode in ("L", "1", "LA")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return {"name": name, "bytes": data.hex(), "height": image.height, "width": image.width,
            "channels": 1 if grey else 3, "pixels": pixels.tobytes().hex()}


def files():
    colour = Image.fromarray(scene())
    grey, alpha = colour.convert("L"), colour.convert("RGBA")
    alpha.putalpha(grey)
    palette = colour.quantize(13)
    return [
        recorded("jpeg 4:2:0", encoded(colour, "JPEG", quality=85)),
        recorded("jpeg 4:4:4", encoded(colour, "JPEG", quality=92, subsampling=0)),
        recorded("jpeg 4:2:2 progressive", encoded(colour, "JPEG", quality=60, subsampling=1, progressive=True)),
        recorded("jpeg grey", encoded(grey, "JPEG", quality=75)),
        recorded("jpeg of inks", encoded(colour.convert("CMYK"), "JPEG", quality=90)),
        recorded("png", encoded(colour, "PNG")),
        recorded("png grey", encoded(grey, "PNG")),
        recorded("png of two levels", encoded(grey.convert("1"), "PNG")),
        recorded("png with alpha", encoded(alpha, "PNG")),
        recorded("png grey with alpha", encoded(grey.convert("LA"), "PNG")),
        recorded("png of a palette", encoded(palette, "PNG")),
        recorded("png of a transparent palette", encoded(palette, "PNG", transparency=3)),
    ]


def resizes():
    image = Image.fromarray(scene())
    out = []
    for name, method in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        for height, width in ((7, 9), (19, 10), (5, 23), (32, 32), (19, 23), (1, 1), (40, 6), (5, 20), (12, 19)):
            pixels = np.asarray(image.resize((width, height), method))
            out.append({"filter": name, "height": height, "width": width, "pixels": pixels.tobytes().hex()})
    return out


def turn_hue(image, factor):
    """torchvision's adjust_hue on an image of Pillow's."""
    h, s, v = image.convert("HSV").split()
    turned = (np.asarray(h).astype(np.int32) + int(factor * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), s, v)).convert("RGB")


def colours():
    image = Image.fromarray(scene())
    make = [lambda f: ImageEnhance.Brightness(image).enhance(f), lambda f: ImageEnhance.Contrast(image).enhance(f),
            lambda f: ImageEnhance.Color(image).enhance(f), lambda f: turn_hue(image, f)]
    factors = [(0.0, 0.37, 1.0, 1.63)] * 3 + [(-0.5, -0.13, 0.0, 0.29)]
    return [{"what": what, "factor": f, "pixels": np.asarray(make[what](f)).tobytes().hex()}
            for what in range(4) for f in factors[what]]


def main():
    made = {"scene": {"height": HEIGHT, "width": WIDTH, "pixels": scene().tobytes().hex()}, "files": files(),
            "resizes": resizes(), "colours": colours()}
    text = json.dumps(made, indent=0) + "\n"
    if sys.argv[1:] == ["--check"]:
        same = json.load(open(PATH)) == made
        print("as recorded" if same else f"{PATH} holds something else")
        return not same
    with open(PATH, "w") as out:
        out.write(text)


if __name__ == "__main__":
    sys.exit(main())
