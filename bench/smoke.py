"""recipes/smoke.yaml beside the same recipe in PyTorch, from start to finish: time, memory, and what both reach.

    scripts/bench smoke [--rounds 3] [--threads N] [--json FILE]

A teacher on 20,000 images, a student on 4,000 alone and distilled, the same at three temperatures from two seeds, an int8 form of the
student, all measured on the test images. Each side is one process, the two run alternately; what is compared is the time from its start
to its end and its highest memory. PyTorch's side keeps the normalised images as one tensor, draws batches by indexing and trains with its fused
SGD; it writes no files but its models. Ours also writes checkpoints, logs and the page.
"""
import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RETORT = os.path.abspath(os.environ.get("RETORT") or os.path.join(HERE, "..", "build", "release", "retort"))
RECIPE = os.path.join(HERE, "..", "recipes", "smoke.yaml")


def measure(command, threads):
    """Seconds, and the highest memory in MB, of a process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{said[-2000:]}")
    return {"seconds": time.perf_counter() - began, "memory": usage.ru_maxrss / 1024, "said": said}


def ours(args):
    with tempfile.TemporaryDirectory() as directory:
        result = measure([RETORT, "run", RECIPE, "--out", directory, "--set", f"defaults.threads={args.threads}", "--set", "stages.bench.seconds=0",
                          "--quiet"], args.threads)
        accuracy = {}
        for name in ("teacher", "student", "student_kd", "student_int8"):
            with open(os.path.join(directory, "records", name + ".json")) as file:
                accuracy[name] = json.load(file)["result"]["test"]["top1"]
        return {**result, "accuracy": accuracy}


def theirs(args):
    result = measure([sys.executable, os.path.abspath(__file__), "--run-torch", "--threads", str(args.threads)], args.threads)
    return {**result, "accuracy": json.loads(result["said"].splitlines()[-1])}


# ---- PyTorch's side ----

def run_torch(args):
    import warnings

    import numpy
    import torch
    import torch.nn.functional as F
    from torch import nn
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    home = subprocess.run([RETORT, "data", "list", "--json"], capture_output=True, text=True, check=True).stdout
    home = next(d["directory"] for d in json.loads(home)["data"] if d["name"] == "fashion-mnist")

    def read(name, head):
        with gzip.open(os.path.join(home, name)) as file:
            return numpy.frombuffer(file.read(), numpy.uint8, offset=head)

    def images(name):
        return torch.from_numpy(read(name, 16).reshape(-1, 784).astype(numpy.float32) / 255)

    x, y = images("train-images-idx3-ubyte.gz"), torch.from_numpy(read("train-labels-idx1-ubyte.gz", 8).astype(numpy.int64))
    x_test, y_test = images("t10k-images-idx3-ubyte.gz"), torch.from_numpy(read("t10k-labels-idx1-ubyte.gz", 8).astype(numpy.int64))
    mean, std = x.mean(), x.std()
    x, x_test = (x - mean) / std, (x_test - mean) / std
    validation, rest = slice(0, 6000), torch.arange(6000, len(y))

    def mlp(*hidden):
        sizes, layers = [784, *hidden], []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))

    def right(model, x, y):
        with torch.no_grad():
            return (model(x).argmax(1) == y).float().mean().item()

    def train(seed, images, epochs, hidden, teacher=None, temperature=4):
        torch.manual_seed(seed)
        model = mlp(*hidden)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
        steps, warm = epochs * (images // 100), 0.05 * epochs * (images // 100)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, i / warm) * (1 + numpy.cos(numpy.pi * max(0, i - warm) / (steps - warm))) / 2)
        best, kept = -1, None
        for _ in range(epochs):
            for batch in rest[:images][torch.randperm(images)].split(100):
                xb, yb = x[batch], y[batch]
                logits = model(xb)
                loss = F.cross_entropy(logits, yb)
                if teacher is not None:
                    with torch.no_grad():
                        said = F.log_softmax(teacher(xb) / temperature, 1)
                    soft = F.kl_div(F.log_softmax(logits / temperature, 1), said, reduction="batchmean", log_target=True) * temperature ** 2
                    loss = 0.1 * loss + 0.9 * soft
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1e9, error_if_nonfinite=True)
                optimizer.step()
                schedule.step()
            score = right(model, x[validation], y[validation])
            if score > best:
                best, kept = score, {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(kept)
        torch.save(kept, os.path.join(directory, f"{len(os.listdir(directory))}.pth"))
        return model

    def quantize(model):
        from torch.ao.quantization import QConfigMapping, get_default_qconfig, quantize_fx
        torch.backends.quantized.engine = "x86"
        prepared = quantize_fx.prepare_fx(model.eval(), QConfigMapping().set_global(get_default_qconfig("x86")), (x[:1],))
        with torch.no_grad():
            prepared(x[rest[:200]])
        return quantize_fx.convert_fx(prepared)

    with tempfile.TemporaryDirectory() as directory:
        teacher = train(0, 20000, 6, (256, 128))
        student, distilled = train(0, 4000, 12, (32,)), train(0, 4000, 12, (32,), teacher)
        train(1, 4000, 12, (32,))
        for temperature in (1, 4, 16):
            for seed in (0, 1):
                if (temperature, seed) != (4, 0): # is there already
                    right(train(seed, 4000, 12, (32,), teacher, temperature), x_test, y_test)
        int8 = quantize(distilled)
        names = {"teacher": teacher, "student": student, "student_kd": distilled, "student_int8": int8}
        print(json.dumps({name: right(model, x_test, y_test) for name, model in names.items()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--run-torch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run_torch:
        return run_torch(args)
    rounds = []
    for number in range(args.rounds):
        a, b = ours(args), theirs(args)
        rounds.append({"retort": a, "torch": b, "speed": b["seconds"] / a["seconds"], "memory": b["memory"] / a["memory"]})
        print(f"round {number + 1}: retort {a['seconds']:.1f} s, {a['memory']:.0f} MB; PyTorch {b['seconds']:.1f} s, {b['memory']:.0f} MB", flush=True)
    for name in rounds[-1]["retort"]["accuracy"]:
        print(f"{name}: retort {100 * rounds[-1]['retort']['accuracy'][name]:.2f} %, PyTorch {100 * rounds[-1]['torch']['accuracy'][name]:.2f} %")
    for what in ("speed", "memory"):
        values = sorted(r[what] for r in rounds)
        print(f"{'PyTorch takes' if what == 'speed' else 'and its memory is'} {statistics.median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f}) times ours")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rounds, file, indent=1)


if __name__ == "__main__":
    main()
