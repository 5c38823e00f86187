"""Training from outside: it learns, says what it does, stops and goes on to the same bits, and fails in sentences."""
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from support.command import RETORT, check, check_sentence, finish, interrupt_when

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
SMALL = ["train", "--model", "mlp:hidden=32", "--data", "synthetic", "--data-options", "shape=1,8,8 images=1280 noise=24", "--batch", "32",
         "--lr", "0.05"]
NETWORK = ["train", "--model", "resnet8:width=8", "--data", "synthetic", "--data-options", "shape=1,12,12 images=3200 test_images=100",
           "--batch", "32", "--augment", "crop=1 flip", "--ema", "0.95", "--epochs", "4", "--checkpoint-steps", "11"]


def run(*arguments, **how):
    return subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=ENVIRONMENT, **how)


def refuses(status, culprit, *arguments, **how):
    done = run(*arguments, **how)
    what = f"{' '.join(map(str, arguments))}: "
    check(done.returncode == status, what + f"exit status {status}, is {done.returncode}")
    check_sentence(done, culprit, what)
    return done


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def timeless(path):
    """metrics.jsonl without what depends on the clock, the place and how often the run was stopped."""
    vague = ("seconds", "images_per_second", "directory")
    return [{k: v for k, v in line.items() if k not in vague} for line in lines(path) if line["event"] not in ("begin", "resume")]


def same_weights(a, b):
    return all((a / f).read_bytes() == (b / f).read_bytes() for f in ("model.best.pth", "model.last.pth"))


def learns(work):
    done = run(*SMALL, "--epochs", "3", "--out", work / "a")
    check(done.returncode == 0, f"train: {done.stderr}")
    check(done.stderr == "", "no bar in a pipe")
    text = done.stdout.splitlines()
    check(len(text) == 6 and text[1].startswith("epoch 1/3: loss ") and "test accuracy" in text[4] and
          text[5] == f"{work / 'a'}/model.best.pth", f"plain lines: {done.stdout}")
    log = lines(work / "a" / "metrics.jsonl")
    check({e["event"] for e in log} == {"begin", "epoch", "step", "end"}, f"events {log}")
    check(log[-1]["test"]["top1"] > 0.9 and log[-1]["test"]["images"] == 500, f"it learns: {log[-1]}")
    epochs = [e for e in log if e["event"] == "epoch"]
    check(epochs[0]["validation"]["images"] == 128 and epochs[2]["loss"] < epochs[0]["loss"], "the loss goes down")
    best = max(epochs, key=lambda e: (e["validation"]["correct"], -e["validation"]["loss"]))
    check(log[-1]["best_epoch"] == best["epoch"], "the best epoch is the best by validation")
    config = json.loads((work / "a" / "config.json").read_text())["settings"]
    check(config["optimizer"] == "sgd", "SGD where a learning rate is given")
    check(config["epochs"] == "3" and config["weight_decay"] == "0.0005" and config["model"] == "mlp:hidden=32", f"config {config}")
    check(sorted(p.name.split(".")[0] for p in (work / "a").iterdir()) ==
          ["checkpoint", "config", "events", "metrics", "model", "model"], "files of a run")

    done = run(*SMALL[:-2], "--epochs", "1", "--out", work / "muon")
    config = json.loads((work / "muon" / "config.json").read_text())["settings"]
    check((config["optimizer"], config["lr"], config["weight_decay"]) == ("muon", "0.01", "0.05"), f"Muon where none is: {config}")

    done = run(*SMALL, "--epochs", "1", "--quiet", cwd=work)
    check(done.stdout.splitlines()[-1] == "runs/mlp-synthetic-1/model.best.pth", "a directory is numbered")
    done = run(*SMALL, "--epochs", "1", "--json", cwd=work)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    check(events == lines(work / "runs/mlp-synthetic-2/metrics.jsonl"), "--json tells the lines of metrics.jsonl")

    done = run("train", "--model", "whitened_cnn:width=8", "--data", "synthetic", "--data-options", "shape=3,12,12 images=800", "--epochs", "2",
               "--batch", "40", "--augment", "crop=1 reflect=true alternate=true", "--optimizer", "muon", "--lr", "0.1", "--schedule", "linear",
               "--momentum", "0.85", "--weight-decay", "3e-6", "--label-smoothing", "0.2", "--tta", "flip+translate", "--optimizer-options",
               "normalize=true muon_momentum=0.6 muon_steps=3 muon_first=true decay=all rest=sgd rest_lr=30 bias_lr=0.079", "--json", cwd=work)
    check(json.loads(done.stdout.splitlines()[-1])["test"]["top1"] > 0.5, f"the fast recipe: {done.stdout}{done.stderr}")

    done = run(*SMALL, "--epochs", "2", "--validation", "0", "--out", work / "b")
    check((work / "b/model.best.pth").read_bytes() == (work / "b/model.last.pth").read_bytes(), "without validation the last is best")
    done = run(*SMALL, "--epochs", "50", "--lr", "0.1", "--patience", "2", "--json", "--out", work / "c")
    end = json.loads(done.stdout.splitlines()[-1])
    check(end["stopped_early"] and end["epochs"] == end["best_epoch"] + 3, f"patience: {end}")

    refuses(2, "there is a run already", *SMALL, "--out", work / "a")
    done = run(*SMALL, "--epochs", "1", "--init", work / "a/model.best.pth", "--lr", "0", "--out", work / "d", "--json")
    first = [json.loads(line) for line in done.stdout.splitlines()]
    check(first[-1]["validation"]["top1"] > 0.9, "weights from a file")
    other = [a if a != "mlp:hidden=32" else "mlp:hidden=32,16" for a in SMALL]
    refuses(2, "2.weight", *other, "--init", work / "a/model.best.pth", "--out", work / "e")
    done = run(*other, "--epochs", "1", "--init", work / "a/model.best.pth", "--allow-partial", "--out", work / "f")
    check(done.returncode == 0 and "note: " in done.stdout, f"what fits of a file: {done.stdout}{done.stderr}")


def start(*arguments):
    return subprocess.Popen([RETORT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def goes_on(work):
    whole = work / "whole"
    done = run(*NETWORK, "--out", whole)
    check(done.returncode == 0, f"undisturbed: {done.stderr}")

    stopped = work / "stopped"
    for i, which in enumerate((signal.SIGINT, signal.SIGTERM)):
        begin, marker = (NETWORK, '"event":"begin"') if i == 0 else (["train", "--resume"], '"event":"resume"')
        status = interrupt_when(start(*begin, "--out", stopped), stopped / "metrics.jsonl",
                                lambda text, marker=marker: marker in text and '"event":"epoch"' in text.rpartition(marker)[2], which)
        check(status == 130, f"signal {which}: exit status 130, is {status}")
    done = run("train", "--resume", "--recompute", "false", "--out", stopped)
    check(done.returncode == 0 and same_weights(whole, stopped), f"interrupted and resumed: the same weights {done.stderr}")
    check(timeless(whole / "metrics.jsonl") == timeless(stopped / "metrics.jsonl"), "and the same lines")
    done = run("train", "--resume", "--out", stopped)
    check(done.returncode == 0 and same_weights(whole, stopped), "a finished run can be resumed: nothing changes")
    refuses(2, "epochs=4, not 5", "train", "--resume", "--epochs", "5", "--out", stopped)
    refuses(2, "resume needs out", "train", "--resume")


def survives_kills(work):
    whole, killed = work / "whole", work / "killed"
    begin = time.monotonic()
    run(*NETWORK, "--out", work / "timed")
    most = time.monotonic() - begin
    chance = random.Random(7)
    kills = 0
    for _ in range(12):
        process = start(*NETWORK, "--resume", "--out", killed)
        try:
            process.communicate(timeout=chance.uniform(0.02, 0.6 * most))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
    done = run(*NETWORK, "--resume", "--out", killed)
    check(kills >= 2 and done.returncode == 0 and same_weights(whole, killed), f"killed {kills} times: the same weights {done.stderr}")
    check(timeless(whole / "metrics.jsonl") == timeless(killed / "metrics.jsonl"), "and the same lines")
    check(not list(killed.glob("*.tmp*")), "nothing half-made stays")


def fails_well(work):
    refuses(2, "did you mean --model", "train", "--modle", "mlp")
    refuses(2, "did you mean resnet", "train", "--model", "resnet81", "--data", "synthetic", cwd=work)
    refuses(2, "did you mean synthetic", "train", "--model", "mlp", "--data", "syntetic", cwd=work)
    refuses(2, "model is missing", "train", "--data", "synthetic")
    refuses(2, "epochs=0 is outside", *SMALL, "--epochs", "0", cwd=work)
    refuses(2, "lr=fast: expected auto", *SMALL, "--lr", "fast", cwd=work)
    refuses(2, "there is no schedule", *SMALL, "--schedule", "cosin", cwd=work)
    refuses(2, "sgd|adamw|muon", *SMALL, "--optimizer", "adam", cwd=work)
    refuses(2, "tells 7 classes apart", *SMALL, "--model", "mlp:classes=7", cwd=work)
    check(not (work / "runs/mlp-synthetic-3").exists(), "what is refused leaves no directory")
    refuses(1, "No such file", *SMALL, "--init", work / "none.pth", "--out", work / "g")
    refuses(1, "can't be made", *SMALL, "--out", "/proc/nowhere/x")
    if os.geteuid() != 0:
        (work / "locked").mkdir(mode=0o555)
        refuses(1, "Permission denied", *SMALL, "--out", work / "locked")

    done = refuses(1, "isn't finite is 2 (linear)", *SMALL, "--precision", "fp32", "--epochs", "2", "--lr", "1e25", "--out", work / "inf")
    check("step " in done.stderr and "cross_entropy" in done.stderr and "no checkpoint yet" in done.stderr, done.stderr)
    good = work / "then"
    refuses(1, "the last good checkpoint stays", *SMALL, "--epochs", "3", "--schedule", "step every=50% gamma=1e30",
            "--checkpoint-steps", "10", "--out", good)
    seen = json.loads(run("inspect", good / "checkpoint.safetensors", "--json").stdout)
    check(0 < int(seen["metadata"]["step"]) < 108, "the checkpoint is from before")
    check(run("inspect", good / "model.last.pth").returncode == 0, "and the model")

    # A disk that fills up: what was written before stays whole, and the run goes on once there is room.
    full = work / "full"
    process = start(*NETWORK, "--out", full)
    interrupt_when(process, full / "metrics.jsonl", lambda text: '"event":"epoch"' in text, signal.SIGINT)
    before = (full / "checkpoint.safetensors").read_bytes()
    done = subprocess.run(["bash", "-c", 'trap "" XFSZ; ulimit -f 8; "$@"', "-", RETORT, "train", "--resume", "--out", str(full)],
                          capture_output=True, text=True, env=ENVIRONMENT)
    check(done.returncode == 1 and "can't be written" in done.stderr, f"full disk: {done.stderr}")
    check((full / "checkpoint.safetensors").read_bytes() == before, "full disk: the old checkpoint stays")
    done = run("train", "--resume", "--out", full)
    check(done.returncode == 0 and same_weights(work / "whole", full), "with room again it goes on, to the same weights")
    (full / "checkpoint.safetensors").write_bytes(before[:-1000])
    refuses(2, "checkpoint.safetensors", "train", "--resume", "--out", full)
    (full / "config.json").write_text("{}")
    refuses(2, "has no settings", "train", "--resume", "--out", full)


def png(level):
    """An 8×8 grey image of one level with a corner in another."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes([255 - level] * 3 + [level] * 5 if y < 3 else [level] * 8) for y in range(8))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) +
            chunk(b"IEND", b""))


def vanishing_data(work):
    """A file of the data goes away: the run stops with what it reached, and goes on when the file is back."""
    images = work / "images"
    for i in range(3):
        (images / f"class {i}").mkdir(parents=True)
        for k in range(40):
            (images / f"class {i}" / f"{k}.png").write_bytes(png(40 * i + k))
    arguments = ["train", "--model", "mlp:hidden=8", "--data", f"imagefolder:{images}", "--data-options",
                 "size=8 shorter=8 channels=1 memory=0", "--augment", "none", "--batch", "16", "--lr", "0.01", "--epochs", "60"]
    check(run(*arguments, "--out", work / "there").returncode == 0, "a folder of images")
    gone, log = images / "class 1" / "7.png", work / "gone" / "metrics.jsonl"
    process = start(*arguments, "--out", work / "gone")
    while process.poll() is None and not (log.exists() and '"event":"epoch"' in log.read_text()):
        time.sleep(0.002)
    gone.rename(images / "away")
    error = process.communicate(timeout=60)[1]
    check(process.returncode == 1 and "7.png" in error and "resume" in error and error.count("\n") == 1, f"a vanished image: {error}")
    refuses(2, "began with other data", "train", "--resume", "--out", work / "gone")
    (images / "away").rename(gone)
    check(run("train", "--resume", "--out", work / "gone").returncode == 0 and same_weights(work / "there", work / "gone"),
          "with the image back the run goes on, to the same weights")


def arrays(work):
    """A NaN among the data: named by image. Kinds of data sets that have floats are NumPy's arrays."""
    if "npz" not in run("data", "list").stdout:
        return

    def npy(kind, shape, data):
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
        header += " " * (-(len(header) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data

    chance = random.Random(3)
    x = [chance.gauss(0, 1) for _ in range(200 * 16)]
    x[77 * 16 + 5] = float("nan")
    with zipfile.ZipFile(work / "nan.npz", "w") as z:
        z.writestr("X.npy", npy("<f4", (200, 1, 4, 4), struct.pack("<3200f", *x)))
        z.writestr("y.npy", npy("<i8", (200,), struct.pack("<200q", *(i % 3 for i in range(200)))))
    refuses(2, "image 77 of npz", "train", "--model", "mlp", "--data", f"npz:{work / 'nan.npz'}", "--data-options", "validation=0 test=0",
            "--batch", "32", "--out", work / "nan")


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        for part in (learns, goes_on, survives_kills, fails_well, vanishing_data, arrays):
            begin = time.monotonic()
            part(work)
            print(f"{part.__name__}: {time.monotonic() - begin:.1f} s")
        shutil.rmtree(work / "runs")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
