"""A distillation step of retort beside the same of PyTorch: speed and memory, as ratios.

    scripts/bench distill-step [--teacher resnet50] [--model resnet18] [--rounds 5] [--seconds 8] [--markdown FILE]

Both learn from a frozen teacher in evaluation form, 0.1 cross-entropy + 0.9 kd at T = 4, in bf16; the teacher runs live at every
step. How the two are compared is said in train_step.py.
"""
import argparse
import json
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
    p.add_argument("--input", default="3x32x32")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=8, help="of measuring in each process, after its warm-up")
    p.add_argument("--markdown", metavar="FILE", help="write the table for docs/performance.md")
    p.add_argument("--json", metavar="FILE", help="write all figures")
    p.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    args = p.parse_args()
    results = [train_step.compare(args.model, ROWS[precision], args) for precision in args.precisions.split(",")]
    for r in results:
        r["model"] = f"{args.teacher} → {args.model}"
    where = train_step.conditions(args, results)
    print(where + "\n")
    print(train_step.table(results, markdown=False))
    if max(r["others"] for r in results) > 0.05:
        print("\nOther processes were busy: these figures are rough.")
    if args.markdown:
        with open(args.markdown, "w") as f:
            f.write(f"{where}.\n\n{train_step.table(results, markdown=True)}\n")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"conditions": where, "results": results}, f, indent=1)
    sys.exit(args.check and any(r["missed"] for r in results))


if __name__ == "__main__":
    main()
