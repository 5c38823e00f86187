"""TensorBoard's own reader opens our event files: what tests/unit/test_events.c writes comes out again.

    python tests/referee/test_events.py
"""
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("tensorboard is not installed (scripts/setup --for test): left out")
    sys.exit(77)

WRITER = Path(os.environ.get("RETORT", "build/release/retort")).parent / "tests" / "unit_events"
failed = 0


def expect(good, what):
    global failed
    print("  ok     " if good else "  FAILED ", what, flush=True)
    failed += not good


def main():
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run([WRITER], env={**os.environ, "RETORT_KEEP_EVENTS": directory}, capture_output=True, text=True)
        expect(done.returncode == 0 and len(list(Path(directory).iterdir())) == 2, f"two files: {done.stderr[-300:]}")
        events = EventAccumulator(directory, size_guidance={"scalars": 0, "histograms": 0, "images": 0})
        events.Reload()
        tags = events.Tags()
        expect(tags["scalars"] == ["loss/train"] and tags["images"] == ["samples"] and
               sorted(tags["histograms"]) == ["constant", "fc.weight"], f"tags: {tags}")
        steps = [(e.step, e.value) for e in events.Scalars("loss/train")]
        expect(steps == [(1, 1.0), (2, 0.5), (3, 0.5)], f"scalars; the second file hid step 3 of the first: {steps}")
        # The files are read in order, so what the first one said of step 3 is gone for histograms and images as well.
        directory_of_first = sorted(Path(directory).iterdir())[0]
        events = EventAccumulator(str(directory_of_first), size_guidance={"histograms": 0, "images": 0})
        events.Reload()
        h = events.Histograms("fc.weight")[0].histogram_value
        x = np.linspace(-1, 1, 1000, dtype=np.float32)
        expect((h.min, h.max, h.num) == (-1, 1, 1000) and abs(h.sum - x.sum(dtype=np.float64)) < 1e-3 and
               abs(h.sum_squares - np.square(x, dtype=np.float64).sum()) < 1e-3, f"histogram: {h.min} {h.max} {h.num} {h.sum}")
        counts = np.array(h.bucket)
        expect(counts.sum() == 1000 and len(h.bucket_limit) == len(counts) and np.abs(counts - 1000 / 64).max() <= 1,
               "its buckets")
        image = events.Images("samples")[0]
        expect((image.width, image.height, image.step) == (6, 4, 3), "image: size and step")
        try:
            from PIL import Image
            seen = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
            expect((seen.reshape(-1) == (3 * np.arange(72)) % 256).all(), "image: pixels, by Pillow")
        except ImportError:
            print("  Pillow is not installed: pixels not looked at")
    print(f"{'FAILED' if failed else 'passed'}: event files beside TensorBoard")
    return failed > 0


sys.exit(main())
