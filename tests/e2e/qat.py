"""Quantization-aware training from outside: int8 files that hold what they say, alone and from teachers, that go on where they stopped."""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.command import RETORT, check, finish, refuses, run

DATA = ("--data", "synthetic", "--data-options", "shape=3,12,12 classes=4 images=640 test_images=200 noise=60", "--batch", 32)
TRAIN = ("train", "--model", "resnet8:width=8", *DATA, "--optimizer", "sgd", "--precision", "fp32", "--quiet")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def answer(*arguments):
    done = run(*arguments, "--json")
    check(done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def works(file, *arguments):
    done = run(*arguments)
    check(done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def products(said):
    return sum(l["precision"] == "int8" and "weights" in l for l in said["layers"])


def correct(file):
    return answer("eval", file, *DATA)["correct"]


def quantizes(work, model):
    out = work / "int8.pth"
    said = answer("quantize", model, *DATA, "--method", "qat", "-o", out)
    layers = {l["node"]: l for l in said["layers"]}
    check((said["method"], products(said)) == ("qat", 8), f"qat: eight layers: {products(said)}")
    check(said["before"]["correct"] == correct(model), "before is the network that was given")
    check(said["after"]["correct"] >= said["before"]["correct"] - 6, f"int8 is as good: {said['before']}, {said['after']}")
    check(correct(out) == said["after"]["correct"], "eval of it")
    check(layers["conv1"]["observer"] == "moving_average" and layers["conv1"]["zero_point"] == 0, f"its record: {layers['conv1']}")
    check("scale" not in layers["linear"] and said["bytes"] < said["bytes_before"] / 1.5, "nothing that no layer reads has a grid")
    check("to the last bit" in works(out, "verify", out), "verify")
    check("conv1" in works(out, "inspect", out) and "int8" in works(out, "bench", out, "--seconds", 0, "--json"), "inspect, bench")
    told = [json.loads(l) for l in (work / "int8" / "metrics.jsonl").read_text().splitlines()]
    note = next(l["text"] for l in told if l["event"] == "note" and "float twin" in l["text"])
    check(int(note.split()[-1]) >= 198, f"int8 and its twin say the same: {note}")
    check(told[-1]["test"]["correct"] == said["after"]["correct"], "the run tested int8")
    seen = answer("eval", work / "int8" / "model.best.pth", *DATA)
    check(seen["precision"] == "fp32", "the weights that were trained stay floating")
    again = answer("quantize", work / "int8" / "model.best.pth", "--record", work / "int8" / "model.best.json", *DATA, "-o", work / "again.pth")
    check(again["after"]["correct"] == said["after"]["correct"], "weights and record make it again")
    for form in ("safetensors", "onnx"):
        other = work / f"int8.{form}"
        said = answer("quantize", model, *DATA, "--method", "qat", "-o", other)
        check(abs(correct(other) - said["after"]["correct"]) <= 1 and "4 images" in works(other, "verify", other), f"as .{form}")
    for target, options in (("fbgemm", "learned=true"), ("qnnpack", "freeze_statistics=0 freeze_ranges=100%")):
        said = answer("quantize", model, *DATA, "--method", "qat", "--target", target, "--quantize-options", options, "--epochs", 1,
                      "--keep", "fp32:linear", "-o", work / f"{target}.pth")
        check(said["target"] == target and products(said) == 7, f"{target}: {products(said)}")
        check(said["after"]["correct"] >= said["before"]["correct"] - 12, f"{target}: {said['before']}, {said['after']}")
    layers = {l["node"]: l for l in said["layers"]}
    check(layers["conv1"]["weights"] == "per_tensor", "qnnpack: one scale")


def learns_from_teachers(work, model):
    out = work / "kd"
    done = run("distill", "--teacher", model, "--teacher", model, "--student", "resnet8:width=8", "--init", model, *DATA, "--quantize", "qat",
               "--loss", "cross_entropy:weight=0.1", "--loss", "kd:weight=0.9", "--loss", "hint:weight=1,layers=layer2", "--epochs", 1, "--out", out)
    check(done.returncode == 0 and "in int8" in done.stdout + done.stderr, f"distill --quantize qat: {done.stdout}{done.stderr}")
    check(correct(out / "model.int8.pth") >= correct(model) - 8, "distilled in int8")
    refuses(2, "inside of what int8 computes", "distill", "--teacher", model, "--student", "resnet8:width=8", "--init", model, *DATA, "--quantize",
            "qat", "--loss", "hint:weight=1,layers=layer2.0.bn2", "--out", work / "x")


def takes_normalisation(work, model):
    out = work / "normal"
    run(*TRAIN, "--epochs", 1, "--mean", "0.4,0.5,0.6", "--std", "0.2,0.2,0.3", "--out", out)
    run(*TRAIN, "--epochs", 1, "--init", out / "model.best.pth", "--out", work / "after")
    for directory in (out, work / "after"):
        settings = json.loads((directory / "config.json").read_text())["settings"]
        check((settings["mean"], settings["std"]) == ("0.4,0.5,0.6", "0.2,0.2,0.3") or
              [round(float(v), 6) for v in settings["mean"].split(",")] == [0.4, 0.5, 0.6], f"mean of {directory.name}: {settings['mean']}")
    end = json.loads((work / "after" / "metrics.jsonl").read_text().splitlines()[-1])
    check(correct(work / "after" / "model.best.pth") == end["test"]["correct"], "its file says so")
    refuses(2, "a mean without a std", *TRAIN, "--mean", "0.4,0.5,0.6", "--out", work / "x")
    refuses(2, "mean", *TRAIN, "--mean", "0.4,0.5", "--std", "0.2,0.2", "--out", work / "x")


def goes_on(work, model):
    """Killed again and again, before and after batch norms are frozen: the same bits in the end."""
    how = [RETORT, *map(str, (*TRAIN, "--init", model, "--quantize", "qat", "--epochs", 2, "--checkpoint-steps", 2))]
    whole, stopped = work / "whole", work / "stopped"
    subprocess.run([*how, "--out", whole], env=ENVIRONMENT, capture_output=True, timeout=120)
    chance = random.Random(3)
    kills = 0
    for attempt in range(60):
        more = ["--resume"] if (stopped / "config.json").exists() else []
        process = subprocess.Popen([*how, "--out", str(stopped), *more], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        begin = (stopped / "metrics.jsonl").stat().st_mtime_ns if (stopped / "metrics.jsonl").exists() else 0
        end = time.monotonic() + (0.1 + 0.5 * chance.random() if kills < 6 else 100)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        if process.poll() is not None:
            check(process.returncode == 0, f"resume: {process.stderr.read().decode()}")
            break
        process.kill()
        process.wait()
        kills += 1
    check(kills > 0, "it was killed at least once")
    for file in ("model.int8.pth", "model.best.pth", "model.best.json", "model.last.pth"):
        check((whole / file).read_bytes() == (stopped / file).read_bytes(), f"{file} has the same bits after {kills} kills")


def refused(work, model):
    out = ("--out", work / "x")
    refuses(2, "init=FILE is missing", *TRAIN, "--quantize", "qat", *out)
    refuses(2, "quantize=none doesn't", *TRAIN, "--quantize-options", "learned=true", *out)
    refuses(2, "unknown option lerned", *TRAIN, "--init", model, "--quantize", "qat", "--quantize-options", "lerned=true", *out)
    refuses(2, "no layer has such a name", *TRAIN, "--init", model, "--quantize", "qat", "--quantize-options", "keep=fp32:layer9", *out)
    refuses(2, "no layer would be in int8", *TRAIN, "--init", model, "--quantize", "qat", "--quantize-options", "keep=fp32:*", *out)
    refuses(2, "there is no observer histo", *TRAIN, "--init", model, "--quantize", "qat", "--quantize-options", "observer=histo", *out)
    refuses(2, "trains one network", "distill", "--teacher", model, "--student", "resnet8:width=8", *DATA, "--init", model, "--quantize", "qat",
            "--generations", 2, *out)
    file = ("-o", work / "x.pth")
    refuses(2, "it is quantized already", "quantize", work / "int8.pth", *DATA, "--method", "qat", *file)
    refuses(2, "qat finds weights and ranges itself", "quantize", model, *DATA, "--method", "qat", "--equalize", *file)
    refuses(2, "epochs is of training", "quantize", model, *DATA, "--epochs", 2, *file)
    refuses(2, "goes with method=qat", "quantize", model, *DATA, "--quantize-options", "learned=true", *file)
    refuses(2, "data=NAME:PATH names some", "quantize", model, "--method", "qat", *file)
    refuses(2, "another run", "quantize", model, *DATA, "--method", "qat", "--epochs", 3, "-o", work / "int8.pth")


def main(work):
    done = run(*TRAIN, "--epochs", 4, "--out", work / "run")
    if done.returncode:
        return check(False, f"train: {done.stderr}")
    model = work / "run" / "model.best.pth"
    quantizes(work, model)
    learns_from_teachers(work, model)
    takes_normalisation(work, model)
    goes_on(work, model)
    refused(work, model)


with tempfile.TemporaryDirectory() as directory:
    main(Path(directory))
sys.exit(finish())
