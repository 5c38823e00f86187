"""A step of retort beside the same step of PyTorch: speed and memory, as ratios.

    scripts/bench train-step [--models resnet18,resnet50] [--rounds 5] [--seconds 8] [--markdown FILE]

The two run alternately, each in a process of its own, with the same threads, model, batch and arithmetic, and nothing
else should run: how busy others kept the processors is printed. PyTorch runs in whichever of its variants is fastest
here, found by trying all of them first. A ratio is the median over the rounds of images/s of ours by PyTorch's next to it.
"""
import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RETORT = os.environ.get("RETORT") or os.path.join(HERE, "..", "build", "release", "retort")

# step, precision, what PyTorch may run it as, goals: images/s at least (or what GOALS says), memory at most, of PyTorch's
FP32_INFER = [("fp32", layout, how) for layout in ("channels_last", "nchw") for how in ("fuse", "freeze")]
BF16_INFER = [("bf16", "channels_last", how) for how in ("freeze", "fuse", "autocast")]
ROWS = [
    ("train", "bf16", [("bf16", "channels_last", "fused"), ("bf16", "channels_last", "foreach")], 1.1, 0.6),
    ("train", "fp32", [("fp32", "channels_last", "fused"), ("fp32", "channels_last", "foreach"), ("fp32", "nchw", "fused")], 1.1, 0.6),
    ("infer", "bf16", BF16_INFER + FP32_INFER[:2], 1.15, None),
    ("infer", "fp32", FP32_INFER, 1.15, None),
]

GOALS = {("resnet18", "train", "bf16"): 1.5, ("resnet18", "train", "fp32"): 1.4, ("resnet18", "infer", "bf16"): 1.6,
         ("resnet50", "train", "bf16"): 1.2}


def busy():
    """Seconds of work so far, of all processors."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, *_ = (int(v) for v in f.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def run(command, args):
    """Its JSON, and the share of the processors that others took meanwhile."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    own, before, began = resource.getrusage(resource.RUSAGE_CHILDREN), busy(), time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    now, spent = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
    mine = now.ru_utime + now.ru_stime - own.ru_utime - own.ru_stime
    figures = json.loads(done.stdout[done.stdout.index("{"):])
    figures["others"] = max(0.0, (busy() - before - mine) / (spent * os.cpu_count()))
    return figures


def common(model, step, args, seconds, teacher=None):
    teacher = teacher or (["--teacher-model", args.teacher] if step == "distill" else [])
    return ["--step", step, "--model", model, *teacher, "--input", args.input, "--batch", str(args.batch), "--threads", str(args.threads),
            "--seconds", str(seconds), "--json"]


def ours(model, step, precision, args, seconds, teacher=None):
    return run([RETORT, "bench", *common(model, step, args, seconds, teacher), "--precision", precision], args)


def theirs(model, step, variant, args, seconds):
    precision, layout, how = variant
    return run([sys.executable, os.path.join(HERE, "torch_step.py"), *common(model, step, args, seconds), "--precision", precision,
                "--layout", layout, "--infer" if step == "infer" else "--optimizer", how], args)


def note(text):
    print(text, file=sys.stderr, flush=True)


def compare(model, row, args, teacher=None):
    """`teacher`: options of ours that name another teacher than --teacher-model."""
    step, precision, variants, speed_goal, memory_goal = row
    speed_goal = GOALS.get((model, step, precision), speed_goal)
    tried = {v: theirs(model, step, v, args, min(3, args.seconds)) for v in variants}
    for v, figures in tried.items():
        note(f"  PyTorch {model} {step} {' '.join(v)}: {figures['images_per_second']['median']:.1f} images/s")
    best = max(tried, key=lambda v: tried[v]["images_per_second"]["median"])
    pairs = []
    for i in range(args.rounds):
        a, b = ours(model, step, precision, args, args.seconds, teacher), theirs(model, step, best, args, args.seconds)
        pairs.append((a, b))
        note(f"  {model} {step} {precision} round {i + 1}: {a['images_per_second']['median']:.1f} and "
             f"{b['images_per_second']['median']:.1f} images/s (others {max(a['others'], b['others']):.0%})")

    def middle(side, *keys):
        values = []
        for pair in pairs:
            v = pair[side]
            for k in keys:
                v = v[k]
            values.append(v)
        return statistics.median(values)

    ratios = [a["images_per_second"]["median"] / b["images_per_second"]["median"] for a, b in pairs]
    result = {
        "model": model, "step": step, "precision": precision, "variant": " ".join(best),
        "ours": middle(0, "images_per_second", "median"), "torch": middle(1, "images_per_second", "median"),
        "ratio": statistics.median(ratios), "ratios": ratios, "gflops": middle(0, "gflops"),
        "our_memory": middle(0, "peak_memory_bytes"), "torch_memory": middle(1, "peak_memory_bytes"),
        "others": max(max(a["others"], b["others"]) for a, b in pairs),
        "tried": {" ".join(v): f["images_per_second"]["median"] for v, f in tried.items()},
    }
    result["memory_ratio"] = result["our_memory"] / result["torch_memory"]
    missed = [f"{speed_goal}× speed"] * (result["ratio"] < speed_goal)
    if memory_goal is not None and result["memory_ratio"] > memory_goal:
        missed.append(f"{memory_goal:.0%} memory")
    result["missed"] = missed
    return result


HEAD = ["model", "step", "precision", "ours, images/s", "PyTorch, images/s", "PyTorch's best variant", "speed ratio (rounds)",
        "peak memory, MB", "PyTorch's", "memory ratio", "goal"]


def cells(r):
    return [r["model"], r["step"], r["precision"], f"{r['ours']:.1f}", f"{r['torch']:.1f}", r["variant"],
            f"{r['ratio']:.2f}× ({min(r['ratios']):.2f}–{max(r['ratios']):.2f})", f"{r['our_memory'] / 1e6:.0f}",
            f"{r['torch_memory'] / 1e6:.0f}", f"{r['memory_ratio']:.2f}", "missed: " + ", ".join(r["missed"]) if r["missed"] else "met"]


def table(results, markdown):
    rows = [HEAD] + [cells(r) for r in results]
    width = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip() for row in rows]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(HEAD))
    return "\n".join(lines)


def conditions(args, results):
    doctor = json.loads(subprocess.run([RETORT, "doctor", "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    import torch  # its version only
    return (f"{doctor['cpu']} ({doctor['isa']}), {os.cpu_count()} processors, {args.threads} threads, Linux {platform.release()}; retort "
            f"{doctor['version']} with {doctor['backend']}, PyTorch {torch.__version__}, Python {platform.python_version()}; "
            f"input {args.input}, batch {args.batch}, {args.rounds} rounds of {args.seconds:g} s each, "
            f"{datetime.date.today().isoformat()}; other processes took at most {max(r['others'] for r in results):.0%} of the processors")


def add_options(p):
    p.add_argument("--input", default="3x32x32")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=8, help="of measuring in each process, after its warm-up")
    p.add_argument("--markdown", metavar="FILE", help="write the table for docs/performance.md")
    p.add_argument("--json", metavar="FILE", help="write all figures")
    p.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")


def report(results, args):
    """Print the results, write the files that were asked for; the exit status."""
    where = conditions(args, results)
    print(where + "\n")
    print(table(results, markdown=False))
    if max(r["others"] for r in results) > 0.05:
        print("\nOther processes were busy: these figures are rough.")
    if args.markdown:
        with open(args.markdown, "w") as f:
            f.write(f"{where}.\n\n{table(results, markdown=True)}\n")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"conditions": where, "results": results}, f, indent=1)
    return args.check and any(r["missed"] for r in results)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", default="resnet18,resnet50")
    p.add_argument("--steps", default="train,infer")
    p.add_argument("--precisions", default="bf16,fp32")
    add_options(p)
    p.add_argument("--quick", action="store_true", help="resnet18, one round of two seconds")
    args = p.parse_args()
    if args.quick:
        args.models, args.rounds, args.seconds = "resnet18", 1, 2
    rows = [r for r in ROWS if r[0] in args.steps.split(",") and r[1] in args.precisions.split(",")]
    results = [compare(model, row, args) for model in args.models.split(",") for row in rows]
    sys.exit(report(results, args))


if __name__ == "__main__":
    main()
