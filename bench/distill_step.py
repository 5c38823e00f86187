"""A distillation step of retort beside the same of PyTorch: speed and memory, as ratios.

    scripts/bench distill-step [--teacher resnet50] [--model resnet18] [--teachers bf16,int8,cache] [--rounds 5] [--seconds 8]

Both learn from a frozen teacher in evaluation form, 0.1 cross-entropy + 0.9 kd at T = 4, in bf16. The teacher runs live at every
step: in bf16 in both, or in int8 in ours. "cache": our step with the teacher's outputs at hand beside our step with labels alone.
How two are compared is said in train_step.py.
"""
import argparse
import os
import statistics
import sys

import int8
import train_step

BF16 = [("bf16", "channels_last", "fused"), ("bf16", "channels_last", "foreach")]
ROWS = {"bf16": ("distill", "bf16", BF16, 1.5, 0.5), "int8": ("distill", "bf16", BF16, 1.8, None)}
LEAST_FROM_CACHE = 0.95


def from_cache(args, file):
    ratios, others = [], 0
    for i in range(args.rounds):
        cached = train_step.ours(args.model, "distill", "bf16", args, args.seconds, ["--teacher", file, "--cached"])
        alone = train_step.ours(args.model, "train", "bf16", args, args.seconds)
        a, b = cached["images_per_second"]["median"], alone["images_per_second"]["median"]
        ratios.append(a / b)
        others = max(others, cached["others"], alone["others"])
        train_step.note(f"  {args.model} round {i + 1}: {a:.1f} images/s from the cache and {b:.1f} alone (others {others:.0%})")
    middle = statistics.median(ratios)
    print(f"from the cache {middle:.2f}× the rate without a teacher ({min(ratios):.2f}–{max(ratios):.2f}); others {others:.0%}; "
          f"goal {'met' if middle >= LEAST_FROM_CACHE else 'missed'}: {LEAST_FROM_CACHE}")
    return middle >= LEAST_FROM_CACHE


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", default="resnet50")
    p.add_argument("--model", default="resnet18")
    p.add_argument("--teachers", default="bf16,int8,cache", help="how the teacher is heard in ours")
    train_step.add_options(p)
    args = p.parse_args()
    ways = args.teachers.split(",")
    file = None
    if "int8" in ways or "cache" in ways:
        file = os.path.join(int8.prepare(args.teacher, args.input), "int8.safetensors")
    results = []
    for way in ways:
        if way != "cache":
            results.append(train_step.compare(args.model, ROWS[way], args, ["--teacher", file] if way == "int8" else None))
            results[-1]["model"] = f"{args.teacher} ({way}) → {args.model}"
    missed = train_step.report(results, args) if results else False
    met = "cache" not in ways or from_cache(args, file)
    sys.exit(missed or (args.check and not met))


if __name__ == "__main__":
    main()
