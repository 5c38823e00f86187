"""ONNX from outside: a network is written as ONNX, and every command that takes a file of weights takes that. Needs only Python's own
modules; a published model joins in where its files are beside the project."""
import json
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from support.command import RETORT, check, finish, interrupt_when, refuses, run
from support.tensors import write_safetensors

CLASSES, SIDE = 4, 6
PIXELS = 3 * SIDE * SIDE
TENSORS = {"0.weight": ([5, PIXELS], [((i * 37) % 101 - 50) / 400 for i in range(5 * PIXELS)]), "0.bias": ([5], [0.5] * 5),
           "2.weight": ([CLASSES, 5], [((i * 7) % 11 - 5) / 10 for i in range(5 * CLASSES)]), "2.bias": ([CLASSES], [0.1] * 4)}
METADATA = {"model": "mlp", "options": "hidden=5", "classes": json.dumps(["ant", "bee", "cat", "dog"]), "mean": "0.5,0.5,0.5",
            "std": "0.25,0.25,0.25", "input": f"3x{SIDE}x{SIDE}"}
DATA = ("--data", "synthetic", "--data-options", f"shape=3,{SIDE},{SIDE} classes={CLASSES} images=40 test_images=60")


def write_npy(path, shape, values):
    text = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + struct.pack(f"<{len(values)}f", *values))


def logits(work, model):
    done = run("predict", model, "--npy", work / "x.npy", "--out", work / "y.npy")
    check(done.returncode == 0, f"predict {model}: {done.stderr}")
    return (work / "y.npy").read_bytes()[128:]


def check_network(work):
    source, out, again = work / "a.safetensors", work / "a.onnx", work / "b.onnx"
    write_safetensors(source, TENSORS, METADATA)
    write_npy(work / "x.npy", (3, 3, SIDE, SIDE), [((i * 13) % 29 - 14) / 7 for i in range(3 * PIXELS)])
    done = run("export", source, "-o", out, "--check")
    check(done.returncode == 0 and "4 nodes, 4 tensors; read back" in done.stdout, f"export: {done.stdout}{done.stderr}")
    seen = json.loads(run("export", out, "-o", again, "--check", "--opset", 20, "--json").stdout)
    check(seen["nodes"] == 4 and seen["difference"] == 0, f"export of an export: {seen}")
    expected = logits(work, source)
    check(len(expected) == 4 * 3 * CLASSES and logits(work, out) == expected == logits(work, again), "the same bits")
    told = [json.loads(run("eval", path, *DATA, "--json").stdout) for path in (source, out)]
    check(told[0]["loss"] == told[1]["loss"] and told[1]["model"] == "onnx" and
          [c["name"] for c in told[1]["classes"]] == [c["name"] for c in told[0]["classes"]], f"eval: {told[1]}")
    done = run("export", source, "-o", work / "bytes.onnx", "--preprocess", "--check")
    check(done.returncode == 0, f"export --preprocess: {done.stdout}{done.stderr}")
    of_bytes = json.loads(run("eval", work / "bytes.onnx", *DATA, "--json").stdout)
    check(abs(of_bytes["loss"] - told[0]["loss"]) < 1e-5, f"a network that takes bytes: {of_bytes}, {told[0]}")
    refuses(2, "takes bytes and normalises them itself: leave mean", "eval", work / "bytes.onnx", *DATA, "--mean", "0,0,0", "--std", "1,1,1")
    refuses(2, "takes bytes and normalises them itself: train", "train", "--model", work / "bytes.onnx", *DATA, "--out", work / "no")
    done = run("inspect", out)
    check(done.returncode == 0 and "linear" in done.stdout and "onnx, 4 tensors" in done.stdout, f"inspect: {done.stdout}")
    check(run("inspect", out, "--dot").stdout.startswith("digraph"), "inspect --dot")
    check(json.loads(run("inspect", out, "--json").stdout)["metadata"]["classes"] == METADATA["classes"], "metadata")
    done = run("bench", out, "--seconds", 0.05)
    check(done.returncode == 0, f"bench: {done.stderr}")
    done = run("export", out, "-o", work / "c.safetensors")
    check(done.returncode == 0 and "4 tensors" in done.stdout, f"its tensors in another form: {done.stdout}{done.stderr}")


def check_training(work):
    """It goes on with the file's weights, and ends as ONNX again; interrupted, it goes on to the same bits."""
    common = ("train", "--model", work / "t.onnx", *DATA, "--batch", 9, "--lr", 0.01, "--precision", "fp32", "--augment", "none")
    write_safetensors(work / "t.safetensors", TENSORS, {**METADATA, "model": "mlp"})
    run("export", work / "t.safetensors", "-o", work / "t.onnx")
    done = run(*common, "--epochs", 2, "--out", work / "whole")
    check(done.returncode == 0 and done.stdout.strip().endswith("whole/model.best.onnx"), f"train: {done.stdout}{done.stderr}")
    done = run("verify", work / "whole/model.best.onnx", "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["images"] == 4, f"verify: {done.stdout}{done.stderr}")
    told = json.loads(run("inspect", work / "whole/model.last.onnx", "--json").stdout)
    check([t["name"] for t in told["tensors"]] == sorted(TENSORS) or len(told["tensors"]) == 4, f"names: {told['tensors']}")
    check(told["metadata"]["data"] == "synthetic" and "classes" in told["metadata"], f"metadata: {told['metadata']}")
    check(json.loads(run("eval", work / "whole/model.last.onnx", *DATA, "--json").stdout)["images"] == 60, "eval of what was trained")
    done = run("distill", "--teacher", work / "t.onnx", "--model", work / "t.onnx", *DATA, "--epochs", 1, "--batch", 9, "--lr", 0.001,
               "--precision", "fp32", "--loss", "kd:temperature=2", "--out", work / "distilled")
    check(done.returncode == 0 and (work / "distilled/model.best.onnx").exists(), f"distill: {done.stdout}{done.stderr}")
    check(run("verify", work / "distilled/model.best.onnx").returncode == 0, "what was distilled carries test vectors")
    write_npy(work / "x.npy", (3, 3, SIDE, SIDE), [((i * 13) % 29 - 14) / 7 for i in range(3 * PIXELS)])
    done = run("verify", work / "t.onnx")
    check(done.returncode == 2 and "carries no images" in done.stderr, f"one that wasn't trained has none: {done.stderr}")
    refuses(2, "synthetic are 3x8x8", "train", "--model", work / "t.onnx", "--data", "synthetic", "--data-options",
            "shape=3,8,8 classes=4 images=40")
    refuses(2, "synthetic has 5 classes", "train", "--model", work / "t.onnx", "--data", "synthetic", "--data-options",
            f"shape=3,{SIDE},{SIDE} classes=5 images=40")


def check_folded(work):
    """Convolutions whose batch norms are folded: they get new ones, losses compare them by the names of nodes and of tensors, and a run
    that was interrupted ends with the same file."""
    data = ("--data", "synthetic", "--data-options", "shape=3,8,8 classes=4 images=60 test_images=20", "--batch", 10, "--precision", "fp32",
            "--augment", "none", "--lr", 0.01)
    run("train", "--model", "resnet8:width=4", *data, "--epochs", 1, "--out", work / "norms")
    run("quantize", work / "norms/model.last.pth", *data[:4], "--quiet", "-o", work / "norms/int8.pth")
    run("export", work / "norms/int8.pth", "--dequantize", "-o", work / "folded.safetensors")
    done = run("export", work / "folded.safetensors", "-o", work / "folded.onnx", "--check")
    check(done.returncode == 0, f"a folded network: {done.stdout}{done.stderr}")
    line = ("train", "--model", work / "folded.onnx", *data, "--epochs", 40, "--reinsert-batchnorm")
    done = run(*line, "--out", work / "straight")
    check(done.returncode == 0 and "new batch norms behind 7 convolutions" in done.stdout + done.stderr, f"train: {done.stdout}{done.stderr}")
    process = subprocess.Popen([RETORT, *map(str, line), "--out", str(work / "broken")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    status = interrupt_when(process, work / "broken/metrics.jsonl", lambda text: text.count('"event":"epoch"') > 2, signal.SIGINT)
    check(status == 130, f"interrupted: exit status 130, is {status}")
    done = run("train", "--resume", "--out", work / "broken")
    same = all((work / "straight" / f).read_bytes() == (work / "broken" / f).read_bytes() for f in ("model.best.onnx", "model.last.onnx"))
    check(done.returncode == 0 and same, f"resumed: the same files {done.stderr}")
    check(run("verify", work / "broken/model.last.onnx").returncode == 0, "its test vectors")
    teacher = work / "norms/teacher.onnx"
    run("export", work / "norms/model.last.pth", "-o", teacher)
    done = run("train", "--model", "resnet8:width=4", *data, "--epochs", 1, "--init", teacher, "--out", work / "from_onnx")
    check(done.returncode == 0, f"weights of a model of the table from ONNX: {done.stdout}{done.stderr}")
    told = json.loads(run("inspect", teacher, "--json").stdout)
    names = [layer["name"] for layer in told["layers"]]
    check("layer2.0.conv1" in names, f"nodes of the teacher: {names}")
    for layers in ("layer2.0.conv1", "layer1:layer1", "layer1.0.conv1:layer1.0.bn1"):
        done = run("distill", "--teacher", teacher, "--model", work / "folded.onnx", *data, "--epochs", 1, "--loss", "cross_entropy", "--loss",
                   f"hint:weight=0.1,layers={layers}", "--out", work / layers.replace(":", "-"))
        check(done.returncode == 0, f"layers={layers}: {done.stdout}{done.stderr}")
    refuses(2, "has no layer layer2.0.conv9", "distill", "--teacher", teacher, "--model", work / "folded.onnx", *data, "--epochs", 1, "--loss",
            "hint:layers=layer2.0.conv9", "--out", work / "none")


def check_int8(work):
    """From ONNX into ONNX: as QDQ on the int8 kernels, with test vectors; written again it is the same network."""
    out, again = work / "int8.onnx", work / "int8_again.onnx"
    done = run("quantize", work / "a.onnx", *DATA, "-o", out, "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["int8"] == 2, f"quantize: {done.stdout}{done.stderr}")
    done = run("verify", out, "--json")
    check(done.returncode == 0 and json.loads(done.stdout)["images"] == 4, f"verify: {done.stdout}{done.stderr}")
    done = run("export", out, "-o", again, "--check")
    check(done.returncode == 0 and logits(work, again) == logits(work, out), f"written again: {done.stdout}{done.stderr}")
    check(logits(work, out) != logits(work, work / "a.onnx"), "int8 rounds")
    check(run("verify", again).returncode == 0, "test vectors come along")
    refuses(2, "write NAME.onnx, not", "quantize", work / "a.onnx", *DATA, "-o", work / "int8.pth")
    refuses(2, "it is quantized already", "quantize", out, *DATA, "-o", again)
    refuses(2, "only floating ones are trained", "train", "--model", out, *DATA, "--epochs", 1, "--out", work / "no")
    refuses(2, "has no convolution without a batch norm", "train", "--model", work / "a.onnx", *DATA, "--epochs", 1,
            "--reinsert-batchnorm", "--out", work / "no")
    refuses(2, "is for students from .onnx files", "train", "--model", "mlp", *DATA, "--epochs", 1, "--reinsert-batchnorm")


def check_recipe(work):
    """Stages whose student came as ONNX make ONNX."""
    (work / "recipe.yaml").write_text(f"""name: onnx
data: {{name: synthetic, options: "shape=3,{SIDE},{SIDE} classes={CLASSES} images=40 test_images=60", batch: 9}}
stages:
  - train: {{as: student, model: {work}/a.onnx, epochs: 1, lr: 0.01}}
  - quantize: {{as: small, from: student}}
""")
    done = run("run", work / "recipe.yaml", "--out", work / "recipe")
    check(done.returncode == 0, f"recipe: {done.stdout}{done.stderr}")
    check((work / "recipe/student.onnx").exists() and run("verify", work / "recipe/small.onnx").returncode == 0, "its models")
    macs = [json.loads((work / f"recipe/records/{name}.json").read_text())["result"]["macs"] for name in ("student", "small")]
    check(macs == [5 * PIXELS + 5 * CLASSES] * 2, f"multiply-adds of both: {macs}")


def check_drawing(work):
    done = run("inspect", work / "a.onnx", "--svg", work / "a.svg")
    if shutil.which("dot"):
        check(done.returncode == 0 and "</svg>" in (work / "a.svg").read_text(), f"inspect --svg: {done.stderr}")
    else:
        check(done.returncode == 1 and "dot, which isn't installed" in done.stderr, f"without dot: {done.stderr}")


def check_refusals(work):
    bad = work / "cut.onnx"
    bad.write_bytes((work / "a.onnx").read_bytes()[:-20])
    refuses(2, "cut.onnx: it is cut short or damaged", "eval", bad, *DATA)
    refuses(2, "none of the table can be laid over it", "eval", work / "a.onnx", *DATA, "--model", "mlp")
    refuses(2, "these images are 1x6x6", "predict", work / "a.onnx", "--npy", work / "one.npy", "--out", work / "y.npy")
    refuses(2, "opset 12: 13 to 21", "export", work / "a.onnx", "-o", work / "d.onnx", "--opset", 12)
    refuses(2, "go with -o NAME.onnx", "export", work / "a.onnx", "-o", work / "d.pth", "--check")
    refuses(2, "which model its weights are of", "export", work / "c.npz", "-o", work / "d.onnx")


def check_published(work):
    model = Path("../shared/data/onnx/mnist-8.onnx")
    if not model.exists():
        return
    write_npy(work / "digit.npy", (2, 1, 28, 28), [float(i % 5) for i in range(2 * 784)])
    done = run("predict", model, "--npy", work / "digit.npy", "--out", work / "y.npy")
    check(done.returncode == 0 and len((work / "y.npy").read_bytes()) == 128 + 80, f"mnist-8: {done.stderr}")
    done = run("export", model, "-o", work / "mnist.onnx", "--check")
    check(done.returncode == 0, f"mnist-8: {done.stdout}{done.stderr}")


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        check_network(work)
        write_npy(work / "one.npy", (1, 1, SIDE, SIDE), [0.0] * SIDE * SIDE)
        run("export", work / "c.safetensors", "-o", work / "c.npz")
        check_int8(work)
        check_drawing(work)
        check_recipe(work)
        check_refusals(work)
        check_published(work)
        check_training(work)
        check_folded(work)
    sys.exit(finish())


if __name__ == "__main__":
    main()
