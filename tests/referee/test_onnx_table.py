"""Every model of the table, with drawn weights and narrow, exported in fp32 and in int8: ONNX Runtime says of it what we say.

    RETORT=build/release/retort RETORT_LIB=build/release/libretort.so python tests/referee/test_onnx_table.py
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from onnx_checks import apart, expect, failures
from retort_ctypes import Graph, Store, lib

RETORT = os.environ.get("RETORT", "build/release/retort")
THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
TOLERANCE, TOLERANCE_INT8 = 1e-4, 0.05  # of the largest logit
SHAPE, IMAGES = (3, 32, 32), 8
DATA = ("--data", "synthetic", "--data-options", f"shape={','.join(map(str, SHAPE))} classes=10 images=16 test_images=0 validation=0")
NARROW = {"mlp": "hidden=32", "mobilenet_v2": "width=0.25", "efficientnet_b0": "width=0.25", "resnet8x4": "width=16", "resnet32x4": "width=16",
          "wrn_28_10": "width=2"}  # the others: eight channels where they have the most at first


def table():
    return [lib.rt_model_name(i).decode() for i in range(lib.rt_model_count())]


def draw(model, options, path, seed=0):
    """A file of a model's weights; its batch norms have seen something."""
    store, rng = Store(), np.random.default_rng(seed)
    g = Graph(store)
    g.mark_output("logits", g.model(model, g.input("x", "f32", ("batch", *SHAPE)), options))
    store.init(seed)
    header, blob, at = {"__metadata__": {"model": model, "options": options, "input": "x".join(map(str, SHAPE))}}, [], 0
    for name, (_, shape, _) in store.info().items():
        value = store.get(name)
        if name.endswith("running_mean"):
            value = rng.normal(0, 0.1, shape).astype(np.float32)
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + value.nbytes]}
        blob.append(value.astype("<f4").tobytes())
        at += value.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blob))


def run(*line):
    done = subprocess.run([RETORT, *map(str, line)], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip()


def ours(path, x, work):
    np.save(work / "x.npy", x)
    trouble = run("predict", path, "--npy", work / "x.npy", "--out", work / "y.npy", "--threads", THREADS)
    return np.load(work / "y.npy") if not trouble else expect(False, trouble) or np.full((len(x), 1), np.nan)


def runtime(path, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": x})[0]


def make(model, work):
    """Its two files; what went wrong, or nothing."""
    source, fp32, int8 = work / f"{model}.safetensors", work / f"{model}.onnx", work / f"{model}_int8.onnx"
    draw(model, NARROW.get(model, "width=8"), source)
    return fp32, int8, run("export", source, "-o", fp32) or run("quantize", source, *DATA, "--images", 16, "--batch", 8, "--quiet", "-o", int8)


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        for model in table():
            fp32, int8, trouble = make(model, work)
            if trouble:
                expect(False, f"{model}: {trouble}")
                continue
            x = np.random.default_rng(1).standard_normal((IMAGES, *SHAPE), dtype=np.float32)
            found = [apart(runtime(path, x), ours(path, x, work)) for path in (fp32, int8)]
            expect(found[0] <= TOLERANCE and found[1] <= TOLERANCE_INT8, f"{model}: fp32 {found[0]:.1e}, int8 {found[1]:.1e}")
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
