"""A distillation run in fp32 beside the same in PyTorch's float64: the same batches in the same order, teacher, student's first weights.

At learning rate 0.01 the total losses follow each other: within 1e-3 over 20 steps, 1e-2 over 50. PyTorch's own fp32 may be farther away than
that: rounding decides whether a relu is just above zero.
"""
import copy
import ctypes as C
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch_models
from retort_ctypes import RetortError, lib
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss

RETORT = os.environ.get("RETORT", "build/release/retort")
STEPS, BATCH, IMAGES, SHAPE, CLASSES = 50, 32, 400, (3, 16, 16), 10
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


# ---- the batches that a run of ours sees ----

class Batch(C.Structure):
    _fields_ = [("n", C.c_int64), ("channels", C.c_int64), ("height", C.c_int64), ("width", C.c_int64), ("x", C.POINTER(C.c_float)),
                ("label", C.POINTER(C.c_int64)), ("target", C.c_void_p), ("id", C.c_void_p), ("draw", C.c_void_p),
                ("epoch", C.c_int64), ("index", C.c_int64), ("last", C.c_bool)]


def must(status):
    if status:
        raise RetortError(status)


def batches(data, options, steps):
    set_of, loader, b = C.c_void_p(), C.c_void_p(), Batch()
    must(lib.rt_data_open(data.encode(), options.encode(), C.byref(set_of)))
    must(lib.rt_loader_new(set_of, 0, f"batch={BATCH} shuffle=true drop_last=true".encode(), None, C.byref(loader)))
    out = []
    for _ in range(steps):
        must(lib.rt_loader_next(loader, C.byref(b)))
        x = np.ctypeslib.as_array(b.x, (b.n, *SHAPE)).copy()
        out.append((torch.from_numpy(x), torch.from_numpy(np.ctypeslib.as_array(b.label, (b.n,)).copy())))
    lib.rt_loader_free(loader)
    lib.rt_data_free(set_of)
    return out


# ---- PyTorch's side ----

def make_data(path):
    rng = np.random.default_rng(4)
    y = rng.integers(0, CLASSES, IMAGES)
    patterns = rng.normal(size=(CLASSES, *SHAPE))
    np.savez(path, X=(patterns[y] + 1.5 * rng.normal(size=(IMAGES, *SHAPE))).astype(np.float32), y=y)


def train_teacher(data):
    torch.manual_seed(1)
    model = torch_models.make("resnet20", CLASSES)
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for x, y in data[:30]:
        sgd.zero_grad()
        cross_entropy(model(x), y).backward()
        sgd.step()
    model.eval().requires_grad_(False)
    # Logits of a usual size: with those of a half-trained network rounding alone takes PyTorch's own fp32 and fp64 1e-2 apart.
    model.linear.weight *= 0.2
    model.linear.bias *= 0.2
    return model


def features(model, x):
    """Logits, and what layer2 gave."""
    kept = {}
    handle = model.layer2.register_forward_hook(lambda m, i, o: kept.update(layer2=o))
    logits = model(x)
    handle.remove()
    return logits, kept["layer2"]


def total(student, teacher, x, y, hint):
    s, fs = features(student, x)
    with torch.no_grad():
        t, ft = features(teacher, x)
    T = 4
    kd = kl_div(log_softmax(s / T, 1), log_softmax(t / T, 1), log_target=True, reduction="batchmean") * T * T
    return 0.1 * cross_entropy(s, y) + 0.9 * kd + hint * mse_loss(fs, ft)


def theirs(start, teacher, data, hint):
    student = torch_models.make("resnet8", CLASSES).double()
    student.load_state_dict(start)
    student.train()
    teacher = copy.deepcopy(teacher).double()
    data = [(x.double(), y) for x, y in data]
    sgd = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    losses = []
    for x, y in data:
        sgd.zero_grad()
        loss = total(student, teacher, x, y, hint)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return losses


# ---- ours ----

def ours(work, name, epochs, *more, teacher=True, lr="0.01"):
    whom = ["distill", "--teacher", work / "teacher.safetensors", "--init", work / "student.pth"] if teacher else ["distill"]
    done = subprocess.run([RETORT, *whom, "--student", "resnet8", "--data",
                           f"npz:{work / 'data.npz'}", "--data-options", "test=0", "--validation", "0", "--batch", str(BATCH), "--epochs",
                           str(epochs), "--lr", lr, "--schedule", "1", "--weight-decay", "0", "--augment",
                           "none", "--precision", "fp32", "--log-steps", "1", "--json", "--out", work / name, *more],
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"][:STEPS]


def save_teacher(model, work):
    """With metadata: which model it is. Mean and std are left to the data."""
    torch.save(model.state_dict(), work / "plain.pth")
    arrays = {k: v.numpy() for k, v in model.state_dict().items() if "num_batches" not in k}
    header, blob = {"__metadata__": {"model": "resnet20", "options": f"classes={CLASSES}", "input": "x".join(map(str, SHAPE))}}, b""
    for k, v in arrays.items():
        header[k] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [len(blob), len(blob) + v.nbytes]}
        blob += v.tobytes()
    text = json.dumps(header).encode()
    (work / "teacher.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + blob)


# ---- peers that learn from each other ----

def first_weights(work):
    """Those of the student and of its peer, from a run at rate 0."""
    ours(work, "still", 1, "--peer", "resnet14", teacher=False, lr="0")
    blob = (work / "still/checkpoint.safetensors").read_bytes()
    n = int.from_bytes(blob[:8], "little")
    tensors = {}
    for k, v in json.loads(blob[8:8 + n]).items():
        if v.get("dtype") == "F32":
            count = int(np.prod(v["shape"], dtype=int))
            tensors[k] = torch.from_numpy(np.frombuffer(blob, np.float32, count, 8 + n + v["data_offsets"][0]).reshape(v["shape"]).copy())
    return tensors


def mutual(work, data):
    start = first_weights(work)
    nets = []
    for name, prefix in (("resnet8", ""), ("resnet14", "peer1.")):
        net = torch_models.make(name, CLASSES)
        net.load_state_dict({k: start[prefix + k] for k in net.state_dict() if "num_batches" not in k}, strict=False)
        nets.append(net.train())
    sgd = torch.optim.SGD([p for net in nets for p in net.parameters()], lr=0.01, momentum=0.9, nesterov=True)
    losses = []
    for x, y in data[:20]:
        z = [net(x) for net in nets]
        loss = sum(cross_entropy(z[i], y) + kl_div(log_softmax(z[i], 1), log_softmax(z[1 - i].detach(), 1), log_target=True, reduction="batchmean")
                   for i in (0, 1))
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    a, b = np.array(ours(work, "mutual", 2, "--peer", "resnet14", teacher=False)[:20]), np.array(losses)
    apart = np.abs(a - b) / np.abs(b)
    # Two networks that start from nothing and pull at each other lose digits faster than one with a teacher.
    expect(len(a) == 20 and apart[:10].max() < 1e-3, f"peers: 10 steps within {apart[:10].max():.1e} of PyTorch's (1e-3)")
    expect(apart.max() < 1e-2, f"peers: 20 steps within {apart.max():.1e} (1e-2); loss {b[0]:.3f} to {b[-1]:.3f}")


# ---- a teacher that runs elsewhere: the lines of docs/teachers.md ----

def outputs_of_the_page(work):
    page = Path("docs/teachers.md").read_text()
    lines = page.split("```python\n")[1].split("```")[0].replace("said.npz", str(work / "said.npz"))
    with np.load(work / "data.npz") as data:
        images = torch.from_numpy(data["X"])
    model = torch_models.make("resnet8", CLASSES)
    exec(lines, {"model": model, "batches": images.split(100)})
    with np.load(work / "said.npz") as said:
        expect(said["logits"].shape == (len(images), CLASSES) and len(said["ids"]) == len(images), "the page's lines write logits and ids")
    done = subprocess.run([RETORT, "distill", "--teacher-outputs", work / "said.npz", "--student", "resnet8", "--data", f"npz:{work}/data.npz",
                           "--augment", "none", "--loss", "kd", "--loss", "hint:layers=layer2:layer2", "--epochs", "2", "--batch", str(BATCH),
                           "--precision", "fp32", "--out", work / "said", "--json", "--log-steps", "1"], capture_output=True, text=True)
    steps = [line["losses"] for line in map(json.loads, done.stdout.splitlines()) if line["event"] == "step"]
    expect(done.returncode == 0, f"a student learns from them {done.stderr}")
    expect(steps and sum(s["hint"] for s in steps[-5:]) < sum(s["hint"] for s in steps[:5]), "and comes near to them")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        make_data(work / "data.npz")
        data = batches(f"npz:{work / 'data.npz'}", "validation=0 test=0", STEPS)
        teacher = train_teacher(data)
        save_teacher(teacher, work)
        torch.manual_seed(2)
        start = torch_models.make("resnet8", CLASSES).state_dict()
        torch.save(start, work / "student.pth")
        base = "cross_entropy:weight=0.1 kd:weight=0.9,temperature=4"
        for name, steps, hint, losses in (("kd", STEPS, 0, base), ("hint", 20, 0.5, base + " hint:weight=0.5,layers=layer2")):
            epochs = -(-steps // (IMAGES // BATCH))
            a = np.array(ours(work, name, epochs, *(f for term in losses.split() for f in ("--loss", term))))[:steps]
            b = np.array(theirs(start, teacher, data[:steps], hint))
            apart = np.abs(a - b) / np.abs(b)
            expect(len(a) == steps, f"{name}: {steps} steps")
            for n, most in ((20, 1e-3), (steps, 1e-2)):
                found = apart[:n].max()
                expect(found < most, f"{name}: {n} steps within {found:.1e} of PyTorch's float64 ({most:.0e}); loss {b[0]:.3f} to {b[n - 1]:.3f}")
        mutual(work, data)
        outputs_of_the_page(work)
    print(f"{len(failures)} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
