"""eval and predict from outside, with networks written here: weights of zero, so that everything can be told by hand. Also
what strangers' metadata may say, completion and the man page. Needs only Python's own modules."""
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from support.command import RETORT, check, finish, refuses, run
from support.tensors import write_safetensors

SIDE, CLASSES = 8, 4
DATA = ("--data", "synthetic", "--data-options", f"shape=3,{SIDE},{SIDE} classes={CLASSES} images=40 test_images=60")


def write_png(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * 7 + y * 3) % 256 for x in range(3 * width)) for y in range(height))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_npy(path, shape):
    n = math.prod(shape)
    text = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + struct.pack(f"<{n}f", *[0.5] * n))


BIAS = [0.0, 1.0, 3.0, -1.0]  # class 2 is always taken, then 1, 0, 3
TENSORS = {"0.weight": ([5, 3 * SIDE * SIDE], [0.0] * (15 * SIDE * SIDE)), "0.bias": ([5], [0.0] * 5),
           "2.weight": ([CLASSES, 5], [0.0] * (5 * CLASSES)), "2.bias": ([CLASSES], BIAS)}
METADATA = {"model": "mlp", "options": "hidden=5", "classes": json.dumps(["ant", "bee", "cat", "dog"]), "mean": "0.5,0.5,0.5",
            "std": "0.25,0.25,0.25", "input": f"3x{SIDE}x{SIDE}"}
SHARE = [math.exp(b) / sum(map(math.exp, BIAS)) for b in BIAS]


def check_eval(work, told, bare):
    done = run("eval", told, *DATA, "--json")
    if done.returncode:
        return check(False, f"eval: {done.stderr}")
    seen = json.loads(done.stdout)
    images = [c["images"] for c in seen["classes"]]
    check(done.stderr == "", f"eval: {done.stderr}")
    check(seen["images"] == 60 == sum(images) and seen["correct"] == images[2], f"eval: {seen}")
    check(abs(seen["top1"] - images[2] / 60) < 1e-12 and seen["top5"] == 1, "eval: top1 and top5")
    check(abs(seen["loss"] + sum(n * math.log(p) for n, p in zip(images, SHARE)) / 60) < 1e-5, "eval: loss")
    check(abs(seen["ece"] - abs(images[2] / 60 - SHARE[2])) < 1e-5, "eval: calibration error")
    check([row[2] for row in seen["confusion"]] == images and seen["model"] == "mlp", "eval: confusion")
    done = run("eval", told, *DATA, "--per-class", "--split", "train", "--batch", 7)
    check(done.returncode == 0 and "train images of synthetic are right" in done.stdout and done.stdout.count("\n") == 5,
          f"eval --per-class: {done.stdout}{done.stderr}")
    done = run("eval", bare, *DATA, "--model", "mlp:hidden=5")
    check(done.returncode == 0 and "60 test images" in done.stdout and "doesn't say mean and std" in done.stderr,
          f"eval --model: {done.stdout}{done.stderr}")

    done = run("eval", told, *DATA, "--tta", "flip+translate", "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["correct"] == images[2], f"eval --tta: {done.stdout}{done.stderr}")

    refuses(2, "--data is missing", "eval", told)
    refuses(2, "--tta turn: expected none, flip or flip+translate", "eval", told, *DATA, "--tta", "turn")
    refuses(1, "No such file", "eval", work / "none.pth", *DATA)
    refuses(2, "of no known form", "eval", work / "a.png", *DATA)
    refuses(2, "name one, as in --model", "eval", bare, *DATA)
    refuses(2, "there is no model mlpp (did you mean mlp?)", "eval", bare, *DATA, "--model", "mlpp")
    refuses(2, "there is no model transformer; there are mlp, resnet18, ", "eval", bare, *DATA, "--model", "transformer")
    refuses(2, "there is no data set", "eval", told, "--data", "cifar11")
    refuses(2, "--split tset: expected train, validation or test", "eval", told, *DATA, "--split", "tset")
    refuses(2, "--precision fp8: expected auto, fp32 or bf16", "eval", told, *DATA, "--precision", "fp8")
    refuses(2, "--kernels x: expected auto, direct or reference", "eval", told, *DATA, "--kernels", "x")
    refuses(2, "--batch 0", "eval", told, *DATA, "--batch", 0)
    refuses(2, "tells 4 classes apart, and synthetic has 6", "eval", told, "--data", "synthetic", "--data-options",
            f"shape=3,{SIDE},{SIDE} classes=6")
    refuses(2, "takes images of 3 channels, and these have 1", "eval", told, "--data", "synthetic", "--data-options",
            f"shape=1,{SIDE},{SIDE} classes=4")
    refuses(2, "2.weight", "eval", bare, *DATA, "--model", "mlp:hidden=5 classes=3")
    refuses(2, "missing: 4.weight, 4.bias", "eval", bare, *DATA, "--model", "mlp:hidden=5,5")
    refuses(2, "there is a mean without a std", "eval", bare, *DATA, "--model", "mlp:hidden=5", "--mean", "1,1,1")
    refuses(2, "mean=1,x,1: expected 3 numbers", "eval", told, *DATA, "--mean", "1,x,1")
    refuses(2, "std=1,0,1: expected numbers above 0", "eval", told, *DATA, "--std", "1,0,1")

    renamed = {f"body.{k}": v for k, v in TENSORS.items()}
    write_safetensors(work / "renamed.safetensors", renamed, METADATA)
    refuses(2, "unexpected", "eval", work / "renamed.safetensors", *DATA)
    done = run("eval", work / "renamed.safetensors", *DATA, "--rename", "body.0=0", "--rename", "body.2=2", "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["correct"] == images[2], f"eval --rename: {done.stderr}")
    write_safetensors(work / "part.safetensors", {**TENSORS, "2.bias": ([3], BIAS[:3])}, METADATA)
    refuses(2, "mismatched: 2.bias (f32[3] in the file, f32[4] here)", "eval", work / "part.safetensors", *DATA)
    done = run("eval", work / "part.safetensors", *DATA, "--allow-partial")
    check(done.returncode == 0 and "3 tensors loaded; mismatched: 2.bias" in done.stderr, f"--allow-partial: {done.stderr}")
    write_safetensors(work / "nan.safetensors", {**TENSORS, "2.bias": ([4], [0, math.nan, 0, 0])}, METADATA)
    refuses(2, "have diverged or are damaged", "eval", work / "nan.safetensors", *DATA)


def check_folder(work):
    """A folder's images are scaled and cut as the file says, unless told otherwise."""
    for kind in ("ant", "bee", "cat", "dog"):
        (work / "folder" / kind).mkdir(parents=True)
        for i in range(3):
            write_png(work / "folder" / kind / f"{i}.png", 20 + i, 12)
    write_safetensors(work / "fitted.safetensors", TENSORS, {**METADATA, "resize": f"{SIDE} bicubic"})
    folder = ("--data", f"imagefolder:{work / 'folder'}", "--data-options")
    done = run("eval", work / "fitted.safetensors", *folder, "test=1", "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["images"] == 12 and json.loads(done.stdout)["correct"] == 3,
          f"eval of a folder: {done.stderr}")
    refuses(2, "0.weight", "eval", work / "fitted.safetensors", *folder, "test=1 size=9")
    for resize, culprit in (("x memory=0", "shorter=x"), ("8 nearest", "nearest"), ("8\tbicubic\tvalidation=2", None)):
        write_safetensors(work / "fitted.safetensors", TENSORS, {**METADATA, "resize": resize})
        refuses(2, culprit or "its metadata \"resize\" is no line", "eval", work / "fitted.safetensors", *folder, "test=1")


def check_predict(work, told, bare):
    image = work / "a.png"
    done = run("predict", told, image, image, "--json")
    seen = json.loads(done.stdout)["predictions"]
    check(done.returncode == 0 and len(seen) == 2 and [t["name"] for t in seen[0]["top"]] == ["cat", "bee", "ant", "dog"],
          f"predict: {done.stdout}{done.stderr}")
    check(all(abs(t["probability"] - SHARE[t["class"]]) < 1e-6 for t in seen[0]["top"]), "predict: probabilities")
    done = run("predict", told, image, "--top", 2)
    check(done.stdout == f"{image}\n  {100 * SHARE[2]:6.2f} %  cat\n  {100 * SHARE[1]:6.2f} %  bee\n",
          f"predict --top: {done.stdout}{done.stderr}")
    write_npy(work / "x.npy", (3, 3, SIDE, SIDE))
    done = run("predict", told, "--npy", work / "x.npy", "-o", work / "y.npy", "--batch", 2)
    out = (work / "y.npy").read_bytes() if done.returncode == 0 else b""
    check(b"(3, 4)" in out and struct.unpack("<12f", out[-48:]) == tuple(BIAS * 3), f"predict --npy: {done.stderr}")

    refuses(2, "give images, or --npy", "predict", told)
    refuses(2, "give images, or --npy", "predict", told, image, "--npy", work / "x.npy")
    refuses(2, "--out is missing", "predict", told, "--npy", work / "x.npy")
    refuses(2, "goes with --npy", "predict", told, image, "-o", work / "z.npy")
    refuses(2, "expected one array", "predict", told, "--npy", told, "-o", work / "z.npy")
    refuses(1, "No such file", "predict", told, work / "none.png")
    refuses(2, "told.safetensors: ", "predict", told, told)
    refuses(2, "give --mean and --std", "predict", bare, image, "--model", "mlp:hidden=5 classes=4", "--input",
            f"3x{SIDE}x{SIDE}")
    refuses(2, "--input 8x8: expected channels", "predict", told, image, "--input", "8x8")
    refuses(2, "the filter is bilinear or bicubic", "predict", told, image, "--resize", "8 nearest")
    refuses(2, "expected the shorter side", "predict", told, image, "--resize", "big")
    refuses(2, "--top 0", "predict", told, image, "--top", 0)


def check_inspect(told):
    done = run("inspect", told)
    check(done.returncode == 0 and done.stderr == "" and "mlp: 989 parameters" in done.stdout and "model: mlp" in done.stdout,
          f"inspect: {done.stdout}{done.stderr}")
    seen = json.loads(run("inspect", told, "--json").stdout)
    check(seen["parameters"] == 989 and len(seen["tensors"]) == 4 and seen["macs"] == 980, f"inspect --json: {seen}")


def check_metadata(work):
    """Whatever metadata say, the answer is one sentence."""
    absurd = [
        ("model", "x" * 5000, "its metadata \"model\" is no line"), ("model", "mlp\nevil", "its metadata \"model\" is no line"),
        ("model", "../../etc/passwd", "there is no model"), ("model", "%s%n%s%n", "there is no model %s%n%s%n"),
        ("options", "hidden=999999999999", "hidden"), ("options", "hidden=1000000000", "doesn't fit the model"),
        ("options", "hidden=5 classes=1000000000", "names 4 classes"), ("options", "depth=5", "depth"),
        ("options", "hidden=" + ",".join(["9"] * 100), "hidden"), ("options", "hidden=-5", "hidden"),
        ("classes", "[" * 100000, "no list of"), ("classes", "{}", "no list of"), ("classes", "[]", "no list of"),
        ("classes", json.dumps(["a"] * 70000), "no list of"), ("classes", json.dumps([["a"]] * 4), "element 0"),
        ("classes", json.dumps(["a", "b", "c", "\x1b[31m"]), "element 3"), ("classes", json.dumps(["a", "b"]), "2.bias (f32[4] in the file, f32[2] here)"),
        ("classes", "[1,2,3,4]", "element 0"), ("mean", "nan,0,0", "mean=nan"), ("mean", "1", "mean=1: expected 3"),
        ("std", "-1,1,1", "std=-1,1,1"), ("std", "1e99,1,1", "std=1e99"), ("std", "", "mean without a std"),
        ("input", "3x0x8", "its metadata \"input\""), ("input", "3x8", "its metadata \"input\""),
        ("input", "99999999999999999999x8x8", "its metadata \"input\""), ("resize", "-4", "expected the shorter side"),
        ("resize", "8 " + "x" * 500, "the filter is")]
    for key, value, culprit in absurd:
        write_safetensors(work / "absurd.safetensors", TENSORS, {**METADATA, key: value})
        refuses(2, culprit, "predict", work / "absurd.safetensors", work / "a.png")
        done = run("inspect", work / "absurd.safetensors")
        check(done.returncode == 0 and "4 tensors" in done.stdout, f"inspect shows the file all the same: {done.stderr}")
    write_safetensors(work / "wide.safetensors", TENSORS, {**METADATA, "input": "3x16000x16000"})
    refuses(2, "0.weight", "predict", work / "wide.safetensors", work / "a.png")


def complete(work, *words):
    line = " ".join(f"'{w}'" for w in words)
    script = f"source {work}/retort.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _retort; echo \"${{COMPREPLY[*]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    check(done.stderr == "", f"completion of {line}: {done.stderr}")
    return done.stdout.split()


def check_help(work):
    (work / "retort.bash").write_text(run("completion", "bash").stdout)
    check(subprocess.run(["bash", "-n", work / "retort.bash"]).returncode == 0, "completion: bash -n")
    check(complete(work, "retort", "ev") == ["eval"], "completion of a command")
    commands = complete(work, "retort", "")
    check({"eval", "predict", "data", "help"} <= set(commands), f"completion of nothing: {commands}")
    check(complete(work, "retort", "eval", "--prec") == ["--precision"], "completion of an option")
    check(complete(work, "retort", "eval", "--precision", "") == ["auto", "fp32", "bf16"], "completion of its values")
    check(complete(work, "retort", "eval", "--precision", "=", "b") == ["bf16"], "completion of --option=")
    check("resnet20" in complete(work, "retort", "eval", "--model", "resnet2"), "completion of a model")
    check(complete(work, "retort", "eval", "--data", "cifar10") == ["cifar10", "cifar100"], "completion of a data set")
    check(complete(work, "retort", "data", "pre") == ["preview"], "completion of an argument")
    check(complete(work, "retort", "data", "get", "fash") == ["fashion-mnist"], "completion of the second argument")
    check("resnet18" in complete(work, "retort", "inspect", "resnet1"), "completion of a model as argument")
    check(complete(work, "retort", "eval", "x") == [], "file names are left to the shell")
    for command in [c for c in commands if not c.startswith("-")]:
        told = run(command, "--help").stdout
        check(told == run("help", command).stdout and f"usage: retort {command}" in told, f"help {command}")
        check(all(len(line) <= 100 for line in told.splitlines()), f"help {command}: no line is longer than 100")
        flags = [line.split()[0] for line in told.splitlines() if line.startswith("  --")]
        check(complete(work, "retort", command, "--") == flags, f"completion offers what {command} --help lists")
    refuses(2, "no command evil", "help", "evil")
    refuses(2, "only for bash", "completion", "fish")
    page = run("help", "--man")
    (work / "retort.1").write_text(page.stdout)
    check(page.stdout.isascii() and ".SH \"EXIT STATUS\"" in page.stdout, "the man page is ASCII and complete")
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", work / "retort.1"], capture_output=True, text=True)
        check(done.returncode == 0 and done.stderr == "", f"groff -ww: {done.stderr[:300]}")
        check("--allow-partial" in re.sub(".\b", "", done.stdout), "the man page names the options")


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        told, bare = work / "told.safetensors", work / "bare.safetensors"
        write_safetensors(told, TENSORS, METADATA)
        write_safetensors(bare, TENSORS, None)
        write_png(work / "a.png", 20, 12)
        check_eval(work, told, bare)
        check_folder(work)
        check_predict(work, told, bare)
        check_inspect(told)
        check_metadata(work)
        check_help(work)
    return finish()


sys.exit(main())
