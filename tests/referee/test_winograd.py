"""A ResNet-18 trained for 200 steps with Winograd kernels and with direct ones, in fp32 and bf16, on synthetic images and on
CIFAR-10 (where ../shared/data has it): the loss curves are as close as orders of the same data leave them. Unless told otherwise only bf16
on synthetic images, which has the larger error and takes half a minute.

    python tests/referee/test_winograd.py [synthetic] [cifar10] [fp32] [bf16]
"""
import itertools
import lzma
import os
import sys
import time

import numpy as np
from retort_ctypes import Graph, Plan, Store

HERE = os.path.dirname(os.path.abspath(__file__))
CIFAR10 = os.path.join(HERE, "..", "..", "..", "shared", "data", "cifar10", "data_batch_1.bin.xz")
STEPS, BATCH, WINDOW = 200, 16, 20
failures = 0


def synthetic():
    """Ten smooth patterns under noise."""
    rng = np.random.default_rng(3)
    waves = rng.standard_normal((10, 3, 3, 3))
    grid = np.arange(16) / 16 * 2 * np.pi
    basis = np.stack([np.ones(16), np.sin(grid), np.cos(grid)])
    labels = rng.integers(0, 10, 2048)
    x = 0.5 * np.einsum("kcij,ih,jw->kchw", waves, basis, basis)[labels] + rng.standard_normal((2048, 3, 16, 16))
    return x.astype(np.float32), labels


def cifar10():
    with lzma.open(CIFAR10) as f:
        records = np.frombuffer(f.read(4096 * 3073), np.uint8).reshape(-1, 3073)
    x = records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    return (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True), records[:, 0].astype(np.int64)


def curve(data, bf16, kernels, order):
    """Means of the loss over windows of steps; and whether Winograd ran."""
    x, labels = data
    store = Store()
    g = Graph(store)
    logits = g.model("resnet18", g.input("x", "f32", (BATCH, *x.shape[1:])), "classes=10")
    g.mark_output("loss", g.cross_entropy(logits, g.input("target", "s64", (BATCH,))))
    g.fuse()
    if bf16:
        g.cast("bf16")
    g.train("loss", "optimizer=sgd momentum=0.9 weight_decay=0.0005")
    g.layout()
    g.prune()
    plan = Plan(g, kernels)
    store.init(1)
    rng, left, losses = np.random.default_rng(order), [], []
    for _ in range(STEPS):
        if not left:
            left = list(rng.permutation(len(x)).reshape(-1, BATCH))
        take = left.pop()
        losses.append(float(plan.run(["loss"], x=x[take], target=labels[take], lr=np.float32(0.01))["loss"]))
    winograd = any(b"winograd" in step["kernel"] for step in plan.steps())
    return np.array(losses).reshape(-1, WINDOW).mean(1), winograd


def expect(good, what):
    global failures
    print("  ok     " if good else "  FAILED ", what, flush=True)
    failures += not good


def compare(name, data, bf16):
    print(f"{name}, {'bf16' if bf16 else 'fp32'}: {STEPS} steps of batch {BATCH}")
    winograd, used = curve(data, bf16, "auto", 0)
    if not used:
        print("          this CPU runs direct kernels")
        return
    direct, direct_used = curve(data, bf16, "direct", 0)
    orders = [direct] + [curve(data, bf16, "direct", order)[0] for order in (1, 2)]
    noise = np.mean([np.abs(a - b) for a, b in itertools.combinations(orders, 2)], 0)
    far = np.abs(winograd - direct)
    for label, row in (("Winograd", winograd), ("direct", direct), ("order 2", orders[1]), ("order 3", orders[2])):
        print(f"          {label:8}", " ".join(f"{v:.4f}" for v in row))
    expect(not direct_used, "no Winograd kernel where direct ones are asked for")
    expect(far.mean() <= noise.mean(), f"mean distance {far.mean():.4f}, between orders {noise.mean():.4f}")
    expect(abs((winograd - direct).mean()) <= noise.mean(), f"mean difference {(winograd - direct).mean():+.4f}")
    expect(winograd[-1] < 0.9 * winograd[0], f"it learns: {winograd[0]:.3f} → {winograd[-1]:.3f}")


def main():
    parts, began = sys.argv[1:] or ["synthetic", "bf16"], time.perf_counter()
    for bf16 in [name == "bf16" for name in ("fp32", "bf16") if name in parts]:
        if "synthetic" in parts:
            compare("synthetic", synthetic(), bf16)
        if "cifar10" in parts and os.path.exists(CIFAR10):
            compare("CIFAR-10", cifar10(), bf16)
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"{failures} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
