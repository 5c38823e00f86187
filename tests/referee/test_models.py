"""Every model of the table with PyTorch's weights beside PyTorch: names, logits in evaluation, gradients of a first step.

Everything is compared with PyTorch in float64. A network of relus has kinks: a gradient jumps where one precision takes an
element for positive and the other for negative.
Published checkpoints (resnet20-*.th, resnet32-*.th, resnet56-*.th) are read from the directory RETORT_CHECKPOINTS.

    python tests/referee/test_models.py [NAME...]
"""
import glob
import os
import sys

import numpy as np
import torch
import torch_models
from retort_ctypes import Graph, Plan, Store, lib
from torch.nn.functional import cross_entropy

CASES = [(n, "", {}) for n in (
    "resnet18", "resnet34", "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4",
    "resnet32x4", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "vgg8", "vgg11", "vgg13", "vgg16", "mobilenet_v2",
    "efficientnet_b0", "whitened_cnn")]
CASES += [(n, "width=0.5 stem=imagenet", {"width": 0.5, "stem": "imagenet"}) for n in ("mobilenet_v2", "efficientnet_b0")]
CASES += [("mobilenet_v2", f"width={w}", {"width": w}) for w in (0.25, 1.4)]
SKIPPED = {"mlp", "resnet50", "resnet101", "resnet152", "wrn_28_10"}  # test_resnet.py; large, of the same code
GRADIENTS = {"resnet20": 32, "resnet8x4": 32, "wrn_16_2": 32, "vgg8": 32, "mobilenet_v2 width=0.25": 16,
             "efficientnet_b0": 32}  # size of the images; MobileNet has so many kinks that only a small one can be told
LOGITS, GRADIENT = 1e-4, 1e-4  # relative L2 distance from float64, of each tensor
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


def distance(a, b):
    return float(np.linalg.norm(np.asarray(a, np.float64) - b) / max(np.linalg.norm(b), 1e-300))


def lively(model, seed):
    """Statistics, norms and classifiers away from where they start, so that all of them matter."""
    rng = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5, generator=rng)
            m.bias.data.normal_(0, 0.1, generator=rng)
            m.running_mean.normal_(0, 0.1, generator=rng)
            m.running_var.uniform_(0.5, 1.5, generator=rng)
    return model


def build(name, options, classes, batch, size):
    store = Store()
    g = Graph(store)
    x = g.input("x", "f32", (batch, 3, size, size))
    g.mark_output("logits", g.model(name, x, f"classes={classes} {options}"))
    return store, g


def load(store, state):
    state = {k.removeprefix("module."): v for k, v in state.items() if "num_batches" not in k}
    info = store.info()
    differ = set(state) ^ set(info)
    shapes = [k for k in info if k in state and tuple(state[k].shape) != info[k][1]]
    expect(not differ and not shapes, f"{len(info)} tensors, the same names and shapes {sorted(differ)[:4]}{shapes[:4]}")
    if not differ and not shapes:
        for k, v in state.items():
            store.set(k, v.detach().float().numpy())
    return not differ and not shapes


def evaluation(name, options, classes, state, model, x):
    store, g = build(name, options, classes, len(x), x.shape[2])
    g.eval()
    g.fold_batch_norm()
    g.fuse()
    g.layout()
    g.prune()
    plan = Plan(g)
    if not load(store, state):
        return
    ours = plan.run(["logits"], x=x)["logits"]
    with torch.no_grad():
        exact = model.double().eval()(torch.tensor(x).double()).numpy()
        model.float()
    d = distance(ours, exact)
    expect(d <= LOGITS, f"logits in evaluation {d:.1e} from float64")


def torch_gradients(model, x, target, dtype):
    model = model.to(dtype).train()
    model.zero_grad()
    cross_entropy(model(torch.tensor(x).to(dtype)), torch.tensor(target)).backward()
    return {k: p.grad.double().numpy().copy() for k, p in model.named_parameters()}


def our_gradients(name, options, state, x, target):
    store, g = build(name, options, 10, len(x), x.shape[2])
    g.mark_output("loss", g.cross_entropy(g.find("logits"), g.input("target", "s64", (len(x),))))
    g.fuse()
    info = store.info()
    names = [k for k, (_, _, parameter) in info.items() if parameter]
    for k, v in zip(names, g.gradients(g.find("loss"), [g.parameter(k, info[k][1]) for k in names])):
        g.mark_output(k, v)
    g.layout()
    g.prune()
    plan = Plan(g)
    for k, v in state.items():
        if "num_batches" not in k:
            store.set(k, v.numpy())
    return plan.run(names, x=x, target=target)


def first_step(name, options, model, size, rng, draws=5):
    """One batch without a jump is enough: a wrong gradient is wrong for every batch."""
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    for draw in range(draws):
        x, target = rng.standard_normal((4, 3, size, size), np.float32), rng.integers(0, 10, 4)
        exact, theirs = (torch_gradients(model, x, target, t) for t in (torch.float64, torch.float32))
        model.load_state_dict(saved)
        ours = our_gradients(name, options, saved, x, target)
        # A bias in front of batch norm has gradient 0, and rounding for it.
        norm = {k: np.linalg.norm(v) for k, v in exact.items()}
        told = [k for k in ours if norm[k] > 1e-4 * max(norm.values())]
        worst = max(told, key=lambda k: distance(ours[k], exact[k]))
        d, t = distance(ours[worst], exact[worst]), distance(theirs[worst], exact[worst])
        if d <= GRADIENT:
            break
    expect(set(ours) == set(exact), f"{len(ours)} gradients")
    expect(d <= GRADIENT, f"batch {draw}: worst of {len(told)} gradients {worst}, {d:.1e} from float64; PyTorch's fp32 {t:.1e}")


def checkpoints():
    directory = os.environ.get("RETORT_CHECKPOINTS")
    if not directory:
        print("published checkpoints: RETORT_CHECKPOINTS isn't set, left out")
        return
    x = np.random.default_rng(9).standard_normal((16, 3, 32, 32), np.float32)
    for name in ("resnet20", "resnet32", "resnet56"):
        found = glob.glob(os.path.join(directory, f"{name}-*.th"))
        print(f"{name}: the published checkpoint")
        expect(len(found) == 1, f"found in {directory}")
        state = torch.load(found[0], map_location="cpu", weights_only=True)["state_dict"]
        model = torch_models.make(name)
        model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
        evaluation(name, "", 10, state, model, x)


def main():
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    table = {lib.rt_model_name(i).decode() for i in range(lib.rt_model_count())}
    expect(table == {c[0] for c in CASES} | SKIPPED, f"all {len(table)} models of the table are known here")
    rng = np.random.default_rng(1)
    for name, options, kind in CASES:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        print(name, options)
        torch.manual_seed(0)
        model = lively(torch_models.make(name, **kind), 1)
        size = 64 if "imagenet" in options else 32
        x = rng.standard_normal((4, 3, size, size), np.float32)
        evaluation(name, options, 10, model.state_dict(), model, x)
        if f"{name} {options}".strip() in GRADIENTS:
            first_step(name, options, model, GRADIENTS[f"{name} {options}".strip()], rng)
    checkpoints()
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
