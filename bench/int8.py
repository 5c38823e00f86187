"""Inference in int8 beside other engines: latency, as ratios to the fastest of them.

    scripts/bench int8 [--rows resnet18@3x32x32:1,resnet50@3x224x224:1] [--rounds 5] [--seconds 2] [--markdown FILE]
    scripts/bench int8 --rows resnet18@3x32x32:1,resnet18@3x32x32:64 --weights resnet18.pth --data cifar10:DIR

The same network with drawn weights, or those of a file that retort trained, quantized by everybody on made-up images (by us on those of
--data: which layers run by Winograd is decided by what the logits bear, and drawn ones bear little): PyTorch (x86, onednn, fbgemm; exported and
compiled where torchao can be had), ONNX Runtime and OpenVINO with the QDQ model that retort exports and with their own
quantization. Each engine runs in a process of its own, alternately, on the same threads; of each project the fastest variant,
found by trying all of them first, is compared. A ratio is the median over the rounds of theirs by ours next to it; above 1,
ours is faster.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import struct
import subprocess
import sys

import train_step

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
RETORT = train_step.RETORT
OPENVINO = os.path.join(ROOT, "build", "openvino", "bin", "python")
TORCHAO = os.path.join(ROOT, "build", "torchao")
WORK = os.path.join(ROOT, "build", "int8")

ROWS = "resnet18@3x32x32:1,resnet18@3x32x32:64,resnet50@3x32x32:1,resnet50@3x32x32:64,resnet50@3x224x224:1,mobilenet_v2@3x224x224:1"
PEERS = {
    "PyTorch": ["torch-x86", "torch-onednn", "torch-fbgemm", "torch-pt2e"],
    "ONNX Runtime": ["ort-ours", "ort-own"],
    "OpenVINO": ["openvino-ours", "openvino-own"],
}
# at least, theirs by ours: the fastest peer, PyTorch's best, our own fp32
GOALS = {("resnet18", "3x32x32", 1): (1.1, 1.6, 2.5), ("resnet18", "3x32x32", 64): (1.2, None, 2.5)}
USUAL = (0.95, None, None)


def note(text):
    print(text, file=sys.stderr, flush=True)


def stem_of(model, shape):
    return "imagenet" if shape.endswith("224") else "cifar"


def command(*arguments):
    done = subprocess.run([str(a) for a in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def write_safetensors(path, state, metadata):
    header, data, at = {"__metadata__": metadata}, [], 0
    for name, t in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        raw = t.numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def prepare(model, shape, weights=None, source="synthetic"):
    """The network and its int8 forms, in a directory that every engine reads."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "referee"))
    import torch
    import torch_models
    work = os.path.join(WORK, f"{model}-{shape}")
    os.makedirs(work, exist_ok=True)
    for left in os.listdir(work):
        os.remove(os.path.join(work, left))
    torch.manual_seed(0)
    net = torch_models.make(model, stem=stem_of(model, shape))
    at = {k: os.path.join(work, k) for k in ("model.pth", "model.safetensors", "int8.safetensors", "qdq.onnx", "fp32.onnx")}
    data = ["--data", source]
    if weights:
        net.load_state_dict(torch.load(weights, weights_only=True))
        command(RETORT, "export", weights, "-o", at["model.safetensors"])
    else:
        with torch.no_grad():  # running statistics as a trained network has them: every layer's output has some range
            net.train()
            for m in net.modules():
                if isinstance(m, torch.nn.BatchNorm2d):
                    m.momentum = 1.0
            net(torch.randn(16, *map(int, shape.split("x"))))
        options = f"stem={stem_of(model, shape)}"
        write_safetensors(at["model.safetensors"], net.state_dict(), {"model": model, "options": options, "input": shape})
    if source == "synthetic":
        images = f"shape={shape.replace('x', ',')} images=64 test_images=0 validation=0"
        data += ["--data-options", images, "--images", 32, "--batch", 8]
    torch.save(net.state_dict(), at["model.pth"])
    command(RETORT, "quantize", at["model.safetensors"], *data, "--quiet", "-o", at["int8.safetensors"])
    command(RETORT, "export", at["int8.safetensors"], "-o", at["qdq.onnx"])
    command(RETORT, "export", at["model.safetensors"], "-o", at["fp32.onnx"])
    return work


def ours(file, work, batch, args, seconds):
    said = json.loads(command(RETORT, "bench", os.path.join(work, file), "--batch", batch, "--seconds", seconds, "--threads", args.threads,
                              "--json"))
    ms = said["files"][0]["runs"][0]["latency_ms"]
    return {"best": ms["best"], "median": ms["p50"]}


def theirs(engine, work, model, shape, batch, args, seconds):
    """Milliseconds; None where it can't run, after a sentence."""
    python = OPENVINO if engine.startswith("openvino") else sys.executable
    if not os.path.exists(python):
        note(f"  {engine} is left out: no OpenVINO here (scripts/setup --for bench)")
        return None
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    if engine == "torch-pt2e":
        environment["PYTHONPATH"] = TORCHAO
    line = [python, os.path.join(HERE, "int8_engine.py"), engine, "--work", work, "--model", model, "--stem", stem_of(model, shape), "--input",
            shape, "--batch", str(batch), "--threads", str(args.threads), "--seconds", str(seconds)]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        note(f"  {engine} is left out: {why[:200]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])["ms"]


def compare(row, args):
    name, batch = row.rsplit(":", 1)
    model, shape = name.split("@")
    batch = int(batch)
    work = prepare(model, shape, args.weights, args.data)
    chosen = {}
    for peer, engines in PEERS.items():
        tried = {e: theirs(e, work, model, shape, batch, args, min(1, args.seconds)) for e in engines if e not in args.without}
        for e, ms in tried.items():
            if ms:
                note(f"  {row} {e}: {ms['median']:.3f} ms")
        tried = {e: ms["median"] for e, ms in tried.items() if ms}
        if tried:
            chosen[peer] = min(tried, key=tried.get)
    rounds = []
    for i in range(args.rounds):
        took = {"ours": ours("int8.safetensors", work, batch, args, args.seconds)["median"],
                "fp32": ours("model.safetensors", work, batch, args, args.seconds)["median"]}
        for peer, engine in chosen.items():
            ms = theirs(engine, work, model, shape, batch, args, args.seconds)
            if ms:
                took[peer] = ms["median"]
        rounds.append(took)
        note(f"  {row} round {i + 1}: " + ", ".join(f"{k} {v:.3f} ms" for k, v in took.items()))

    def ratio(key):
        values = [r[key] / r["ours"] for r in rounds if key in r]
        return {"median": statistics.median(values), "least": min(values), "most": max(values)} if values else None

    ratios = {k: ratio(k) for k in ("fp32", *chosen)}
    peers = [k for k in chosen if ratios[k]]
    fastest = min(peers, key=lambda k: ratios[k]["median"]) if peers else None
    goals = GOALS.get((model, shape, batch), USUAL)
    against = (ratios[fastest] if fastest else None, ratios.get("PyTorch"), ratios["fp32"])
    missed = [f"{g}× {what}" for g, r, what in zip(goals, against, ("the fastest", "PyTorch", "fp32")) if g and r and r["median"] < g]
    return {"row": row, "model": model, "input": shape, "batch": batch, "rounds": rounds, "ratios": ratios, "fastest": fastest,
            "variants": chosen, "ours": statistics.median(r["ours"] for r in rounds), "missed": missed}


def cells(r):
    def show(k):
        v = r["ratios"].get(k)
        return f"{v['median']:.2f}× ({v['least']:.2f}–{v['most']:.2f})" if v else "-"

    return [r["model"], r["input"], str(r["batch"]), f"{r['ours']:.3f}", *(show(k) for k in PEERS), show("fp32"), r["fastest"] or "-",
            "missed: " + ", ".join(r["missed"]) if r["missed"] else "met"]


def table(results, markdown):
    rows = [["model", "image", "batch", "ours, ms", *PEERS, "own fp32", "fastest peer", "goal"]] + [cells(r) for r in results]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip() for row in rows)


def conditions(args):
    doctor = json.loads(command(RETORT, "doctor", "--json"))
    import onnxruntime
    import torch
    return (f"{doctor['cpu']} ({doctor['isa']}), {os.cpu_count()} processors, {args.threads} threads, Linux {platform.release()}; retort "
            f"{doctor['version']} with {doctor['backend']}, PyTorch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO "
            f"2026.4.1 with NNCF 3.4.0; {args.rounds} rounds of {args.seconds:g} s each, {datetime.date.today().isoformat()}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", default=ROWS, help="MODEL@CxHxW:BATCH, with commas")
    p.add_argument("--weights", metavar="FILE", help="trained weights (.pth) for the model of the rows, instead of drawn ones")
    p.add_argument("--data", default="synthetic", help="what we calibrate on: the data set that the weights come from")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2)
    p.add_argument("--without", default="", help="engines to leave out, with commas: torch-pt2e …")
    p.add_argument("--quick", action="store_true", help="resnet18, batch 1, one round of a second")
    p.add_argument("--markdown", metavar="FILE")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    args = p.parse_args()
    args.without = args.without.split(",")
    if args.quick:
        args.rows, args.rounds, args.seconds = "resnet18@3x32x32:1", 1, 1
    began, own = train_step.busy(), os.times()
    results = [compare(row, args) for row in args.rows.split(",")]
    now = os.times()
    spent = now.elapsed - own.elapsed
    mine = sum((now.user, now.system, now.children_user, now.children_system)) - sum(
        (own.user, own.system, own.children_user, own.children_system))
    others = max(0.0, (train_step.busy() - began - mine) / (spent * os.cpu_count()))
    where = f"{conditions(args)}; other processes took {others:.0%} of the processors"
    print(where + "\n\nA ratio is theirs by ours: above 1, ours is faster.\n\n" + table(results, markdown=False))
    if others > 0.05:
        print("\nOther processes were busy: these figures are rough.")
    if args.markdown:
        with open(args.markdown, "w") as f:
            f.write(f"{where}.\n\n{table(results, markdown=True)}\n")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"conditions": where, "results": results}, f, indent=1)
    sys.exit(args.check and any(r["missed"] for r in results))


if __name__ == "__main__":
    main()
