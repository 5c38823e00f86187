"""An epoch of retort beside the same epoch of PyTorch, with loading and augmentation; and beside the bare step.

    scripts/bench epoch [--model resnet18] [--data cifar10:DIR] [--images 6400] [--rounds 3] [--json FILE]

Both train on the same images (made-up ones without --data) with random crops of the padded image and random flips, fresh
batches in a new order every epoch, SGD with Nesterov momentum and a learning rate set at every step. The two run
alternately, each in a process of its own; the first epoch of each is the warm-up, what is timed is the mean of the others.
PyTorch augments whole batches by indexing, the fastest way there is on a CPU, in channels_last with autocast and fused SGD.
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

HERE = os.path.dirname(os.path.abspath(__file__))
RETORT = os.path.abspath(os.environ.get("RETORT") or os.path.join(HERE, "..", "build", "release", "retort"))
CROP, MEAN, STD = 4, 0.47, 0.25


def run(command, args):
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


# ---- the two sides ----

def ours(args):
    data = ["--data", args.data] if args.data else ["--data", "synthetic", "--data-options", f"images={args.images} test_images=0"]
    if args.data and args.images:
        data += ["--data-options", f"subset={args.images}"]
    with tempfile.TemporaryDirectory() as directory:
        out = run([RETORT, "train", "--model", args.model, *data, "--validation", "0", "--optimizer", "sgd", "--augment", f"crop={CROP} flip",
                   "--epochs", str(args.epochs), "--batch", str(args.batch), "--precision", args.precision, "--threads",
                   str(args.threads), "--json", "--out", os.path.join(directory, "run")], args)
    events = [json.loads(line) for line in out.splitlines()]
    return statistics.mean([e["images_per_second"] for e in events if e["event"] == "epoch"][1:])


def bare(args):
    out = run([RETORT, "bench", "--step", "train", "--model", args.model, "--batch", str(args.batch), "--precision", args.precision,
               "--threads", str(args.threads), "--seconds", str(args.seconds), "--json"], args)
    return json.loads(out)["images_per_second"]["median"]


def theirs(args):
    here = ["--data", args.data] if args.data else []
    out = run([sys.executable, os.path.abspath(__file__), "--torch", *here, "--model", args.model, "--batch", str(args.batch), "--precision",
               args.precision, "--threads", str(args.threads), "--images", str(args.images), "--epochs", str(args.epochs)], args)
    return statistics.mean(json.loads(out)[1:])


# ---- PyTorch's side ----

def load_images(torch, args):
    if not args.data:
        return (torch.randint(256, (args.images, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (args.images,)))
    import numpy
    files = sorted(glob.glob(os.path.join(args.data.partition(":")[2], "**", "data_batch_*.bin"), recursive=True))
    if not files:
        sys.exit(f"{args.data}: PyTorch's side reads cifar10's binary version, data_batch_1.bin and so on, and there is none")
    records = torch.from_numpy(numpy.concatenate([numpy.fromfile(f, dtype=numpy.uint8).reshape(-1, 3073) for f in files]))
    records = records[:args.images] if args.images else records
    return records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long()


def torch_epochs(args):
    sys.path.insert(0, os.path.join(HERE, "..", "tests", "referee"))
    import torch
    import torch_models
    from torch.nn.functional import cross_entropy, pad

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images, labels = load_images(torch, args)
    windows = pad(images, [CROP] * 4).unfold(2, 32, 1).unfold(3, 32, 1)  # a view: image, channel, row, column, 32, 32
    model = torch_models.make(args.model).to(memory_format=torch.channels_last).train()
    steps = len(images) // args.batch
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    cycle = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps * args.epochs)
    rates = []
    for _ in range(args.epochs):
        began, order, total = time.perf_counter(), torch.randperm(len(images)), 0
        for i in range(steps):
            chosen = order[i * args.batch:(i + 1) * args.batch]
            dy, dx = torch.randint(2 * CROP + 1, (2, args.batch))
            x = windows[chosen, :, dy, dx]
            x = torch.where(torch.rand(args.batch, 1, 1, 1) < 0.5, x.flip(3), x)
            x = x.float().sub_(MEAN * 255).mul_(1 / (STD * 255)).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.precision == "bf16"):
                loss = cross_entropy(model(x), labels[chosen])
            sgd.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()
            cycle.step()
            total += loss.item()
        rates.append(steps * args.batch / (time.perf_counter() - began))
    print(json.dumps(rates))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="resnet18")
    p.add_argument("--data", help="cifar10:DIR with the binary version; left out: made-up images")
    p.add_argument("--images", type=int, default=6400, help="images an epoch (6400; 0: all of --data)")
    p.add_argument("--epochs", type=int, default=3, help="with the one that warms up (3)")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=8, help="of the bare step (8)")
    p.add_argument("--json", metavar="FILE", help="write all figures")
    p.add_argument("--check", action="store_true", help="exit with 1 below 1.4 times PyTorch or 95 %% of the bare step")
    p.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.epochs < 2 or (not args.data and args.images < args.batch):
        p.error("at least two epochs, and images for a batch")
    if args.torch:
        return torch_epochs(args)
    rounds = []
    for i in range(args.rounds):
        rounds.append({"epoch": ours(args), "torch": theirs(args), "step": bare(args)})
        print("round {}: retort {epoch:.1f}, PyTorch {torch:.1f}, bare step {step:.1f} images/s".format(i + 1, **rounds[-1]), file=sys.stderr,
              flush=True)
    middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
    speed = statistics.median(r["epoch"] / r["torch"] for r in rounds)
    share = statistics.median(r["epoch"] / r["step"] for r in rounds)
    print(f"{args.model}, {args.precision}, batch {args.batch}, {args.threads} threads, crop and flip: an epoch at {middle['epoch']:.1f} images/s, "
          f"PyTorch's at {middle['torch']:.1f}: {speed:.2f} times; {share:.1%} of the bare step's {middle['step']:.1f}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"rounds": rounds, "ratio": speed, "share_of_step": share}, f, indent=1)
    return args.check and (speed < 1.4 or share < 0.95)


if __name__ == "__main__":
    sys.exit(main())
