"""Losses beside PyTorch's autograd on the formulas written down again: values and gradients of every row, f64 and f32.

Whatever `retort loss --list` has must have a formula here.
"""
import ctypes as C
import json
import os
import subprocess
import sys

import numpy as np
import torch
from retort_ctypes import Graph, Plan, Store, check, lib
from torch.nn import functional as F

failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


# ---- PyTorch's side: f(problem, store), where store gives what is trained along ----

def kl(p, q):
    return (p.exp() * (p - q)).sum(1).mean()


def soft(x, T):
    return F.log_softmax(x / T, 1)


def kd(p, get, T=4):
    return T * T * F.kl_div(soft(p["s"], T), soft(p["t"], T), reduction="batchmean", log_target=True)


def soft_cross_entropy(p, get, T=4):
    return T * T * F.cross_entropy(p["s"] / T, (p["t"] / T).softmax(1))


def dkd(p, get, T=4, alpha=1, beta=8):
    mask = F.one_hot(p["y"], p["s"].shape[1]).bool()
    def halves(x):
        q = (x / T).softmax(1)
        return torch.stack([q[mask], q[~mask].reshape(len(x), -1).sum(1)], 1).log(), soft(x[~mask].reshape(len(x), -1), T)
    (sb, so), (tb, to) = halves(p["s"]), halves(p["t"])
    return T * T * (alpha * kl(tb, sb) + beta * kl(to, so))


def dist(p, get):
    def pearson(a, b):
        return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1).mean()
    s, t = p["s"].softmax(1), p["t"].softmax(1)
    return (1 - pearson(s, t)) + (1 - pearson(s.T, t.T))


def jsd(p, get, beta=0.3):
    s, t = soft(p["s"], 1), soft(p["t"], 1)
    m = ((1 - beta) * s.exp() + beta * t.exp()).log()
    return beta * kl(t, m) + (1 - beta) * kl(s, m)


def pairs(p):
    """The smaller height and width of both, as the larger one averaged down to it."""
    for s, t in ((p["fs0"], p["ft0"]), (p["fs1"], p["ft1"])):
        size = [min(a, b) for a, b in zip(s.shape[2:], t.shape[2:])]
        yield F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)


def adapted(get, term, name, s, t):
    if s.shape[1] == t.shape[1]:
        return s
    y = F.conv2d(s, get(f"adapter.{term}.{name}.conv.weight"))
    return F.batch_norm(y, None, None, get(f"adapter.{term}.{name}.bn.weight"), get(f"adapter.{term}.{name}.bn.bias"), True)


def hint(p, get):
    return sum(F.mse_loss(adapted(get, "hint", n, s, t), t) for n, (s, t) in zip("ab", pairs(p)))


def attention(p, get):
    q = lambda x: F.normalize(x.square().mean(1).flatten(1))
    return sum((q(s) - q(t)).square().mean() for s, t in pairs(p))


def vectors(p):
    for s, t in ((p["fs0"], p["ft0"]), (p["fs1"], p["ft1"])):
        yield s.flatten(1), t.flatten(1)


def sp(p, get):
    g = lambda v: F.normalize(v @ v.T)
    return sum((g(s) - g(t)).square().sum() / len(s) ** 2 for s, t in vectors(p))


def pkt(p, get):
    def k(v):
        v = F.normalize(v)
        c = (v @ v.T + 1) / 2
        return c / c.sum(1, keepdim=True)
    return sum((k(t) * ((k(t) + 1e-7) / (k(s) + 1e-7)).log()).mean() for s, t in vectors(p))


def nst(p, get):
    n = lambda x: F.normalize(x.flatten(2), dim=2)
    k = lambda a, b: (a @ b.transpose(1, 2)).square().mean()
    return sum(k(n(t), n(t)) + k(n(s), n(s)) - 2 * k(n(s), n(t)) for s, t in pairs(p))


def fsp(p, get):
    def g(a, b):
        return torch.einsum("nchw,ndhw->ncd", a, b) / (a.shape[2] * a.shape[3])
    return (g(p["fs0"], p["fs1"]) - g(p["ft0"], p["ft1"])).square().mean()


def vid(p, get):
    total = 0
    for n, (s, t) in zip("ab", pairs(p)):
        v = F.softplus(get(f"adapter.vid.{n}.rho")).reshape(1, -1, 1, 1) + 1e-5
        total += 0.5 * ((adapted(get, "vid", n, s, t) - t).square() / v + v.log()).mean()
    return total


def mgd(p, get):
    total = 0
    for n, (s, t) in zip("ab", pairs(p)):
        x = F.conv2d(adapted(get, "mgd", n, s, t), get(f"adapter.mgd.{n}.generator.0.weight"), padding=1).relu()
        total += (F.conv2d(x, get(f"adapter.mgd.{n}.generator.2.weight"), padding=1) - t).square().sum() / len(s)
    return total


def crd(p, get, T=0.07, images=20):
    total = 0
    for n, (s, t) in zip("ab", ((p["fs0"], p["ft0"]), (p["fs1"], p["ft1"]))):
        v = [F.normalize(F.linear(x.mean((2, 3)), get(f"adapter.crd.{n}.{side}.weight"), get(f"adapter.crd.{n}.{side}.bias"))) for x, side in ((s, "student"), (t, "teacher"))]
        q = [F.normalize(get(f"adapter.crd.{n}.{side}.queue")) for side in ("student", "teacher")]
        for me, other in ((0, 1), (1, 0)):
            x = torch.cat([(v[0] * v[1]).sum(1, keepdim=True), v[me] @ q[other].T], 1) / T
            P = x.exp() / ((v[me] @ v[other].T / T).exp().mean().detach() * images)
            m = q[other].shape[0] / images
            others = p["y"][:, None] != get("adapter.crd.classes")[None]
            total -= ((P[:, 0] / (P[:, 0] + m + 1e-7)).log().sum() + ((m / (P[:, 1:] + m + 1e-7)).log() * others).sum()) / len(s)
    return total


def deep_supervision(p, get, T=2, alpha=0.3):
    total, z = 0, soft(p["s"].detach(), T)
    for n, x in zip("ab", (p["fs0"], p["fs1"])):
        x = F.conv2d(x, get(f"adapter.deep_supervision.{n}.conv.weight"), padding=1).relu().mean((2, 3))
        h = F.linear(x, get(f"adapter.deep_supervision.{n}.linear.weight"), get(f"adapter.deep_supervision.{n}.linear.bias"))
        total += ((1 - alpha) * F.cross_entropy(h, p["y"]) + alpha * T * T * kl(z, soft(h, T))) / 2
    return total


def rkd_distance(p, get):
    def d(x):
        d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        return d / d[d > 0].mean()
    return sum(F.smooth_l1_loss(d(s), d(t)) for s, t in vectors(p))


def rkd_angle(p, get):
    def a(x):
        e = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
        return e @ e.transpose(1, 2)
    return sum(F.smooth_l1_loss(a(s), a(t)) for s, t in vectors(p))


LOSSES = {
    "cross_entropy": ("label_smoothing=0.1", lambda p, get: F.cross_entropy(p["s"], p["y"], label_smoothing=0.1)),
    "kd": ("temperature=4", kd), "soft_cross_entropy": ("temperature=4", soft_cross_entropy),
    "mse_logits": ("", lambda p, get: F.mse_loss(p["s"], p["t"])), "dkd": ("", dkd), "dist": ("", dist),
    "jsd": ("beta=0.3", jsd), "reverse_kl": ("temperature=2", lambda p, get: kl(soft(p["s"], 2), soft(p["t"], 2))),
    "hint": ("", hint), "attention_transfer": ("", attention), "sp": ("", sp), "pkt": ("", pkt), "nst": ("", nst),
    "fsp": ("", fsp), "vid": ("", vid), "mgd": ("mask=0", mgd), "crd": ("queue=6,width=4,images=20", crd),
    "deep_supervision": ("temperature=2,alpha=0.3,width=6", deep_supervision),
    "rkd_distance": ("", rkd_distance), "rkd_angle": ("", rkd_angle),
}


# ---- our side ----

class Layer(C.Structure):
    _fields_ = [("name", C.c_char_p), ("value", C.c_void_p)]


class Inputs(C.Structure):
    _fields_ = [("student", C.c_void_p), ("teacher", C.c_void_p), ("labels", C.c_void_p), ("student_layer", C.POINTER(Layer)),
                ("teacher_layer", C.POINTER(Layer)), ("student_layers", C.c_int), ("teacher_layers", C.c_int)]


lib.rt_loss.restype = C.c_void_p
lib.rt_loss.argtypes = [C.c_void_p, C.POINTER(C.c_char_p), C.c_int, C.c_char_p, C.POINTER(Inputs)]


def ours(term, arrays, dtype):
    """Value, gradients by name, and the variables that the loss brought along, as they were before."""
    store = Store()
    g = Graph(store)
    kind = "f64" if dtype == np.float64 else "f32"
    v = {k: g.input(k, "s64" if k == "y" else kind, a.shape) for k, a in arrays.items()}
    layers = [(Layer * 2)(Layer(b"a", v[f"f{side}0"]), Layer(b"b", v[f"f{side}1"])) for side in "st"]
    inputs = Inputs(v["s"], v["t"], v["y"], layers[0], layers[1], 2, 2)
    loss = g.built(lib.rt_loss(g.p, (C.c_char_p * 1)(term.encode()), 1, None, C.byref(inputs)))
    g.mark_output("value", loss)
    wrt = [k for k in arrays if k != "y"]
    found = []
    for k, d in zip(wrt, g.gradients(loss, [v[k] for k in wrt])):
        if d:
            g.mark_output("d_" + k, d)
            found.append(k)
    plan = Plan(g, "reference" if dtype == np.float64 else "auto")
    store.init(11)
    for name in store.info():  # what is in crd's queue is of the classes that are in the batch, all but one
        if name.endswith(".classes"):
            store.set(name, np.append(arrays["y"][:-1], -2).astype(dtype))
    variables = {name: store.get(name) for name in store.info()}
    r = plan.run(["value"] + ["d_" + k for k in found], **{k: a if k == "y" else a.astype(dtype) for k, a in arrays.items()})
    return float(r["value"]), {k: r["d_" + k] for k in found}, variables


def compare(name, options, formula, arrays, dtype, tolerance):
    term = name + (":" + options if options else "")
    value, gradients, variables = ours(term, arrays, dtype)
    p = {k: torch.tensor(a, dtype=torch.long if k == "y" else torch.float64, requires_grad=k[:1] == "s" or k[:2] == "fs")
         for k, a in arrays.items()}
    expected = formula(p, lambda n: torch.tensor(variables[n], dtype=torch.float64))
    expected.backward()
    wanted = {k: t.grad.numpy() for k, t in p.items() if t.grad is not None}
    worst = abs(value - expected.item()) / max(abs(expected.item()), 1e-30)
    expect(worst < tolerance, f"{term}, {np.dtype(dtype).name}: {value:.9g}, PyTorch {expected.item():.9g}")
    expect(set(wanted) == set(gradients), f"{term}: gradients of {sorted(gradients)}")
    for k in set(wanted) & set(gradients):
        off = np.linalg.norm(gradients[k] - wanted[k]) / max(np.linalg.norm(wanted[k]), 1e-30)
        expect(off < 10 * tolerance, f"{term}, {np.dtype(dtype).name}: gradient of {k} is {off:.1e} off")


def main():
    torch.manual_seed(5)
    done = subprocess.run([os.environ.get("RETORT", "build/release/retort"), "loss", "--list", "--json"], capture_output=True,
                          text=True, check=True)
    names = [row["name"] for row in json.loads(done.stdout)]
    expect(names == list(LOSSES) or sorted(names) == sorted(LOSSES), f"a formula for each of {len(names)} losses")
    shapes = {"s": (6, 10), "t": (6, 10), "fs0": (6, 5, 4, 4), "fs1": (6, 4, 4, 4), "ft0": (6, 5, 4, 4), "ft1": (6, 4, 4, 4)}
    same = {k: torch.randn(*d, dtype=torch.float64).numpy() * (3 if k in "st" else 1) for k, d in shapes.items()}
    same["y"] = torch.randint(10, (6,)).numpy()
    other = dict(same)
    other["ft0"], other["ft1"] = torch.randn(6, 7, 2, 2).double().numpy(), torch.randn(6, 3, 8, 8).double().numpy()
    for name, (options, formula) in LOSSES.items():
        for arrays in (same, other):
            if arrays is other and name == "fsp":
                continue  # flows can't be adapted
            compare(name, options, formula, arrays, np.float64, 2e-7)
            compare(name, options, formula, arrays, np.float32, 1e-4)
    print(f"{len(failures)} failures")
    sys.exit(bool(failures))


main()
