"""eval and predict beside PyTorch: published checkpoints on CIFAR-10, logits of arrays, probabilities of images.

The checkpoints and the test set are read from ../shared/data beside the source tree; without them that part is left out, and
the test is skipped (77) if nothing else fails.

    python tests/referee/test_evaluate.py
"""
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torch_models

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("RETORT_SHARED", ROOT.parent / "shared" / "data"))
CIFAR = ROOT / "build" / "cifar10"
RETORT = os.environ.get("RETORT", str(ROOT / "build/release/retort"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CORRECT = {"resnet20": 9173, "resnet32": 9263, "resnet56": 9339}  # of 10,000, by PyTorch in fp32
failed = 0


def expect(good, what):
    global failed
    print("  ok     " if good else "  FAILED ", what, flush=True)
    failed += not good


def run(*arguments):
    done = subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        expect(False, f"{' '.join(map(str, arguments))}: {done.stderr}")
        sys.exit(1)
    return done.stdout


def numbers(values):
    return ",".join(f"{v:.9g}" for v in values)


# ---- files that say what they hold ----


def write_safetensors(path, state, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, t in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        raw = t.detach().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def lively(model, seed):
    rng = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5, generator=rng)
            m.bias.data.normal_(0, 0.3, generator=rng)
            m.running_mean.normal_(0, 0.1, generator=rng)
            m.running_var.uniform_(0.5, 1.5, generator=rng)
    return model.eval()


def check_arrays(work):
    torch.manual_seed(1)
    for name, classes in (("resnet20", 10), ("wrn_16_2", 7), ("vgg8", 100)):
        model = lively(torch_models.make(name, classes), 2)
        torch.save(model.state_dict(), work / f"{name}.pth")
        x = torch.randn(13, 3, 32, 32)
        np.save(work / "x.npy", x.numpy())
        with torch.no_grad():
            should = model.double()(x.double()).numpy()
        run("predict", work / f"{name}.pth", "--model", f"{name}:classes={classes}", "--npy", work / "x.npy", "--out",
            work / "y.npy", "--batch", 5)
        y = np.load(work / "y.npy")
        error = np.abs(y - should).max() / np.abs(should).max() if y.shape == should.shape else np.inf
        expect(error < 1e-4 and y.dtype == np.float32, f"predict --npy: {name}, {y.shape}: {error:.1e} of the largest logit")


def check_images(work):
    try:
        from PIL import Image
    except ImportError:
        print("  Pillow is not installed: images left out")
        return
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    names = [f"kind {i}" for i in range(7)]
    for resize, filter, shorter in (("", Image.BILINEAR, 32), ("40 bicubic", Image.BICUBIC, 40)):
        model = lively(torch_models.make("resnet8", 7), 4)
        metadata = {"model": "resnet8", "classes": json.dumps(names), "mean": numbers(MEAN), "std": numbers(STD),
                    "input": "3x32x32", **({"resize": resize} if resize else {})}
        write_safetensors(work / "told.safetensors", model.state_dict(), metadata)
        paths = []
        for i, (h, w) in enumerate(((50, 70), (33, 32), (200, 90))):
            rough = rng.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3), dtype=np.uint8)
            paths.append(work / f"{i}.png")
            Image.fromarray(rough).resize((w, h), Image.BICUBIC).save(paths[-1])
        seen = json.loads(run("predict", work / "told.safetensors", *paths, "--json", "--top", 7))["predictions"]
        for path, prediction in zip(paths, seen):
            image = Image.open(path)
            w, h = image.size
            size = (shorter, int(shorter * h / w)) if w <= h else (int(shorter * w / h), shorter)
            image = image.resize(size, filter)
            left, top = round((size[0] - 32) / 2), round((size[1] - 32) / 2)
            x = torch.tensor(np.asarray(image.crop((left, top, left + 32, top + 32))) / 255.0)
            x = ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
            with torch.no_grad():
                p = F.softmax(model.double()(x.double()), 1)[0].numpy()
            order = [t["class"] for t in prediction["top"]]
            error = max(abs(t["probability"] - p[t["class"]]) for t in prediction["top"])
            expect(error < 1e-4 and sorted(order) == list(range(7)) and (np.diff(p[order]) <= 1e-4).all() and
                   prediction["top"][0]["name"] == names[order[0]] and prediction["image"] == str(path),
                   f"predict {path.name} {resize or 'to fit'}: probabilities within {error:.1e}")


# ---- published checkpoints ----


def unpack():
    CIFAR.mkdir(parents=True, exist_ok=True)
    for packed in sorted((SHARED / "cifar10").glob("*.bin.xz")):
        target = CIFAR / packed.stem
        if not target.exists():
            with lzma.open(packed) as source, open(f"{target}.part", "wb") as out:
                shutil.copyfileobj(source, out)
            os.rename(f"{target}.part", target)


def check_checkpoint(path):
    name = path.name.split("-")[0]
    for precision, slack in (("fp32", 2), ("bf16", 20))[:2 if name == "resnet20" else 1]:
        seen = json.loads(run("eval", path, "--model", name, "--data", f"cifar10:{CIFAR}", "--mean", numbers(MEAN), "--std",
                              numbers(STD), "--precision", precision, "--json"))
        correct = sum(row[i] for i, row in enumerate(seen["confusion"]))
        expect(abs(seen["correct"] - CORRECT[name]) <= slack and seen["images"] == 10000 and correct == seen["correct"],
               f"{name} in {precision}: {seen['correct']} correct, PyTorch {CORRECT[name]}; loss {seen['loss']:.4f}, "
               f"calibration error {seen['ece']:.4f}")


def first_images(path):
    """PyTorch's logits of 1,000 test images, and its input."""
    raw = np.fromfile(CIFAR / "test_batch.bin", np.uint8, 1000 * 3073).reshape(1000, 3073)
    x = torch.tensor(raw[:, 1:].reshape(-1, 3, 32, 32) / 255.0)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    state = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    model = torch_models.make("resnet20").eval()
    model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    with torch.no_grad():
        return model(x.float()).numpy(), x.float().numpy()


def check_published(work):
    paths = sorted((SHARED / "checkpoints").glob("resnet*.th"))
    if not paths or not (SHARED / "cifar10").is_dir():
        print(f"  {SHARED} has no checkpoints or no CIFAR-10: left out")
        return False
    unpack()
    logits, x = first_images(paths[0])
    np.save(work / "x.npy", x)
    run("predict", paths[0], "--model", "resnet20", "--npy", work / "x.npy", "--out", work / "y.npy")
    error = np.abs(np.load(work / "y.npy") - logits).max()
    expect(error < 1e-4 * np.abs(logits).max(), f"{paths[0].name}: logits of 1,000 test images within {error:.1e}")
    for path in paths:
        check_checkpoint(path)
    return True


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        check_arrays(work)
        check_images(work)
        complete = check_published(work)
    print(f"{'FAILED' if failed else 'passed'}: eval and predict beside PyTorch")
    return 1 if failed else 0 if complete else 77


sys.exit(main())
