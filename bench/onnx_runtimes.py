"""Networks of ours in other runtimes: what ONNX Runtime and OpenVINO say of them, beside what we say.

    python bench/onnx_runtimes.py --data build/cifar10 --model resnet20=resnet20-12fca82f.th --model resnet18=model.best.pth
    python bench/onnx_runtimes.py --table
    python bench/onnx_runtimes.py --large 500

With --model, trained networks: each is exported in fp32 and in int8 (QDQ, calibrated on 512 training images), and both files run over
the test images of CIFAR-10; the table counts images whose best class isn't ours. A file that says its normalisation keeps it; else it
is the one that published checkpoints use. With --table, every model of the table in fp32 and int8, narrow and untrained: the largest
difference of logits in parts of the largest. With --large, a file of so many megabytes is imported: seconds, and the most memory that was
resident, in parts of the file's size. OpenVINO runs where `scripts/setup --for bench` has put it.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "referee"))
OPENVINO = Path("build/openvino/bin/python")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def runtimes():
    yield "ONNX Runtime", sys.executable, "onnxruntime"
    if OPENVINO.exists():
        yield "OpenVINO", OPENVINO, "openvino"
    else:
        print("OpenVINO is left out: it isn't in build/openvino (scripts/setup --for bench)", file=sys.stderr)


def theirs(python, engine, path, work):
    out = work / "said.npy"
    done = subprocess.run([str(python), str(HERE / "onnx_engine.py"), engine, str(path), str(work / "x.npy"), str(out)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{path}, {engine}: {done.stderr.strip()[-1000:]}")
    return np.load(out)


def test_images(directory, mean, std):
    rows = np.fromfile(Path(directory) / "test_batch.bin", np.uint8).reshape(-1, 3073)
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (mean, std))
    return rows[:, 0].astype(np.int64), (rows[:, 1:].reshape(-1, 3, 32, 32) / np.float32(255) - mean) / std


def normalisation(path):
    """What the file's metadata say; None where they say nothing."""
    import json
    from test_onnx_table import RETORT
    said = json.loads(subprocess.run([RETORT, "inspect", path, "--json"], capture_output=True, text=True).stdout)["metadata"]
    return [tuple(map(float, said[k].split(","))) for k in ("mean", "std")] if "mean" in said else None


def trained(args, work):
    from test_onnx_table import ours, run
    rows = [("network", "", "ours", *(name for name, _, _ in args.runtimes))]
    for text in args.model:
        name, path = text.split("=", 1)
        said = normalisation(path)
        label, x = test_images(args.data, *(said or (MEAN, STD)))
        np.save(work / "x.npy", x)
        told = [] if said else ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
        files = {"fp32": work / f"{name}.onnx", "int8": work / f"{name}_int8.onnx"}
        trouble = run("export", path, *([] if said else ["--model", name]), *told, "-o", files["fp32"])
        if not trouble and not files["int8"].exists():
            trouble = run("quantize", path, *([] if said else ["--network", name]), *told, "--data", f"cifar10:{args.data}", "--quiet", "-o", files["int8"])
        if trouble:
            sys.exit(f"{path}: {trouble}")
        for form, file in files.items():
            mine = ours(file, x, work).argmax(1)
            cells = [name, form, f"{(mine == label).sum()}"]
            for _, python, engine in args.runtimes:
                best = theirs(python, engine, file, work).argmax(1)
                cells.append(f"{(best == label).sum()}, other class {(best != mine).sum()}")
            rows.append(tuple(cells))
            print(" ".join(cells), file=sys.stderr, flush=True)
    return rows


def untrained(args, work):
    from test_onnx_table import IMAGES, SHAPE, apart, make, ours, table
    rows = [("model", "", *(name for name, _, _ in args.runtimes))]
    x = np.random.default_rng(1).standard_normal((IMAGES, *SHAPE), dtype=np.float32)
    np.save(work / "x.npy", x)
    for model in table():
        fp32, int8, trouble = make(model, work)
        if trouble:
            sys.exit(f"{model}: {trouble}")
        for form, file in (("fp32", fp32), ("int8", int8)):
            mine = ours(file, x, work)
            rows.append((model, form, *(f"{apart(theirs(python, engine, file, work), mine):.1e}" for _, python, engine in args.runtimes)))
            print(*rows[-1], file=sys.stderr, flush=True)
    return rows


IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from retort_ctypes import Graph, Store
def most():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, began = most(), time.perf_counter()
store = Store()
graph = Graph(store, sys.argv[2], classifier=True)
print(time.perf_counter() - began, (most() - before) * 1024)
"""


def large(args, work):
    """Matrix products, whose weights are turned over, and convolutions, whose weights are taken as they are."""
    import onnx
    side, rows = 4096, [("weights", "file, MB", "import, s", "memory by size")]
    number, helper = max(1, args.large * 1_000_000 // (4 * side * side)), onnx.helper
    for kind, shape in (("Gemm", (side, side)), ("Conv", (side, side, 1, 1))):
        weight = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        names = ["x", *(f"v{i}" for i in range(number - 1)), "logits"]
        nodes = [helper.make_node(kind, [names[i], f"w{i}"], [names[i + 1]]) for i in range(number)]
        tensors = [onnx.numpy_helper.from_array(weight, f"w{i}") for i in range(number)]
        ports = [helper.make_tensor_value_info(name, 1, ["N", side, *shape[2:]]) for name in ("x", "logits")]
        model = helper.make_model(helper.make_graph(nodes, "large", ports[:1], ports[1:], tensors), opset_imports=[helper.make_opsetid("", 17)])
        path = work / "large.onnx"
        path.write_bytes(model.SerializeToString())
        del model, tensors
        size, told = path.stat().st_size, []
        for _ in range(3):
            done = subprocess.run([sys.executable, "-c", IMPORT, str(HERE.parent / "tests" / "referee"), str(path)], capture_output=True, text=True)
            told.append(tuple(map(float, done.stdout.split())) if done.returncode == 0 else sys.exit(done.stderr))
        rows.append((kind, f"{size / 1e6:.0f}", f"{min(t for t, _ in told):.2f}", f"{max(m for _, m in told) / size:.2f}"))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", action="append", default=[], metavar="NAME=FILE")
    p.add_argument("--data", default="build/cifar10", help="directory of CIFAR-10's binary files")
    p.add_argument("--work", help="a directory in which int8 files are kept, and looked for, in place of a temporary one")
    p.add_argument("--table", action="store_true")
    p.add_argument("--large", type=int, default=0, metavar="MB")
    args = p.parse_args()
    args.runtimes = list(runtimes())
    if not args.model and not args.table and not args.large:
        p.error("what: --model NAME=FILE, --table, or --large MB")
    os.environ.setdefault("RETORT", "build/release/retort")
    for part in [trained] * bool(args.model) + [untrained] * args.table + [large] * bool(args.large):
        with tempfile.TemporaryDirectory() as work:
            rows = part(args, Path(args.work or work))
        lines = ["| " + " | ".join(r) + " |" for r in rows]
        print("\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]))


if __name__ == "__main__":
    main()
