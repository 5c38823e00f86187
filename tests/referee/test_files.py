"""Files beside PyTorch, NumPy and an independent reader of safetensors.

What PyTorch writes (every dtype, shared and non-contiguous storages, nested dictionaries, both forms) is read to the last bit;
what we write loads with weights_only=True and load_state_dict(strict=True).

    RETORT=build/release/retort python tests/referee/test_files.py
"""
import collections
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

RETORT = os.environ.get("RETORT", "build/release/retort")
NAMES = {torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "s64",
         torch.int32: "s32", torch.int16: "s32", torch.int8: "s8", torch.uint8: "u8", torch.bool: "bool"}
DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


def retort(*arguments):
    return subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True)


def read_safetensors(path):
    """By the format's description: u64 length, JSON, data."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    metadata, tensors, end = header.pop("__metadata__", {}), {}, 0
    for name, item in header.items():
        begin, stop = item["data_offsets"]
        assert begin == end and stop <= len(data), name
        tensors[name] = torch.frombuffer(bytearray(data[begin:stop]), dtype=DTYPES[item["dtype"]]).reshape(item["shape"]) \
            if stop > begin else torch.empty(item["shape"], dtype=DTYPES[item["dtype"]])
        end = stop
    assert end == len(data) and (8 + length) % 8 == 0
    return tensors, metadata


def same(a, b):
    a = a.detach().contiguous()
    if a.dtype == torch.int16:
        a = a.int()
    return a.dtype == b.dtype and a.shape == b.shape and \
        a.reshape(-1).view(torch.uint8).equal(b.contiguous().reshape(-1).view(torch.uint8)) if a.numel() else a.shape == b.shape


def zoo():
    """One tensor of each kind that is easily got wrong."""
    g = torch.Generator().manual_seed(1)
    base = torch.randn(4, 6, generator=g)
    state = collections.OrderedDict()
    for dtype in NAMES:
        if dtype == torch.bool:
            state["dtype.bool"] = torch.rand(5, generator=g) > 0.5
        elif dtype.is_floating_point:
            state[f"dtype.{NAMES[dtype]}"] = torch.randn(3, 5, generator=g).to(dtype)
        else:
            state[f"dtype.{dtype}"] = torch.randint(0 if dtype == torch.uint8 else -100, 100, (7,), generator=g).to(dtype)
    state["special"] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    state["scalar"] = torch.tensor(3)
    state["empty"] = torch.empty(0, 3)
    state["one"] = torch.ones(1, 1, 1)
    state["whole"] = base
    state["transposed"] = base.t()
    state["column"] = base[:, 2]
    state["block"] = base[1:3, 2:5]
    state["steps"] = base[::2, ::3]
    state["tied"] = base
    state["expanded"] = torch.arange(3.0).expand(4, 3)
    state["channels_last"] = torch.randn(2, 3, 4, 5, generator=g).to(memory_format=torch.channels_last)
    state["parameter"] = torch.nn.Parameter(torch.randn(3, generator=g))
    state["rank8"] = torch.randn(1, 2, 1, 2, 1, 2, 1, 2, generator=g)
    return state


def check_reading(work, label, saved, expected, metadata=None, **how):
    path, out = work / "in.pt", work / "out.safetensors"
    torch.save(saved, path, **how)
    done = retort("inspect", path, "--json")
    expect(done.returncode == 0, f"{label}: inspect {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    expect([(t["name"], t["dtype"], t["shape"]) for t in seen["tensors"]] ==
           [(k, NAMES[v.dtype], list(v.shape)) for k, v in expected.items()], f"{label}: names, dtypes, shapes in order")
    for key, text in (metadata or {}).items():
        expect(seen["metadata"].get(key) == text, f"{label}: {key} = {text}")
    done = retort("export", path, "-o", out)
    tensors, _ = read_safetensors(out)
    wrong = [k for k, v in expected.items() if not same(v, tensors[k])]
    expect(done.returncode == 0 and not wrong, f"{label}: every value, to the bit {wrong}{done.stderr.strip()}")


def reading(work):
    print("what PyTorch writes")
    state, model = zoo(), torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    tied = torch.nn.Linear(3, 3)
    for form, how in (("zip", {}), ("stream", {"_use_new_zipfile_serialization": False})):
        check_reading(work, f"{form}: all kinds of tensors", state, state, **how)
        check_reading(work, f"{form}: a module's state dict", model.state_dict(), model.state_dict(), **how)
        optimizer = torch.optim.AdamW(model.parameters())
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for key in ("state_dict", "model", "net", "model_state_dict"):
            saved = {"epoch": 3, key: model.state_dict(), "optimizer": optimizer.state_dict(), "best": 91.78, "arch": "ab",
                     "loss": torch.tensor(0.5), "flag": True, "none": None, "list": [1, "x", (2.5, b"y")]}
            check_reading(work, f"{form}: under \"{key}\"", saved, model.state_dict(),
                          {"extra.epoch": "3", "extra.best": "91.78", "extra.arch": "ab", "extra.flag": "true"}, **how)
        check_reading(work, f"{form}: a list", [tied.weight, {"a": tied.bias}], {"0": tied.weight, "1.a": tied.bias}, **how)
        check_reading(work, f"{form}: a tensor alone", tied.weight, {"data": tied.weight}, **how)
        check_reading(work, f"{form}: protocol 4", state, state, pickle_protocol=4, **how)
        check_reading(work, f"{form}: NumPy beside it", {"state_dict": {"w": tied.weight, "n": np.arange(6.).reshape(2, 3)}},
                      {"w": tied.weight, "n": torch.arange(6, dtype=torch.float64).reshape(2, 3)}, **how)
        torch.save(tied, work / "module.pt", **how)
        done = retort("inspect", work / "module.pt")
        expect(done.returncode == 2 and "would call torch.nn.modules.linear.Linear" in done.stderr,
               f"{form}: a whole module is refused by name: {done.stderr.strip()}")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), work / "script.pt")
    expect(retort("inspect", work / "script.pt").returncode == 2, "a TorchScript archive is refused")


def check_records(path):
    with zipfile.ZipFile(path) as z:
        stored = all(i.compress_type == zipfile.ZIP_STORED for i in z.infolist())
        good = z.testzip() is None
    reader = torch._C.PyTorchFileReader(str(path))
    aligned = all(reader.get_record_offset(r) % 64 == 0 for r in reader.get_all_records() if r.startswith("data/"))
    return stored and good and aligned


def writing(work):
    print("what we write")
    torch.manual_seed(2)
    model = torch.nn.Sequential(collections.OrderedDict(
        conv=torch.nn.Conv2d(3, 8, 3, bias=False), norm=torch.nn.BatchNorm2d(8), pool=torch.nn.AdaptiveAvgPool2d(1),
        flat=torch.nn.Flatten(), head=torch.nn.Linear(8, 4)))
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8))
    state = model.state_dict()
    torch.save(state, work / "model.pt")
    steps = ["model.pt", "a.safetensors", "b.pth", "c.safetensors", "d.pth"]
    for source, target in zip(steps, steps[1:]):
        done = retort("export", work / source, "-o", work / target)
        expect(done.returncode == 0, f"export {source} to {target} {done.stderr.strip()}")
    for name in ("b.pth", "d.pth"):
        for how in ({}, {"mmap": True}):
            loaded = torch.load(work / name, weights_only=True, **how)
            peer = torch.nn.Sequential(collections.OrderedDict((k, type(m)(**ARGUMENTS[k])) for k, m in model.named_children()))
            result = peer.load_state_dict(loaded, strict=True)
            expect(type(loaded) is collections.OrderedDict and list(loaded) == list(state) and not result.missing_keys and
                   all(same(v, loaded[k]) for k, v in state.items()), f"{name} {how}: strict, every value")
            x = torch.randn(2, 3, 8, 8)
            expect(torch.equal(peer.eval()(x), model.eval()(x)), f"{name}: the module computes the same")
        expect(check_records(work / name), f"{name}: records are stored, aligned, and their checksums right")
    every = {k: v for k, v in zoo().items() if v.dtype != torch.int16}
    torch.save(every, work / "zoo.pt")
    retort("export", work / "zoo.pt", "-o", work / "zoo.pth")
    loaded = torch.load(work / "zoo.pth", weights_only=True)
    expect(list(loaded) == list(every) and all(same(v, loaded[k]) for k, v in every.items()), "all kinds of tensors, by way of us")


ARGUMENTS = {"conv": {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "bias": False}, "norm": {"num_features": 8},
             "pool": {"output_size": 1}, "flat": {}, "head": {"in_features": 8, "out_features": 4}}


def safetensors(work):
    print("safetensors")
    raw = {"a": ("F32", [2, 2], np.arange(4, dtype="<f4").tobytes()), "b": ("I16", [2], np.array([-1, 5], "<i2").tobytes()),
           "c": ("BF16", [1], b"\x80\x3f"), "d": ("F64", [], np.float64(0.1).tobytes()), "e": ("BOOL", [0, 2], b"")}
    header, data = {"__metadata__": {"model": "mlp", "note": "ü\n\"x\""}}, b""
    for name, (dtype, shape, content) in raw.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    (work / "raw.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    seen = json.loads(retort("inspect", work / "raw.safetensors", "--json").stdout)
    expect([(t["name"], t["dtype"], t["shape"]) for t in seen["tensors"]] ==
           [("a", "f32", [2, 2]), ("b", "s32", [2]), ("c", "bf16", [1]), ("d", "f64", []), ("e", "bool", [0, 2])], "tensors")
    expect(seen["metadata"] == header["__metadata__"], "metadata")
    for target in ("meta.pth", "meta.safetensors"):
        retort("export", work / ("raw.safetensors" if target == "meta.pth" else "meta.pth"), "-o", work / target)
    tensors, metadata = read_safetensors(work / "meta.safetensors")
    expect(metadata == header["__metadata__"], "metadata survive .pth and come back")
    expect(tensors["b"].tolist() == [-1, 5] and tensors["d"].item() == 0.1, "values")
    loaded = torch.load(work / "meta.pth", weights_only=True)
    expect(loaded["a"].tolist() == [[0, 1], [2, 3]] and loaded["c"].item() == 1, "PyTorch doesn't mind the metadata record")


def numpy(work):
    print("NumPy")
    rng = np.random.default_rng(0)
    arrays = {"X": rng.standard_normal((3, 4, 5)).astype("f4"), "y": np.arange(3), "fortran": np.asfortranarray(rng.random((3, 4))),
              "fortran3": np.asfortranarray(rng.integers(0, 255, (2, 3, 4)).astype("u1")), "half": np.ones(2, "f2"),
              "short": np.array([-3, 3], "i2"), "bool": np.array([True, False]), "scalar": np.float64(3), "empty": np.empty((0, 2))}
    for label, save in (("savez", np.savez), ("savez_compressed", np.savez_compressed)):
        save(work / "in.npz", **arrays)
        done = retort("export", work / "in.npz", "-o", work / "out.npz")
        out = dict(np.load(work / "out.npz"))
        good = list(out) == list(arrays) and all(
            np.array_equal(v, out[k]) and (v.dtype == out[k].dtype or v.dtype == np.int16) for k, v in arrays.items())
        expect(done.returncode == 0 and good, f"{label}: there and back {done.stderr.strip()}")
    np.save(work / "one.npy", arrays["fortran"])
    retort("export", work / "one.npy", "-o", work / "two.npy")
    expect(np.array_equal(np.load(work / "two.npy"), arrays["fortran"]), ".npy, column major")
    np.savez(work / "bad.npz", names=np.array(["a", "b"]))
    done = retort("inspect", work / "bad.npz")
    expect(done.returncode == 2 and "array names has dtype <U1" in done.stderr, f"text is refused: {done.stderr.strip()}")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        for part in (reading, writing, safetensors, numpy):
            part(Path(directory))
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
