"""What a training run leaves behind, read by others: the model by PyTorch, the events by TensorBoard."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch_models

RETORT = os.environ.get("RETORT", "build/release/retort")
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


def train(out, *more):
    done = subprocess.run([RETORT, "train", "--model", "resnet8", "--data", "synthetic", "--data-options", "images=640 shape=3,16,16",
                           "--epochs", "2", "--batch", "64", "--optimizer", "sgd", "--precision", "fp32", "--log-steps", "3", "--json", "--out", out, *more],
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def loads_in_torch(out):
    for name in ("model.best.pth", "model.last.pth"):
        saved = torch.load(out / name, weights_only=True)
        model = torch_models.make("resnet8", 10)
        model.load_state_dict(saved, strict=True)
        expect(all(torch.isfinite(v).all() for v in saved.values()), f"{name}: loads in PyTorch, strictly")
    checkpoint = subprocess.run([RETORT, "inspect", out / "checkpoint.safetensors", "--json"], capture_output=True, text=True)
    seen = json.loads(checkpoint.stdout)
    names = {t["name"] for t in seen["tensors"]}
    expect("state/conv1.weight.momentum" in names and "bn1.running_var" in names, "the checkpoint holds momenta and statistics")


def reads_in_tensorboard(out, events):
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        print("  skipped: no tensorboard here")
        return
    board = EventAccumulator(str(out), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    board.Reload()
    tags = board.Tags()
    losses = {e.step: e.value for e in board.Scalars("train/loss")}
    written = {e["step"]: e["loss"] for e in events if e["event"] == "step"}
    expect(len(written) > 3 and losses.keys() == written.keys() and all(abs(losses[k] - written[k]) < 1e-6 for k in written),
           "TensorBoard reads the losses of metrics.jsonl")
    validation = [e["validation"]["top1"] for e in events if e["event"] == "epoch"]
    expect([round(e.value, 6) for e in board.Scalars("validation/accuracy")] == [round(v, 6) for v in validation], "and the accuracies")
    expect("conv1.weight" in tags["histograms"] and len(board.Histograms("conv1.weight")) == 2, "histograms of weights, every epoch")
    expect(len(tags["images"]) == 8, "some images")
    wanted = 3 * 3 * 3 * 16
    expect(board.Histograms("conv1.weight")[-1].histogram_value.num == wanted, "of all of a layer's weights")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "run"
        events = train(out)
        loads_in_torch(out)
        reads_in_tensorboard(out, events)
    print(f"{len(failures)} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
