"""CIFAR as Python pickles, written by Python and NumPy: the same images as in the binary version.

    RETORT=build/release/retort python tests/referee/test_data.py
"""
import os
import pickle
import subprocess
import sys
import tempfile

import numpy as np

RETORT = os.environ.get("RETORT", "build/release/retort")
failed = 0


def expect(good, what):
    global failed
    print("  ok     " if good else "  FAILED ", what, flush=True)
    failed += not good


def sheet(data, path):
    done = subprocess.run([RETORT, "data", "preview", data, "--rows", "4", "--columns", "5", "-o", path],
                          capture_output=True, text=True)
    if done.returncode:
        print(done.stderr)
        return None
    return open(path, "rb").read()


def compare(work, name, stems, inside, classes, hundred):
    rng = np.random.default_rng(3)
    for protocol in (2, 4):
        binary, pickled = (os.path.join(work, f"{name}-{kind}-{protocol}") for kind in ("bin", "py"))
        os.makedirs(binary)
        os.makedirs(os.path.join(pickled, inside))
        for stem in stems:
            pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
            labels = [int(label) for label in rng.integers(0, classes, 20)]
            with open(os.path.join(binary, stem + ".bin"), "wb") as out:
                for row, label in zip(pixels, labels):
                    out.write(bytes([0, label] if hundred else [label]) + row.tobytes())
            key = b"fine_labels" if hundred else b"labels"
            made = {b"batch_label": b"of a test", key: labels, b"data": pixels, b"filenames": [b"x.png"] * 20}
            with open(os.path.join(pickled, inside, stem), "wb") as out:
                pickle.dump(made, out, protocol=protocol)
        one, other = sheet(f"{name}:{binary}", os.path.join(work, "a.png")), sheet(f"{name}:{pickled}", os.path.join(work, "b.png"))
        expect(one is not None and one == other, f"{name}: pickles of protocol {protocol} hold the same images")
    with open(os.path.join(pickled, inside, stems[0]), "wb") as out:
        pickle.dump({b"data": os.system}, out, protocol=2)
    done = subprocess.run([RETORT, "data", "check", f"{name}:{pickled}"], capture_output=True, text=True)
    expect(done.returncode == 2 and "system" in done.stderr, f"{name}: a pickle that names a function is refused by that name")


with tempfile.TemporaryDirectory() as work:
    compare(work, "cifar10", [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], "cifar-10-batches-py", 10, False)
    compare(work, "cifar100", ["train", "test"], "cifar-100-python", 100, True)
sys.exit(failed > 0)
