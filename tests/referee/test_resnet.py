"""ResNets with PyTorch's weights, step by step beside PyTorch.

First step: logits, loss, running statistics and every gradient in fp32 against PyTorch in float64, and no further from it
than PyTorch's own fp32 (the worse of its two layouts: they sum in different orders). Twenty SGD steps: the loss. Winograd
kernels round more (tests/unit/winograd.c has their bounds): twice as far is allowed with them. Two hundred steps in bf16: the loss curve against PyTorch's bf16 autocast; the noise is how far bf16 takes PyTorch from its fp32.

    python tests/referee/test_resnet.py [first] [twenty] [bf16]
"""
import os
import sys
import time

import numpy as np
import torch
import torch_models
from retort_ctypes import Graph, Plan, Store
from torch.nn.functional import cross_entropy

FURTHEST = 1e-4  # relative L2 distance of a tensor from float64
WORSE = 2.0      # … and at most this much further than PyTorch's own fp32,
FLOOR = 1e-6     # beyond a few roundings
SGD = {"momentum": 0.9, "weight_decay": 5e-4}
TRAIN = "optimizer=sgd momentum=0.9 weight_decay=0.0005"
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


def make_torch(name, seed=0):
    """Batch norms start away from (1, 0), so that their parameters matter."""
    torch.manual_seed(seed)
    model = torch_models.make(name)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.1)
    return model.train()


def copy_weights(weights, store):
    state = {k: v for k, v in weights.items() if "num_batches" not in k}
    ours = {k for k, (_, _, parameter) in store.info().items()}
    missing = set(state) ^ ours
    if missing:
        sys.exit(f"the store and PyTorch's state dict differ in {sorted(missing)[:10]}")
    for k, v in state.items():
        store.set(k, v.detach().float().numpy())


def loss_graph(name, x_shape):
    store = Store()
    g = Graph(store)
    x = g.input("x", "f32", x_shape)
    target = g.input("target", "s64", x_shape[:1])
    logits = g.model(name, x, "classes=10 stem=cifar")
    g.mark_output("logits", logits)
    g.mark_output("loss", g.cross_entropy(logits, target))
    return store, g


def training_plan(name, x_shape, model, bf16=False, kernels="auto"):
    store, g = loss_graph(name, x_shape)
    g.fuse()
    if bf16:
        g.cast("bf16")
    g.train("loss", TRAIN)
    g.layout()
    g.prune()
    plan = Plan(g, kernels)
    store.init(1)
    weights = {k for k, v in store.info().items() if k in model.state_dict()}
    for k in weights:
        store.set(k, model.state_dict()[k].detach().float().numpy())
    return plan


def distance(a, b):
    return float(np.linalg.norm(np.asarray(a, np.float64) - b) / max(np.linalg.norm(b), 1e-300))


def torch_step(model, x, target):
    logits = model(x)
    loss = cross_entropy(logits, target)
    loss.backward()
    values = {"logits": logits, "loss": loss}
    values.update({"gradient of " + k: p.grad for k, p in model.named_parameters()})
    values.update({k: v for k, v in model.named_buffers() if "num_batches" not in k})
    return {k: v.detach().double().numpy() for k, v in values.items()}


def referee_step(name, x, target):
    """Weights, and the first step in float64 and in fp32, channels first and last."""
    exact = make_torch(name).double()
    torch_models.settle(exact, torch.tensor(x).double())
    weights = {k: v.clone() for k, v in exact.state_dict().items()}
    theirs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        peer = make_torch(name)
        peer.load_state_dict(weights)
        theirs.append(torch_step(peer.to(memory_format=layout), torch.tensor(x).to(memory_format=layout), torch.tensor(target)))
    return weights, torch_step(exact, torch.tensor(x).double(), torch.tensor(target)), theirs


def our_step(name, x, target, weights, fuse, layout, kernels):
    store, g = loss_graph(name, x.shape)
    if fuse:
        g.fuse()
    info = store.info()
    names = [k for k, (_, _, parameter) in info.items() if parameter]
    for k, v in zip(names, g.gradients(g.find("loss"), [g.parameter(k, info[k][1]) for k in names])):
        g.mark_output("gradient of " + k, v)
    if layout:
        g.layout()
    g.prune()
    plan = Plan(g, kernels)
    copy_weights(weights, store)
    ours = plan.run(["logits", "loss"] + ["gradient of " + k for k in names], x=x, target=target)
    ours.update({k: store.get(k) for k, (_, _, parameter) in info.items() if not parameter})
    return ours


def first_step(name, batch, forms):
    rng = np.random.default_rng(1)
    x, target = rng.standard_normal((batch, 3, 32, 32), np.float32), rng.integers(0, 10, batch)
    weights, referee, theirs = referee_step(name, x, target)
    for fuse, layout, kernels in forms:
        print(f"{name}: first step, batch {batch}, {kernels} kernels{', fused' if fuse else ''}{', channels last' if layout else ''}")
        ours = our_step(name, x, target, weights, fuse, layout, kernels)
        expect(set(ours) == set(referee), f"{len(referee)} tensors, the same on both sides")
        d = {k: (distance(ours[k], v), max(distance(t[k], v) for t in theirs)) for k, v in referee.items()}
        furthest = max(d, key=lambda k: d[k][0])
        expect(d[furthest][0] <= (FURTHEST if kernels == "direct" else 2 * FURTHEST),
               f"furthest from float64: {furthest}, {d[furthest][0]:.2e} (PyTorch fp32 {d[furthest][1]:.2e})")
        worst = max(d, key=lambda k: d[k][0] / (WORSE * d[k][1] + FLOOR))
        expect(d[worst][0] <= WORSE * d[worst][1] + FLOOR,
               f"worst beside PyTorch's fp32: {worst}, {d[worst][0]:.2e} and {d[worst][1]:.2e}")
        ratio = np.median([a / b for a, b in d.values() if b])
        print(f"          logits {d['logits'][0]:.2e} (PyTorch fp32 {d['logits'][1]:.2e}), loss {d['loss'][0]:.2e} "
              f"({d['loss'][1]:.2e}); median ratio of distances {ratio:.2f}")


def torch_losses(model, batches, lr, bf16=False):
    sgd = torch.optim.SGD(model.parameters(), lr=lr, **SGD)
    dtype, losses = next(model.parameters()).dtype, []
    for x, target in batches:
        sgd.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = cross_entropy(model(torch.tensor(x).to(dtype, memory_format=torch.channels_last)), torch.tensor(target))
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return np.array(losses)


def our_losses(plan, batches, lr):
    lr = np.float32(lr)
    return np.array([float(plan.run(["loss"], x=x, target=target, lr=lr)["loss"]) for x, target in batches])


def calm(name):
    """Residual branches start at 0, as torchvision's zero_init_residual has it (Goyal et al. 2017). From PyTorch's default
    start, twenty steps of its own fp32 end 0.1 away from its float64: nothing could be said of an error."""
    torch.manual_seed(0)
    model = torch_models.make(name)
    for block in model.modules():
        if isinstance(block, (torch_models.BasicBlock, torch_models.Bottleneck)):
            torch.nn.init.zeros_((block.bn3 if isinstance(block, torch_models.Bottleneck) else block.bn2).weight)
    return model.train()


def twenty_steps(name, batch, size, furthest=1e-3):
    print(f"{name}: 20 steps of SGD, fp32, batch {batch}, 3x{size}x{size}")
    x, labels = learnable(20 * batch, size, np.random.default_rng(2))
    batches = list(zip(x.reshape(20, batch, 3, size, size), labels.reshape(20, batch)))
    theirs = torch_losses(calm(name), batches, 0.01)
    print(f"          loss {theirs[0]:.4f} → {theirs[-1]:.4f}")
    for kernels in ("direct", "auto"):
        ours = our_losses(training_plan(name, batches[0][0].shape, calm(name), kernels=kernels), batches, 0.01)
        far = np.abs(ours / theirs - 1)
        expect(far.max() <= furthest, f"{kernels} kernels: furthest from PyTorch's {far.max():.2e}, at step {far.argmax()}")


def learnable(n, size, rng):
    """Ten smooth patterns under noise; one label in ten is wrong, so that the loss stays well above 0."""
    waves = rng.standard_normal((10, 3, 3, 3))
    grid = np.arange(size) / size * 2 * np.pi
    basis = np.stack([np.ones(size), np.sin(grid), np.cos(grid)])
    patterns = np.einsum("kcij,ih,jw->kchw", waves, basis, basis)
    labels = rng.integers(0, 10, n)
    x = 0.5 * patterns[labels] + rng.standard_normal((n, 3, size, size))
    wrong = rng.random(n) < 0.1
    labels[wrong] = rng.integers(0, 10, wrong.sum())
    return x.astype(np.float32), labels


def bf16_curve(name="resnet18", steps=200, batch=32, size=16, lr=0.02):
    print(f"{name}: {steps} steps in bf16, batch {batch}, 3x{size}x{size}")
    x, labels = learnable(2048, size, np.random.default_rng(3))

    def batches():
        rng, left = np.random.default_rng(4), []
        for _ in range(steps):
            if not left:
                left = list(rng.permutation(len(x)).reshape(-1, batch))
            take = left.pop()
            yield x[take], labels[take]

    def torch_run(bf16):
        return torch_losses(calm(name).to(memory_format=torch.channels_last), batches(), lr, bf16)

    def windows(losses):
        return losses.reshape(-1, 20).mean(1)

    began = time.perf_counter()
    plan = training_plan(name, (batch, 3, size, size), calm(name), bf16=True)
    ours = windows(our_losses(plan, batches(), lr))
    spent = time.perf_counter() - began
    theirs, fp32 = windows(torch_run(True)), windows(torch_run(False))
    noise, far = np.abs(theirs - fp32), np.abs(ours - theirs)
    for label, row in (("ours", ours), ("PyTorch", theirs), ("its fp32", fp32), ("noise", noise), ("distance", far)):
        print(f"          {label:8}", " ".join(f"{v:.4f}" for v in row))
    print(f"          {spent:.0f} s; PyTorch {time.perf_counter() - began - spent:.0f} s")
    expect(far.mean() <= 2 * noise.mean() + 0.005, f"mean distance of 20-step means {far.mean():.4f}, PyTorch's noise {noise.mean():.4f}")
    bias = (ours - theirs).mean()
    expect(abs(bias) <= noise.mean() + 0.005, f"no side is taken: mean difference {bias:+.4f}")
    expect(ours[-1] < 0.6 * ours[0], f"it learns: {ours[0]:.3f} → {ours[-1]:.3f}")


def main():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    parts = sys.argv[1:] or ["first", "twenty"]  # bf16 takes a minute and a half on two quiet cores
    began = time.perf_counter()
    if "first" in parts:
        first_step("resnet18", 4, [(False, False, "direct"), (True, True, "direct"), (True, True, "auto")])
        first_step("resnet50", 4, [(True, True, "direct"), (True, True, "auto")])
    if "twenty" in parts:
        twenty_steps("resnet18", 16, 16)
        # On 16x16 images its last stage sees 2x2 pixels: PyTorch's own fp32 ends 2e-3 from its float64 there.
        twenty_steps("resnet50", 16, 32)
    if "bf16" in parts:
        bf16_curve()
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
