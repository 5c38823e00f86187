"""94 % on CIFAR-10: retort's whitened_cnn beside the record recipe in PyTorch, time and test accuracy of each seed.

    scripts/bench fast-cifar10 --data cifar10:DIR [--seeds 3] [--side both|retort|torch] [--epochs N] [--images N] [--json FILE]

The recipe is that of Jordan 2024 (arXiv 2404.00498, github KellerJordan/cifar10-airbench, the variant with Muon), written anew
from its description: whitening of 2×2 patches, three blocks, Muon for the filters and Nesterov's SGD for the rest, 8 epochs of
batch 2,000, label smoothing 0.2, alternating flips and moves by two pixels, six views of a test image. It runs in bf16 autocast,
channels last, the fastest way that PyTorch has on a CPU. Its time is that of whitening, training and the final test, ours that of
the whole process. The two run alternately.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

RETORT = os.path.abspath(os.environ.get("RETORT") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "release", "retort"))
OURS = {"model": "whitened_cnn", "validation": 0, "augment": "crop=2 reflect=true alternate=true", "batch": 2000, "precision": "bf16",
        "optimizer": "muon", "lr": 0.24, "schedule": "linear", "momentum": 0.85, "weight-decay": 3e-6, "label-smoothing": 0.2,
        "tta": "flip+translate",
        "optimizer-options": "normalize=true muon_momentum=0.6 muon_steps=3 muon_first=true decay=all rest=sgd rest_lr=5600 bias_lr=0.079"}
OUR_EPOCHS, THEIR_EPOCHS = 8, 8
BATCH, MUON_LR, BIAS_LR, HEAD_LR, DECAY, SMOOTHING = 2000, 0.24, 0.053, 0.67, 2e-6 * 2000, 0.2
WHITENING_EPOCHS, WHITENING_IMAGES = 3, 5000


def ours(args, seed):
    with tempfile.TemporaryDirectory() as directory:
        flags = [w for k, v in OURS.items() for w in (f"--{k}", str(v))]
        subset = ["--data-options", f"subset={args.images}"] if args.images else []
        command = [RETORT, "train", "--data", args.data, *subset, *flags, "--epochs", str(args.epochs or OUR_EPOCHS), "--seed", str(seed),
                   "--threads", str(args.threads), "--json", "--out", os.path.join(directory, "run")]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
        return {"seconds": seconds, "accuracy": json.loads(done.stdout.splitlines()[-1])["test"]["top1"]}


def theirs(args, seed):
    command = [sys.executable, os.path.abspath(__file__), "--run-torch", "--data", args.data, "--threads", str(args.threads), "--seed", str(seed),
               "--epochs", str(args.epochs or THEIR_EPOCHS), "--images", str(args.images)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


# ---- PyTorch's side ----

def read(torch, numpy, args, pattern):
    files = sorted(glob.glob(os.path.join(args.data.partition(":")[2], "**", pattern), recursive=True))
    if not files:
        sys.exit(f"{args.data}: {pattern} of cifar10's binary version isn't there")
    records = torch.from_numpy(numpy.concatenate([numpy.fromfile(f, dtype=numpy.uint8).reshape(-1, 3073) for f in files]))
    return records[:, 1:].reshape(-1, 3, 32, 32).float() / 255, records[:, 0].long()


def network(torch):
    nn = torch.nn

    def norm(channels):
        layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
        layer.weight.requires_grad_(False)
        return layer

    def conv(inputs, outputs):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        nn.init.dirac_(layer.weight.data[:inputs])
        return layer

    layers = [nn.Conv2d(3, 24, 2), nn.GELU()]
    for inputs, outputs in ((24, 64), (64, 256), (256, 256)):
        layers += [conv(inputs, outputs), nn.MaxPool2d(2), norm(outputs), nn.GELU(), conv(outputs, outputs), norm(outputs), nn.GELU()]
    head = nn.Linear(256, 10, bias=False)
    head.weight.data /= head.weight.data.std()
    layers[0].weight.requires_grad_(False)
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), head).to(memory_format=torch.channels_last)


def whiten(torch, layer, images):
    patches = torch.nn.functional.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    layer.weight.data.copy_(torch.cat([filters, -filters]))


def orthogonal(g):
    """Three steps of the quintic iteration that moves singular values near 1; rows are never more than columns here."""
    x = g.flatten(1).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        a = x @ x.T
        x = 3.4445 * x + (2.0315 * a @ a - 4.7750 * a) @ x
    return x.float().view_as(g)


def make_muon(torch):
    class Muon(torch.optim.Optimizer):
        def __init__(self, filters):
            super().__init__(filters, {"lr": MUON_LR, "momentum": 0.6})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.mul_(group["momentum"]).add_(p.grad)
                    p.mul_(len(p) ** 0.5 / p.norm())
                    p.sub_(orthogonal(p.grad + group["momentum"] * m), alpha=group["lr"])
    return Muon


def epoch_of(torch, padded, flips, epoch):
    """Every image moved by up to two pixels, and flipped in one of two epochs."""
    n = len(padded)
    dy, dx = torch.randint(5, (2, n))
    moved = padded.unfold(2, 32, 1).unfold(3, 32, 1)[torch.arange(n), :, dy, dx]
    return torch.where((flips ^ (epoch % 2 == 1)).view(-1, 1, 1, 1), moved.flip(3), moved)


def six_views(torch, model, x):
    def both(v):
        return (model(v) + model(v.flip(3))) / 2
    edge = torch.nn.functional.pad(x, [1] * 4, "reflect")
    return both(x) / 2 + (both(edge[:, :, :32, :32]) + both(edge[:, :, 2:, 2:])) / 4


def run_torch(args):
    import numpy
    import torch
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (images, labels), (test_images, test_labels) = (read(torch, numpy, args, f) for f in ("data_batch_*.bin", "test_batch.bin"))
    if args.images:
        images, labels, test_images, test_labels = (t[:args.images] for t in (images, labels, test_images, test_labels))
    began = time.perf_counter()
    std, mean = torch.std_mean(images, (0, 2, 3), keepdim=True)
    images, test_images = (images - mean) / std, (test_images - mean) / std
    model = network(torch).train()
    whiten(torch, model[0], images[:WHITENING_IMAGES])
    filters = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
    norms = [m.bias for m in model if isinstance(m, torch.nn.BatchNorm2d)]
    rates = [(model[0].bias, BIAS_LR), *((b, BIAS_LR) for b in norms), (model[-1].weight, HEAD_LR)]
    sgd = torch.optim.SGD([{"params": [p], "lr": lr, "weight_decay": DECAY / lr, "first": lr} for p, lr in rates], momentum=0.85,
                          nesterov=True, fused=True)
    muon = make_muon(torch)(filters)
    steps = len(images) // BATCH
    padded, flips = torch.nn.functional.pad(images, [2] * 4, "reflect"), torch.rand(len(images)) < 0.5
    for epoch in range(args.epochs):
        view, order = epoch_of(torch, padded, flips, epoch), torch.randperm(len(images))
        model[0].bias.requires_grad_(epoch < WHITENING_EPOCHS)
        for i in range(steps):
            done = (epoch * steps + i) / (args.epochs * steps)
            for k, group in enumerate(sgd.param_groups):
                group["lr"] = group["first"] * (1 - done if k else max(0, 1 - (epoch * steps + i) / (WHITENING_EPOCHS * steps)))
            muon.param_groups[0]["lr"] = MUON_LR * (1 - done)
            chosen = order[i * BATCH:(i + 1) * BATCH]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(view[chosen].contiguous(memory_format=torch.channels_last)) / 256
                loss = torch.nn.functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=SMOOTHING, reduction="sum")
            sgd.zero_grad(set_to_none=True)
            muon.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()
            muon.step()
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        taken = torch.cat([six_views(torch, model, x.contiguous(memory_format=torch.channels_last)).argmax(1) for x in test_images.split(BATCH)])
    accuracy = (taken == test_labels).double().mean().item()
    print(json.dumps({"seconds": time.perf_counter() - began, "accuracy": accuracy}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="cifar10:DIR with the binary version")
    p.add_argument("--seeds", type=int, default=3, help="runs of each, with seeds from 0 (3)")
    p.add_argument("--side", choices=["both", "retort", "torch"], default="both")
    p.add_argument("--epochs", type=int, default=0, help=f"of both ({OUR_EPOCHS} and {THEIR_EPOCHS})")
    p.add_argument("--images", type=int, default=0, help="so many training images, and test images in PyTorch, instead of all: a trial")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", metavar="FILE", help="write all figures")
    p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    p.add_argument("--run-torch", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.images and args.images < BATCH:
        p.error(f"at least a batch of {BATCH} images")
    if args.run_torch:
        return run_torch(args)
    sides = {"retort": ours, "torch": theirs} if args.side == "both" else {args.side: {"retort": ours, "torch": theirs}[args.side]}
    found = {side: [] for side in sides}
    for seed in range(args.seeds):
        for side, run in sides.items():
            found[side].append(run(args, seed))
            print("seed {}, {}: {:.2f} % in {:.1f} s".format(seed, side, 100 * found[side][-1]["accuracy"], found[side][-1]["seconds"]), flush=True)
    for side, runs in found.items():
        accuracy = [100 * r["accuracy"] for r in runs]
        spread = f" ± {statistics.stdev(accuracy):.2f}" if len(runs) > 1 else ""
        print(f"{side}: {statistics.mean(accuracy):.2f}{spread} %, {statistics.mean(r['seconds'] for r in runs) / 60:.2f} minutes")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(found, f, indent=1)


if __name__ == "__main__":
    sys.exit(main())
