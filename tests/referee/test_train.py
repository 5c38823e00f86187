"""Training steps and schedules beside PyTorch's: each optimizer with clipping, decay that spares norms, averages.

Eight steps of a small network with batch norm; afterwards every parameter, statistic and average. PyTorch runs in float64,
its own fp32 says how far rounding takes a parameter.
"""
import copy
import sys

import numpy as np
import torch
from retort_ctypes import Graph, Plan, Store, schedule
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

STEPS, BATCH = 8, 16
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


# ---- a network with a tall and a wide hidden filter ----

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12)
        self.conv3, self.bn3 = nn.Conv2d(12, 60, 1, bias=False), nn.BatchNorm2d(60)
        self.fc = nn.Linear(60, 5)

    def forward(self, x):
        for i in (1, 2, 3):
            x = nn.functional.silu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.fc(x.mean((2, 3)))


def network(store):
    """The same in a graph of ours, up to its logits."""
    g = Graph(store)
    x = g.input("x", "f32", ("batch", 3, 8, 8))
    p = {k: v.shape for k, v in Network().state_dict().items()}
    for i, options in ((1, "padding=1"), (2, "padding=1 stride=2"), (3, None)):
        x = g.apply("conv2d", x, g.parameter(f"conv{i}.weight", p[f"conv{i}.weight"]), options=options)
        norm = [g.parameter(k, p[k]) for k in (f"bn{i}.weight", f"bn{i}.bias")]
        means = [g.statistic(k, p[k]) for k in (f"bn{i}.running_mean", f"bn{i}.running_var")]
        x = g.apply("batch_norm_train", x, *norm, *means)
        for k, m in enumerate(means):
            g.apply("assign", m, g.output(x, 3 + k))
        x = g.apply("silu", x)
    x = g.apply("mean", x, options="axes=2,3")
    g.mark_output("logits", g.apply("linear", x, g.parameter("fc.weight", p["fc.weight"]), g.parameter("fc.bias", (5,))))
    return g


def training(model, options):
    store = Store()
    g = network(store)
    g.mark_output("loss", g.cross_entropy(g.find("logits"), g.input("target", "s64", ("batch",))))
    g.fuse()
    g.train("loss", options)
    g.layout()
    g.prune()
    plan = Plan(g)
    store.init(1)
    for k, v in model.state_dict().items():
        if "num_batches" not in k:
            store.set(k, v.numpy())
    return store, plan


# ---- Muon, in plain PyTorch: orthogonalise as the paper's code does, in the precision of the matrix ----

class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum, decay, normalize, steps):
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "normalize": normalize, "steps": steps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g, state = p.grad, self.state[p]
                m = state.setdefault("momentum", torch.zeros_like(g))
                m.lerp_(g, 1 - group["momentum"])
                u = g.lerp(m, group["momentum"]).reshape(len(g), -1)
                x = u.T if u.shape[0] > u.shape[1] else u
                x = x / (x.norm() + 1e-7)
                for _ in range(group["steps"]):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x.T if u.shape[0] > u.shape[1] else x
                if group["normalize"]:
                    p.mul_(len(p) ** 0.5 / (p.norm() + 1e-7))
                else:
                    p.mul_(1 - group["lr"] * group["decay"])
                p.sub_(group["lr"] * max(1, u.shape[0] / u.shape[1]) ** 0.5 * x.view_as(p))


# ---- one case ----

def groups(model, case):
    """Weights, norms and biases, and Muon's parameters."""
    named = list(model.named_parameters())
    hidden = ("conv2.weight", "conv3.weight") + (("conv1.weight",) if case.get("muon_first") else ())
    muon = [p for n, p in named if case["optimizer"] == "muon" and n in hidden]
    rest = [p for _, p in named if not any(p is m for m in muon)]
    weights = [p for p in rest if p.ndim > 1]
    spared = [p for p in rest if p.ndim <= 1]
    bias_lr = case.get("bias_lr", 1)
    spared_decay = case["decay"] / bias_lr if case.get("decay_all") else 0
    return [{"params": weights, "weight_decay": case["decay"], "scale": 1},
            {"params": spared, "weight_decay": spared_decay, "scale": bias_lr}], muon


def theirs(start, batches, lrs, case, dtype):
    model = copy.deepcopy(start).to(dtype).train()
    rest, muon = groups(model, case)
    optimizers = []
    if case["optimizer"] == "muon":
        optimizers = [Muon(muon, 0.1, 0.8, case["decay"], case.get("normalize", False), case.get("muon_steps", 5))]
    kind = case.get("rest", case["optimizer"])
    scale = case.get("rest_lr", 1)
    if kind == "adamw":
        optimizers.append(torch.optim.AdamW(rest, 0.1, betas=(0.8, 0.95), eps=1e-6))
    else:
        optimizers.append(torch.optim.SGD(rest, 0.1, momentum=0.7, nesterov=case.get("nesterov", False)))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.6), use_buffers=True)
    norms = []
    for (x, target), lr in zip(batches, lrs):
        for o in optimizers:
            o.zero_grad()
            for group in o.param_groups:
                group["lr"] = float(lr) if isinstance(o, Muon) else float(lr) * scale * group["scale"]
        cross_entropy(model(torch.tensor(x).to(dtype)), torch.tensor(target)).backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), case.get("clip", float("inf"))).item())
        for o in optimizers:
            o.step()
        average.update_parameters(model)
    end = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    end |= {k.removeprefix("module.") + ".ema": v for k, v in average.state_dict().items()
            if "num_batches" not in k and k != "n_averaged"}
    return {k: v.double().numpy() for k, v in end.items()}, norms


def compare(name, options, **case):
    print(name)
    torch.manual_seed(3)
    start, rng = Network(), np.random.default_rng(4)
    batches = [(rng.standard_normal((BATCH, 3, 8, 8), np.float32), rng.integers(0, 5, BATCH)) for _ in range(STEPS)]
    lrs = np.float32(0.05) * np.arange(STEPS, 0, -1, np.float32) / STEPS
    (exact, norms), (single, _) = (theirs(start, batches, lrs, case, t) for t in (torch.float64, torch.float32))
    store, plan = training(start, options)
    norms_off = 0.0
    for (x, target), lr, norm in zip(batches, lrs, norms):
        found = plan.run(["grad_norm", "finite"], x=x, target=target, lr=lr)
        norms_off = max(norms_off, abs(float(found["grad_norm"]) / norm - 1))
        if found["finite"] != 1:
            expect(False, "a step is finite")
    expect(norms_off < 1e-4, f"norms of the gradients {norms_off:.1e}")
    if "clip" in case:
        expect(min(norms) < 2 * case["clip"] and max(norms) > case["clip"], f"norms from {min(norms):.3f} to {max(norms):.3f}")
    way = {k: np.linalg.norm(exact[k] - start.state_dict()[k.removesuffix(".ema")].numpy()) for k in exact}
    off = {k: np.linalg.norm(store.get(k) - exact[k]) / way[k] for k in exact}
    noise = {k: np.linalg.norm(single[k] - exact[k]) / way[k] for k in exact}
    worst = max(off, key=off.get)
    expect(off[worst] < 1e-3 and off[worst] < 5e-5 + 10 * max(noise.values()),
           f"{len(exact)} tensors after {STEPS} steps: {worst} {off[worst]:.1e} of its way off; PyTorch's fp32 {max(noise.values()):.1e}")
    return start, store


def evaluation_over_averages(start, store):
    """An evaluation graph over the store, batch norm folded: its weights and statistics are the averages."""
    model = copy.deepcopy(start).eval()
    state = {k: torch.tensor(store.get(k + ".ema")) for k in model.state_dict() if "num_batches" not in k}
    model.load_state_dict(state, strict=False)
    x = np.random.default_rng(5).standard_normal((4, 3, 8, 8), np.float32)
    g = network(store)
    g.eval()
    g.ema()
    g.fold_batch_norm()
    g.prune()
    found = Plan(g).run(["logits"], x=x)["logits"]
    with torch.no_grad():
        off = np.abs(found - model(torch.tensor(x)).numpy()).max()
    expect(off < 1e-5, f"logits in evaluation with the averages: {off:.1e} from PyTorch's")


# ---- schedules ----

def torch_schedule(make, total):
    o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8, momentum=0.9)
    s, values = make(o), []
    for _ in range(total):
        values.append(o.param_groups[0]["lr"])
        o.step()
        s.step()
    return np.array(values)


def schedules(total=120):
    def warm(o, after, steps, start):
        return lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o, start, 1, steps), after], [steps])

    for text, make in (
        ("constant value=0.8", lambda o: lr_scheduler.ConstantLR(o, 1)),
        ("linear value=0.8 to=0.2", lambda o: lr_scheduler.LinearLR(o, 1, 0.25, total)),
        ("cosine value=0.8 to=0.1", lambda o: lr_scheduler.CosineAnnealingLR(o, total, 0.1)),
        ("step value=0.8 every=25 gamma=0.5", lambda o: lr_scheduler.StepLR(o, 25, 0.5)),
        ("step value=0.8 every=30%", lambda o: lr_scheduler.StepLR(o, 36)),
        ("multistep value=0.8 at=62.5%,75%,87.5%", lambda o: lr_scheduler.MultiStepLR(o, [75, 90, 105])),
        ("one_cycle value=0.8", lambda o: lr_scheduler.OneCycleLR(o, 0.8, total)),
        ("one_cycle value=0.8 rise=0.25 div=10 final_div=100 anneal=linear",
         lambda o: lr_scheduler.OneCycleLR(o, 0.8, total, pct_start=0.25, anneal_strategy="linear", div_factor=10,
                                           final_div_factor=100)),
        ("cosine value=0.8 warmup=10% from=0.2", lambda o: warm(o, lr_scheduler.CosineAnnealingLR(o, total - 12), 12, 0.25)),
        ("linear value=0.8 warmup=7 from=0.08", lambda o: warm(o, lr_scheduler.LinearLR(o, 1, 1e-30, total - 7), 7, 0.1)),
    ):
        off = np.abs(schedule(text, total) - torch_schedule(make, total)).max()
        expect(off < 1e-9, f"{text}: {off:.1e} from PyTorch's")


def main():
    torch.set_num_threads(1)
    base = "decay=weights ema=0.6 check=true "
    compare("sgd", base + "optimizer=sgd momentum=0.7 weight_decay=0.02", optimizer="sgd", decay=0.02)
    compare("sgd, Nesterov, clipped", base + "optimizer=sgd momentum=0.7 nesterov=true weight_decay=0.02 clip=0.55",
            optimizer="sgd", nesterov=True, decay=0.02, clip=0.55)
    compare("adamw, clipped", base + "optimizer=adamw beta1=0.8 beta2=0.95 eps=1e-6 weight_decay=0.1 clip=0.55",
            optimizer="adamw", decay=0.1, clip=0.55)
    compare("muon", base + "optimizer=muon momentum=0.7 muon_momentum=0.8 weight_decay=0.1 rest_lr=0.5 clip=0.55",
            optimizer="muon", rest="sgd", rest_lr=0.5, decay=0.1, clip=0.55)
    start, store = compare("muon, normalized weights, the rest by adamw", base + "optimizer=muon rest=adamw normalize=true "
                           "muon_momentum=0.8 beta1=0.8 beta2=0.95 eps=1e-6 weight_decay=0.1", optimizer="muon", rest="adamw",
                           normalize=True, decay=0.1)
    compare("sgd, biases faster", base.replace("weights", "all") + "optimizer=sgd momentum=0.7 weight_decay=0.02 bias_lr=3",
            optimizer="sgd", decay=0.02, decay_all=True, bias_lr=3)
    compare("adamw, biases slower", base + "optimizer=adamw beta1=0.8 beta2=0.95 eps=1e-6 weight_decay=0.1 bias_lr=0.5",
            optimizer="adamw", decay=0.1, bias_lr=0.5)
    compare("muon, three steps, from the first layer on", base + "optimizer=muon momentum=0.7 muon_momentum=0.8 muon_steps=3 "
            "muon_first=true weight_decay=0.1 rest_lr=0.5", optimizer="muon", rest="sgd", rest_lr=0.5, decay=0.1, muon_steps=3,
            muon_first=True)
    compare("muon, six steps: each with the whole matrix", base + "optimizer=muon momentum=0.7 muon_momentum=0.8 muon_steps=6 "
            "weight_decay=0.1 rest_lr=0.5", optimizer="muon", rest="sgd", rest_lr=0.5, decay=0.1, muon_steps=6)
    print("averages")
    evaluation_over_averages(start, store)
    print("schedules")
    schedules()
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
