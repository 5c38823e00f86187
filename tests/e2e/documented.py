"""Every command of the README and the guide is run: on made-up images, for one epoch; long recipes without doing them."""
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from command import RETORT, check, finish

ROOT = pathlib.Path(__file__).resolve().parents[2]
TMP = pathlib.Path(tempfile.mkdtemp())
IMAGES = {"cifar10:DIR": "3,32,32", "imagefolder:DIR": "3,32,32", "fashion-mnist": "1,28,28"}
REPLACED = {"resnet18": "resnet8", "resnet50:stem=imagenet": "resnet8", "dog.jpg": "dog.png", "3x32x32": "3x16x16"}
FASHION = subprocess.run([RETORT, "data", "check", "fashion-mnist"], capture_output=True).returncode == 0


def retort(*arguments):
    return subprocess.run([RETORT, *map(str, arguments)], cwd=TMP, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def png(path):
    rows = b"".join(b"\0" + bytes((x * y + c * 60) % 256 for x in range(40) for c in range(3)) for y in range(40))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) +
                     chunk(b"IEND", b""))


def npy(path, *shape):
    n = 1
    for d in shape:
        n *= d
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + struct.pack(f"<{n}f", *((i * 37 % 19) / 9 - 1 for i in range(n))))


def prepare():
    """Files that the commands name."""
    for name in ("cat.png", "dog.png"):
        png(TMP / name)
    npy(TMP / "x.npy", 2, 3, 32, 32)
    npy(TMP / "s.npy", 4, 10)
    npy(TMP / "t.npy", 4, 10)
    for name, model in (("resnet20", "resnet20"), ("resnet56", "resnet8")):
        done = retort("train", "--model", model, "--data", "synthetic", "--data-options", "images=100 test_images=20", "--epochs", "1", "--threads", "1",
                      "--out", f"made-{name}", "--quiet")
        check(done.returncode == 0, f"a file for the commands: {done.stderr[-300:]}")
        shutil.copy(TMP / f"made-{name}/model.best.pth", TMP / f"{name}.pth")
    for copy in ("a.pth", "b.pth", "imagenet.pth", "resnet56.th"):
        shutil.copy(TMP / "resnet56.pth", TMP / copy)
    shutil.copy(TMP / "resnet20.pth", TMP / "resnet20.th")
    done = retort("export", "resnet56.pth", "-o", "small.onnx")
    check(done.returncode == 0, f"small.onnx: {done.stderr}")
    shutil.copytree(ROOT / "recipes", TMP / "recipes")


def adapt(words):
    words = [REPLACED.get(w, w) for w in words]
    command, data = words[0], [i for i, w in enumerate(words) if w == "--data"]
    for i in reversed(data):
        words[i + 1:i + 2] = ["synthetic", "--data-options", f"images=100 test_images=20 shape={IMAGES[words[i + 1]]}"]
    if command in ("train", "distill") and "--resume" not in words:
        if "--epochs" in words:
            del words[words.index("--epochs"):words.index("--epochs") + 2]
        words += ["--epochs", "1", "--threads", "1", "--quiet"]
    if command == "quantize" and data:
        words += ["--images", "40"] + (["--analyze-images", "10"] if "--analyze" in words else [])
    if command == "bench":
        words += ["--seconds", "0"]
    if command == "run":
        words = ["data=synthetic" if w.startswith("data.path=") else w for w in words]
    return words


def commands(text):
    for line in re.findall(r"^    retort (.*)$", text, re.M):
        line = re.sub(r"\s+#.*$", "", line)
        if "…" not in line and "COMMAND" not in line:
            yield shlex.split(line)


prepare()
count = 0
for document in ("README.md", "docs/guide.md"):
    text = (ROOT / document).read_text()
    for words in commands(text):
        if (words[0] == "run" or words[:2] == ["data", "check"]) and not FASHION:
            continue
        if "runs/second" in words:
            shutil.copytree(TMP / "runs/first", TMP / "runs/second")
        done = retort(*adapt(words))
        check(done.returncode == 0, f"{document}: retort {' '.join(words)}\n  as {' '.join(adapt(words))}\n  {done.stderr.strip()[-400:]}")
        count += 1
check(count > 40, f"commands were found: {count}")

# The recipe in the README, and what the documents point to.
recipe = re.search(r"^    name: small\n(?:    .*\n)+", (ROOT / "README.md").read_text(), re.M)[0]
(TMP / "small.yaml").write_text(re.sub(r"^    ", "", recipe, flags=re.M))
if FASHION:
    done = retort("run", "small.yaml", "--dry-run")
    check(done.returncode == 0, f"the README's recipe: {done.stderr}")
for document in ("README.md", "docs/guide.md", "docs/teachers.md"):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
        check(((ROOT / document).parent / target).exists(), f"{document} points to {target}")

shutil.rmtree(TMP)
sys.exit(finish())
