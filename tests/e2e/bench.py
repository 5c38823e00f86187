"""bench of files from outside: networks side by side."""
import json
import random
import sys
import tempfile
from pathlib import Path

from support.command import check, finish, refuses, run
from support.tensors import write_safetensors

SIDE, CLASSES, HIDDEN = 8, 4, 16
DATA = ("--data", "synthetic", "--data-options", f"shape=3,{SIDE},{SIDE} classes={CLASSES} images=40 test_images=60")


def write_mlp(path, hidden, seed):
    draw = random.Random(seed)
    inputs = 3 * SIDE * SIDE
    values = lambda n: [draw.gauss(0, 0.1) for _ in range(n)]
    tensors = {"0.weight": ([hidden, inputs], values(hidden * inputs)), "0.bias": ([hidden], values(hidden)),
               "2.weight": ([CLASSES, hidden], values(CLASSES * hidden)), "2.bias": ([CLASSES], values(CLASSES))}
    write_safetensors(path, tensors, {"model": "mlp", "options": f"hidden={hidden}", "input": f"3x{SIDE}x{SIDE}",
                                      "classes": json.dumps(["ant", "bee", "cat", "dog"]), "mean": "0.5,0.5,0.5",
                                      "std": "0.25,0.25,0.25"})


def main(work):
    small, large = work / "small.safetensors", work / "large.safetensors"
    write_mlp(small, HIDDEN, 1)
    write_mlp(large, 64 * HIDDEN, 2)
    done = run("bench", large, small, "--batch", "1,8", "--seconds", 0.05, "--threads", 1, "--json", *DATA)
    if done.returncode:
        return check(False, f"bench: {done.stderr}")
    said = json.loads(done.stdout)
    first, second = said["files"]
    check(said["threads"] == 1 and [f["file"] for f in said["files"]] == [str(large), str(small)], "bench: files in order")
    for f, path in ((first, large), (second, small)):
        check(f["file_bytes"] == path.stat().st_size and f["weight_bytes"] >= f["file_bytes"] * 0.9, f"bench: sizes of {path.name}")
        check([r["batch"] for r in f["runs"]] == [1, 8], "bench: batches")
        for r in f["runs"]:
            ms = r["latency_ms"]
            check(0 < ms["best"] <= ms["p50"] <= ms["p90"] <= ms["p99"] and r["runs"] >= 5, f"bench: {r}")
            check(abs(r["images_per_second"] - r["batch"] * 1e3 / ms["p50"]) < 1e-6 * r["images_per_second"], "bench: images/s")
            check(r["joules_per_image"] == "not available" or r["joules_per_image"] >= 0, "bench: energy")
    check(first["weight_bytes"] > 10 * second["weight_bytes"], "bench: 64 times as many weights")
    check(all(r["speed_up"] == 1 for r in first["runs"]) and second["runs"][1]["speed_up"] > 1, "bench: speed-up over the first")
    seen = json.loads(run("eval", small, *DATA, "--json").stdout)
    check((second["images"], second["correct"]) == (60, seen["correct"]), "bench --data: as eval says")

    done = run("bench", small, large, "--batch", 2, "--seconds", 0, "--per-layer")
    lines = done.stdout.splitlines()
    check(done.returncode == 0 and len(lines) >= 3 and lines[1].startswith(str(small)) and "1.00x" in lines[1], f"bench: {done.stdout}")
    check("linear" in done.stderr and done.stderr.count("Gflop/s") == 2, f"bench --per-layer: {done.stderr}")

    done = run("bench", "--step", "infer", "--precision", "int8", "--model", "resnet8", "--batch", 2, "--seconds", 0, "--threads", 1,
               "--per-layer", "--json")
    said = json.loads(done.stdout or "{}")
    check(said.get("precision") == "int8" and said["images_per_second"]["median"] > 0, f"bench --precision int8: {done.stdout}")
    check("conv2d_int8" in done.stderr and "linear_int8" in done.stderr, f"bench --precision int8 --per-layer: {done.stderr}")
    refuses(2, "is for --step infer", "bench", "--precision", "int8")
    refuses(2, "an image is CxHxW", "bench", "--step", "infer", "--precision", "int8", "--input", "8x8")

    # Muon's products are part of its step.
    for optimizer, products in (("sgd", False), ("muon muon_steps=2", True)):
        done = run("bench", "--model", "resnet8:width=4", "--optimizer", optimizer, "--batch", 2, "--seconds", 0, "--threads", 1, "--per-layer")
        of_filters = [line for line in done.stderr.splitlines() if "conv" in line and "matmul" in line]
        check(done.returncode == 0 and bool(of_filters) == products, f"bench --optimizer {optimizer}: {done.stderr}")
    refuses(2, "expected one of sgd|adamw|muon", "bench", "--optimizer", "mouon")

    # A step that learns from a teacher of a file, in int8 too.
    int8 = work / "int8.pth"
    done = run("quantize", large, *DATA, "--images", 30, "--out", int8)
    check(done.returncode == 0, f"quantize: {done.stderr}")
    step = ("bench", "--step", "distill", "--model", "mlp", "--input", f"3x{SIDE}x{SIDE}", "--batch", 4, "--seconds", 0)
    for teacher in (large, int8):
        done = run(*step, "--options", f"classes={CLASSES} hidden=8", "--teacher", teacher, "--json")
        check(done.returncode == 0 and json.loads(done.stdout)["teacher"] == str(teacher) and json.loads(done.stdout)["step_ms"]["best"] > 0,
              f"bench --teacher {teacher.name}: {done.stderr}")
    done = run(*step, "--options", f"classes={CLASSES} hidden=8", "--teacher", int8, "--cached", "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["step_ms"]["best"] > 0, f"bench --cached: {done.stderr}")
    refuses(2, "--cached goes with --teacher FILE", *step, "--teacher-model", "mlp", "--cached")
    refuses(2, f"the student has 10 classes and the teacher {CLASSES}", *step, "--teacher", int8)
    refuses(2, "belong together", *step, "--teacher", int8, "--teacher-model", "mlp")

    refuses(2, "--batch 1,: expected", "bench", small, "--batch", "1,")
    refuses(2, "--batch 0: expected", "bench", small, "--batch", "0")
    refuses(2, "--data goes with files", "bench", *DATA[:2])
    refuses(2, "there is no data set", "bench", small, "--data", "cifar11")
    refuses(1, "No such file", "bench", small, work / "none.pth")


with tempfile.TemporaryDirectory() as directory:
    main(Path(directory))
sys.exit(finish())
