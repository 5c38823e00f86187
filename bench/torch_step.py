"""One step of a model in PyTorch, timed: the other side of `retort bench`, with the same JSON keys.

    python bench/torch_step.py --step train --model resnet18 --batch 128 --precision bf16 --layout channels_last

Train: cross-entropy, backward, SGD (momentum 0.9, weight decay 5e-4). Distill: the same with a frozen teacher in evaluation mode under
no_grad, 0.1 cross-entropy + 0.9 kd at T = 4. Infer: evaluation mode, batch norm folded into
the convolutions, traced and frozen. The batch is synthetic and stays the same, as in `retort bench`.
"""
import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "referee"))
import torch
import torch_models
from torch import nn


def peak_memory():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def forward_flops(model, x):
    """Of one forward pass over x: two per multiply-add of convolutions and linear layers."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        total += 2 * output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model(x)
    for h in hooks:
        h.remove()
    return total


def kd(s, t, T):
    """T² · mean over samples of KL(softmax(t/T) ‖ softmax(s/T))"""
    return nn.functional.kl_div(nn.functional.log_softmax(s / T, 1), nn.functional.log_softmax(t / T, 1), log_target=True,
                                reduction="batchmean") * T * T


def train_step(model, x, target, bf16, optimizer, teacher=None):
    kind = {"foreach": {"foreach": True}, "fused": {"fused": True}}[optimizer]
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, **kind)
    model.train()

    def step():
        sgd.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            if teacher is None:
                loss = nn.functional.cross_entropy(model(x), target)
            else:
                with torch.no_grad():
                    soft = teacher(x).float()
                logits = model(x).float()
                loss = 0.1 * nn.functional.cross_entropy(logits, target) + 0.9 * kd(logits, soft, 4)
        loss.backward()
        sgd.step()

    return step


def infer_step(model, x, bf16, how):
    """how: "fuse" (torch.fx convolution + batch norm), "freeze" (traced, frozen, optimized), or "autocast"."""
    model.eval()
    context = contextlib.nullcontext
    if how != "autocast":
        import torch.fx.experimental.optimization as fx  # torch.nn.utils.fusion over the whole model
        model = fx.fuse(model)
    if bf16 and how == "autocast":
        def context():
            return torch.autocast("cpu", dtype=torch.bfloat16)
    elif bf16:
        model, x = model.bfloat16(), x.bfloat16()
    if how == "freeze":
        with torch.no_grad():
            model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, x)))

    def step():
        with torch.no_grad(), context():
            model(x)

    return step


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--step", choices=["train", "infer", "distill"], default="train")
    p.add_argument("--teacher-model", default="resnet50")
    p.add_argument("--model", default="resnet18")
    p.add_argument("--input", default="3x32x32")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    p.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    p.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    p.add_argument("--optimizer", choices=["fused", "foreach"], default="fused")
    p.add_argument("--infer", choices=["fuse", "freeze", "autocast"], default="freeze", help="how inference is prepared")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--json", action="store_true", help="accepted, for the same command line: it always is JSON")
    a = p.parse_args()

    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    channels_last = a.layout == "channels_last"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = torch_models.make(a.model, a.classes, **({"stem": a.stem} if a.stem != "cifar" else {})).to(memory_format=memory_format)
    x = torch.randn(a.batch, *map(int, a.input.split("x"))).to(memory_format=memory_format)
    target = torch.randint(a.classes, (a.batch,))
    bf16 = a.precision == "bf16"
    flops = a.batch * forward_flops(model, x[:1]) * (1 if a.step == "infer" else 3)
    teacher = None
    if a.step == "distill":
        teacher = torch_models.make(a.teacher_model, a.classes).to(memory_format=memory_format).eval().requires_grad_(False)
        flops += a.batch * forward_flops(teacher, x[:1])
    step = infer_step(model, x, bf16, a.infer) if a.step == "infer" else train_step(model, x, target, bf16, a.optimizer, teacher)

    for _ in range(a.warmup):
        step()
    times, began = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < a.seconds:
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    times.sort()
    median = statistics.median(times)
    print(json.dumps({
        "images_per_second": {"best": a.batch / times[0], "median": a.batch / median},
        "step_ms": {"best": times[0] * 1e3, "median": median * 1e3, "p90": times[int(0.9 * (len(times) - 1) + 0.5)] * 1e3},
        "peak_memory_bytes": peak_memory(),
        "arena_bytes": None,
        "gflops": flops / median / 1e9,
        "precision": a.precision,
        "threads": a.threads,
        "steps": len(times),
        "variant": f"{a.precision} {a.layout} " + (a.infer if a.step == "infer" else a.optimizer),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }))


if __name__ == "__main__":
    main()
