"""A distillation step of retort beside the same of PyTorch: speed and memory, as ratios.

    scripts/bench distill-step [--teacher resnet50] [--model resnet18] [--rounds 5] [--seconds 8] [--markdown FILE]

Both learn from a frozen teacher in evaluation form, 0.1 cross-entropy + 0.9 kd at T = 4, in bf16; the teacher runs live at every
step. How the two are compared is said in train_step.py.
"""
import argparse
import sys

import train_step

FP32 = [("fp32", "channels_last", "fused")]
BF16 = [("bf16", "channels_last", "fused"), ("bf16", "channels_last", "foreach")]
ROWS = {"bf16": ("distill", "bf16", BF16, 1.5, 0.5), "fp32": ("distill", "fp32", FP32, 1.5, 0.5)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", default="resnet50")
    p.add_argument("--model", default="resnet18")
    p.add_argument("--precisions", default="bf16")
    train_step.add_options(p)
    args = p.parse_args()
    results = [train_step.compare(args.model, ROWS[precision], args) for precision in args.precisions.split(",")]
    for r in results:
        r["model"] = f"{args.teacher} → {args.model}"
    sys.exit(train_step.report(results, args))


if __name__ == "__main__":
    main()
