"""int8 files in PyTorch: torch.load(weights_only=True) takes them, and weight·weight_scale is the folded float weight, rounded."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch_models

RETORT = os.environ.get("RETORT", "build/release/retort")
DATA = ["--data", "synthetic", "--data-options", "shape=3,12,12 classes=4 images=160 test_images=40"]


def run(*arguments):
    done = subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"retort {' '.join(map(str, arguments))}: {done.stderr}")


def folded(state, conv, norm):
    r = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + 1e-5).sqrt()
    weight = state[f"{conv}.weight"].double() * r.reshape(-1, 1, 1, 1)
    return weight, state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * r


def folded_model():
    """A resnet8 whose convolutions have a bias, and whose norms are gone."""
    model = torch_models.make("resnet8", classes=4)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.Identity())
            elif isinstance(child, torch.nn.Conv2d):
                setattr(module, name, torch.nn.Conv2d(child.in_channels, child.out_channels, child.kernel_size,
                                                      child.stride, child.padding))
    return model.eval()


def check_dequantized(work, int8):
    """The weights load strictly in the folded model, which says what retort says of them, and nearly what int8 says."""
    run("export", work / "int8.pth", "--dequantize", "-o", work / "float.pth")
    model = folded_model()
    state = torch.load(work / "float.pth", weights_only=True)
    model.load_state_dict(state, strict=True)
    for name, w in state.items():
        q = int8[name]
        if q.dtype == torch.int8:
            q = q.float() * int8[f"{name}_scale"].reshape(-1, *[1] * (q.dim() - 1))
        assert torch.equal(w, q), name
    logits = model(int8["verify.images"])
    off = (logits - int8["verify.logits"]).norm() / logits.norm()
    assert 0 < off < 0.1, off


@torch.no_grad()
def main(work):
    run("train", "--model", "resnet8", *DATA, "--epochs", 1, "--batch", 32, "--precision", "fp32", "--out", work / "run", "--quiet")
    floating = torch.load(work / "run" / "model.best.pth", weights_only=True)
    layers = 0
    for target in ("vnni", "qnnpack"):
        run("quantize", work / "run" / "model.best.pth", *DATA, "--target", target, "--images", 64, "-o", work / "int8.pth", "--quiet")
        int8 = torch.load(work / "int8.pth", weights_only=True)
        record = {n["node"]: n for n in json.loads(zip_member(work / "int8.pth"))["nodes"]}
        for name, q in int8.items():
            if not name.endswith(".weight") or q.dtype != torch.int8:
                continue
            node = name.removesuffix(".weight")
            norm = node.replace("conv", "bn")
            weight, bias = folded(floating, node, norm) if f"{norm}.running_var" in floating else (
                floating[name].double(), floating[f"{node}.bias"].double())
            scale = int8[f"{node}.weight_scale"].double().reshape(-1, *[1] * (q.dim() - 1))
            most = weight.abs().amax() if target == "qnnpack" else weight.abs().flatten(1).amax(1)
            assert torch.allclose(scale.flatten(), (most / 127).expand(len(q)), rtol=1e-5), name
            off = ((q.double() * scale - weight).abs() / scale).max()
            assert off <= 0.5 + 1e-3, f"{name} is {off} steps off"
            assert torch.allclose(int8[f"{node}.bias"].double(), bias, atol=1e-5), f"{node}.bias"
            assert abs(int8[f"{node}.out_scale"].item() - record[node]["scale"]) < 1e-9, f"{node}.out_scale"
            layers += 1
        check_dequantized(work, int8)
    assert layers == 16, layers
    print(f"{layers} layers agree")


def zip_member(path):
    import zipfile
    with zipfile.ZipFile(path) as archive:
        name, = [n for n in archive.namelist() if n.endswith("retort.json")]
        return json.loads(archive.read(name))["quantization"]


with tempfile.TemporaryDirectory() as directory:
    main(Path(directory))
