"""Write tests/golden/resnet18.json: one training step and one evaluation of ResNet-18 in PyTorch, float64.

    python tests/golden/make_resnet.py            write the file
    python tests/golden/make_resnet.py --check    compute everything again and compare with the file

Weights, statistics and input follow from hashes of name and index, so both sides compute them; test_resnet.c does it in
the same way. Of each gradient and each new running statistic there are the L2 norm and eight projections on vectors of
±1: the mean square of the projections of a difference is an estimate of its squared norm. "moved" lists the biases, by
index, that are not what the formula says: see settle() in torch_models.py.
"""
import json
import os
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "referee"))
import torch_models

PATH = os.path.join(HERE, "resnet18.json")
MASK = (1 << 64) - 1
BATCH, CLASSES, PROJECTIONS = 4, 10, 8


def hash_text(text):
    """FNV-1a, 64 bits."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def mixed(name, n):
    """n words of the stream of a name: splitmix64 of its hash and the index."""
    with np.errstate(over="ignore"):
        z = (np.arange(n, dtype=np.uint64) + np.uint64(hash_text(name))) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def formula(name, shape, center, width):
    """Uniform in center ± width, rounded to f32."""
    u = (mixed(name, int(np.prod(shape))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (center + width * (2 * u - 1)).astype(np.float32).reshape(shape)


def initial(name, shape):
    if name == "x":
        return formula(name, shape, 0, 2)
    if len(shape) > 1:  # He, Zhang, Ren, Sun 2015
        return formula(name, shape, 0, np.sqrt(6 / np.prod(shape[1:])))
    if name.endswith("running_var") or name.endswith("weight"):
        return formula(name, shape, 1, 0.5)
    return formula(name, shape, 0, 0.1)


def describe(name, tensor):
    v = tensor.detach().double().flatten().numpy()
    bits = mixed("sign of " + name, len(v))
    signs = [1.0 - 2.0 * ((bits >> np.uint64(j)) & np.uint64(1)).astype(np.float64) for j in range(PROJECTIONS)]
    return {"norm": float(np.linalg.norm(v)), "projections": [float(s @ v) for s in signs]}


def compute():
    model = torch_models.make("resnet18", CLASSES).double()
    for name, v in model.state_dict().items():
        if "num_batches" not in name:
            v.copy_(torch.tensor(initial(name, tuple(v.shape))))
    x = torch.tensor(initial("x", (BATCH, 3, 32, 32))).double()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    torch_models.settle(model.train(), x, 2e-5)
    moved = {k: [[int(i), p.flatten()[i].item()] for i in (p != before[k]).flatten().nonzero()]
             for k, p in model.named_parameters()}
    target = torch.tensor([(3 * i + 1) % CLASSES for i in range(BATCH)])
    with torch.no_grad():
        evaluated = model.eval()(x)
    logits = model.train()(x)
    loss = torch.nn.functional.cross_entropy(logits, target)
    loss.backward()
    tensors = {k: describe(k, v) for k, v in (("gradient of " + k, p.grad) for k, p in model.named_parameters())}
    tensors.update({k: describe(k, v) for k, v in model.named_buffers() if "num_batches" not in k})
    return {"made_by": "tests/golden/make_resnet.py", "torch": torch.__version__, "batch": BATCH, "classes": CLASSES,
            "loss": loss.item(), "logits": logits.flatten().tolist(), "evaluated": evaluated.flatten().tolist(),
            "moved": {k: v for k, v in moved.items() if v}, "tensors": tensors}


def flat(v):
    if isinstance(v, dict):
        return [f for k in v if k not in ("made_by", "torch") for f in flat(v[k])]
    return [f for e in v for f in flat(e)] if isinstance(v, list) else [v]


def main():
    now = compute()
    if sys.argv[1:] == ["--check"]:
        with open(PATH) as f:
            a, b = np.array(flat(json.load(f))), np.array(flat(now))
        # sums in another order: float64 leaves some ten digits after twenty layers
        worst = np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-3)) if a.shape == b.shape else np.inf
        print(f"{len(b)} numbers, furthest from {PATH}: {worst:.1e}")
        sys.exit(int(worst > 1e-8))
    with open(PATH, "w") as f:
        text = json.dumps(now, indent=None)
        f.write(text.replace('"gradient of', '\n"gradient of').replace('"moved"', '\n"moved"').replace('"tensors"', '\n"tensors"') + "\n")
    print(f"{PATH}: {os.path.getsize(PATH)} bytes, loss {now['loss']:.4f}")


main()
