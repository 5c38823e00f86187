"""quantize and verify from outside: a small trained network in int8, its record, and what is refused."""
import json
import struct
import sys
import tempfile
from pathlib import Path

from support.command import check, finish, refuses, run

SIDE, CLASSES = 12, 4
DATA = ("--data", "synthetic", "--data-options", f"shape=3,{SIDE},{SIDE} classes={CLASSES} images=320 test_images=120")


def read_safetensors(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8:8 + n]), raw[8 + n:]


def write_raw(path, header, data):
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def changed(path, to, change):
    """A copy whose header and bytes went through `change`."""
    header, data = read_safetensors(path)
    data = bytearray(data)
    change(header, data)
    write_raw(to, header, bytes(data))
    return to


def report(*arguments):
    done = run("quantize", *arguments, "--json")
    check(done.returncode == 0, f"quantize {' '.join(map(str, arguments))}: {done.stderr}")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def check_static(work, model):
    out, record = work / "int8.safetensors", work / "record.json"
    said = report(model, *DATA, "-o", out, "--save-record", record, "--images", 100, "--batch", 50)
    layers = {l["node"]: l for l in said["layers"]}
    check(said["images"] == 100 and said["int8"] == 9, f"quantize: eight layers of a resnet8 and its mean: {said['int8']}")
    check(layers["avgpool"]["precision"] == "int8" and "weights" not in layers["avgpool"], "quantize: the mean has no weights")
    check(layers["conv1"]["precision"] == "int8" and layers["conv1"]["zero_point"] == 0, "quantize: conv1 with its relu")
    check(all(l["precision"] == "int8" or l["why"] for l in said["layers"]), "quantize: the rest says why it isn't")
    check(abs(said["after"]["correct"] - said["before"]["correct"]) <= 3 and said["agree"] >= 112, f"quantize: {said['before']}")
    check(said["bytes"] < said["bytes_before"] / 2, "quantize: smaller")
    check(said["before"]["correct"] > 60, f"quantize: the network was trained: {said['before']}")

    header, _ = read_safetensors(out)
    check(header["conv1.weight"]["dtype"] == "I8" and header["conv1.weight_scale"]["shape"] == [16], "int8 file: weights")
    check(json.loads(header["__metadata__"]["accuracy"])["correct"] == said["after"]["correct"], "int8 file: accuracy")
    check(json.loads(header["__metadata__"]["quantization"]) == json.loads(record.read_text()), "int8 file: its record")
    seen = json.loads(run("eval", out, *DATA, "--json").stdout)
    check((seen["correct"], seen["precision"]) == (said["after"]["correct"], "int8"), "eval of an int8 file")
    done = run("verify", out)
    check(done.returncode == 0 and "to the last bit" in done.stdout, f"verify: {done.stdout}{done.stderr}")
    done = run("inspect", out)
    check(done.returncode == 0 and "conv1.weight_scale" in done.stdout, f"inspect of an int8 file: {done.stderr}")

    again = report(model, "--record", record, "-o", work / "again.pth")
    check(again["int8"] == 9 and "before" not in again, "quantize --record: no data needed")
    check(json.loads(run("eval", work / "again.pth", *DATA, "--json").stdout)["correct"] == said["after"]["correct"],
          "quantize --record: the same network, as .pth")
    refuses(2, "carries no images", "verify", work / "again.pth")
    edited = json.loads(record.read_text())
    for node in edited["nodes"]:
        if node["node"] == "conv1":
            node["precision"] = "fp32"
    (work / "edited.json").write_text(json.dumps(edited))
    said = report(model, "--record", work / "edited.json", "-o", work / "edited.safetensors", *DATA)
    check(said["int8"] == 8 and read_safetensors(work / "edited.safetensors")[0]["conv1.weight"]["dtype"] == "F32",
          "quantize --record: an edited one is obeyed")
    for node in edited["nodes"]:
        if node["node"] == "layer1.0.conv1":
            node["winograd"] = [8192] * 16 + [510]
    (work / "edited.json").write_text(json.dumps(edited))
    said = report(model, "--record", work / "edited.json", "-o", work / "edited.safetensors", *DATA)
    check(abs(said["after"]["correct"] - said["before"]["correct"]) <= 6, f"a layer by Winograd: {said['after']}")
    for kernels, there in (("auto", True), ("direct", False)):
        done = run("bench", work / "edited.safetensors", "--seconds", 0, "--per-layer", "--kernels", kernels)
        check(("conv2d_winograd_int8" in done.stderr) == there, f"bench --kernels {kernels}: {done.stderr}")
    return out, record


def check_choices(work, model):
    out = work / "choice.safetensors"
    small = (*DATA, "--images", 40, "-o", out)
    said = report(model, *small, "--keep", "fp32:layer3.*", "--scheme", "conv1=per_tensor", "--layer-observer", "conv1=minmax")
    layers = {l["node"]: l for l in said["layers"]}
    check(said["int8"] == 6, f"--keep: {said['int8']}")
    check(layers["conv1"]["weights"] == "per_tensor" and layers["conv1"]["observer"] == "minmax", "--scheme, --layer-observer")
    header, data = read_safetensors(out)
    at, = (header["conv1.weight_scale"]["data_offsets"][0],)
    scales = struct.unpack("<16f", data[at:at + 64])
    check(len(set(scales)) == 1, "per_tensor: one scale")
    for target in ("fbgemm", "qnnpack"):
        said = report(model, *small, "--target", target, "--equalize", "--correct-bias", "--observer", "percentile:percent=99.99")
        check(said["target"] == target and said["agree"] >= 100, f"--target {target}: {said['agree']}")
    said = report(model, *small, "--analyze", "--analyze-images", 16)
    costs = [l for l in said["layers"] if l["precision"] == "int8"]
    check(all(25 < l.get("weight_sqnr", 40) < 70 and 15 < l["output_sqnr"] < 70 and l.get("alone_sqnr", 40) > 15 and l["int8_ms"] > 0
              for l in costs), f"--analyze: {costs}")
    check(all(l["steps"] <= 1 for l in costs) and said["agree_twin"] == 120, f"--analyze: its twin in float: {costs}")
    said = report(model, *small, "--max-drop", 50)
    check(said["int8"] == 9, "--max-drop that holds changes nothing")
    done = run("quantize", model, *DATA, "--images", 1, "-o", out)
    check(done.returncode == 0 and "calibrated on 1 image only" in done.stderr and "9 of" in done.stdout, f"one image: {done.stderr}")


def check_dynamic(work, model):
    out = work / "dynamic.pth"
    said = report(model, "--method", "dynamic", "-o", out)
    layers = {l["node"]: l for l in said["layers"]}
    check((said["int8"], said["method"], said["images"]) == (1, "dynamic", 0), f"dynamic: matrix products, no images: {said['int8']}")
    check("only if asked to" in layers["conv1"]["why"] and "scale" not in layers["linear"], "dynamic: convolutions stay floating")
    counted = [json.loads(run("eval", f, *DATA, "--json").stdout)["correct"] for f in (model, out)]
    check(abs(counted[0] - counted[1]) <= 1, f"dynamic: {counted}")
    for target in ("vnni", "fbgemm", "qnnpack"):
        said = report(model, *DATA, "--method", "dynamic", "--convolutions", "--target", target, "-o", out)
        check(said["int8"] == 8 and said["agree"] >= 110 and said["bytes"] < said["bytes_before"] / 2, f"dynamic for {target}: {said['agree']}")
    check(json.loads(run("eval", out, *DATA, "--batch", 64, "--json").stdout)["correct"] == said["after"]["correct"], "eval of a dynamic file")
    done = run("verify", out)
    check(done.returncode == 0 and "to the last bit" in done.stdout, f"verify of a dynamic file: {done.stdout}{done.stderr}")
    refuses(2, "goes with static ranges", "quantize", model, *DATA, "--method", "dynamic", "--correct-bias", "-o", out)
    refuses(2, "goes with method=dynamic", "quantize", model, *DATA, "--convolutions", "-o", out)
    refuses(2, "only if told to", "quantize", model, "--method", "dynamic", "--keep", "fp32:linear", "-o", out)
    done = run("quantize", model, *DATA, "--images", 8, "-o", work / "model.txt")
    check(done.returncode == 2 and "which form to write" in done.stderr and done.stderr.count("\n") == 1, f"a wrong ending, before any work: {done.stderr}")
    refuses(2, "aren't written as ONNX", "quantize", model, "--method", "dynamic", "-o", work / "dynamic.onnx")


def check_dequantize(work, model, int8):
    out = work / "float.safetensors"
    done = run("export", int8, "--dequantize", "-o", out)
    check(done.returncode == 0, f"export --dequantize: {done.stderr}")
    header, _ = read_safetensors(out)
    said = header.pop("__metadata__")
    check(set(header) == {f"{n}.{r}" for n in ("conv1", "linear", *(f"layer{i}.0.conv{k}" for i in (1, 2, 3) for k in (1, 2)))
                          for r in ("weight", "bias")}, f"export --dequantize: names: {sorted(header)}")
    check({t["dtype"] for t in header.values()} == {"F32"} and "quantization" not in said, "export --dequantize: all of it in fp32")
    here, there = (json.loads(run("eval", f, *DATA, "--json").stdout) for f in (out, int8))
    check(here["precision"] == "fp32" and abs(here["correct"] - there["correct"]) <= 3, f"eval of dequantized weights: {here}, {there}")
    refuses(2, "it isn't quantized", "export", out, "--dequantize", "-o", work / "x.pth")
    refuses(2, "--dequantize writes weights", "export", int8, "--dequantize", "-o", work / "x.onnx")
    run("export", int8, "-o", work / "int8.onnx")
    refuses(2, "an ONNX file keeps biases", "export", work / "int8.onnx", "--dequantize", "-o", work / "x.pth")

    def no_scale(header, data):
        header["conv1.other"] = header.pop("conv1.weight_scale")
    refuses(2, "expected conv1.weight_scale beside it", "export", changed(int8, work / "changed.safetensors", no_scale),
            "--dequantize", "-o", work / "x.pth")

    def shape(header, data):
        header["conv1.weight"]["shape"] = [16, 27]
    refuses(2, "conv1.weight has another shape", "export", changed(int8, work / "changed.safetensors", shape),
            "--dequantize", "-o", work / "x.pth")


def check_refusals(work, model, int8, record):
    out = ("-o", work / "x.pth")
    refuses(2, "no images to calibrate on", "quantize", model, *out)
    refuses(2, "out is missing", "quantize", model, *DATA)
    refuses(2, "it is quantized already", "quantize", int8, *DATA, *out)
    refuses(2, "there is no observer histo", "quantize", model, *DATA, *out, "--observer", "histo")
    refuses(2, "no layer has such a name", "quantize", model, *DATA, *out, "--keep", "fp32:layer9.*")
    refuses(2, "expected fp32:PATTERN", "quantize", model, *DATA, *out, "--keep", "layer1.*")
    refuses(2, "no layer would be in int8", "quantize", model, *DATA, *out, "--keep", "fp32:*")
    refuses(2, "vnni", "quantize", model, *DATA, *out, "--target", "vnnni")
    refuses(2, "tells 4 classes apart", "quantize", model, "--data", "synthetic", "--data-options", "shape=3,8,8 classes=5", *out)
    (work / "bad.json").write_text("{}")
    refuses(2, "\"format\": expected", "quantize", model, "--record", work / "bad.json", *out)
    other = json.loads(record.read_text())
    other["nodes"] = [n for n in other["nodes"] if n["node"] != "layer1.0.conv1"]
    (work / "bad.json").write_text(json.dumps(other))
    refuses(2, "says nothing of conv2d layer1.0.conv1", "quantize", model, "--record", work / "bad.json", *out)
    other = json.loads(record.read_text())
    other["nodes"][2]["winograd"] = [8192] * 16 + [1021]
    (work / "bad.json").write_text(json.dumps(other))
    refuses(2, "16 whole numbers", "quantize", model, "--record", work / "bad.json", *out)
    other["nodes"][2]["winograd"] = [8192] * 17
    (work / "bad.json").write_text(json.dumps(other))
    refuses(2, "16 whole numbers", "quantize", model, "--record", work / "bad.json", *out)
    other = json.loads(record.read_text())
    next(n for n in other["nodes"] if n["op"] == "linear")["winograd"] = [8192] * 16 + [510]
    (work / "bad.json").write_text(json.dumps(other))
    refuses(2, "by Winograd: only 3×3", "quantize", model, "--record", work / "bad.json", *out)
    other = json.loads(record.read_text())
    other["nodes"][1]["node"] = "conv9"
    (work / "bad.json").write_text(json.dumps(other))
    refuses(2, "it has a conv2d conv9", "quantize", model, "--record", work / "bad.json", *out)

    refuses(2, "it is a record of static ranges", "quantize", model, "--record", record, "--method", "dynamic", *out)
    for target, zero in (("vnni", -5), ("fbgemm", 200)):
        other = json.loads(record.read_text())
        other["target"], other["nodes"][0]["zero_point"] = target, zero
        (work / "bad.json").write_text(json.dumps(other))
        refuses(2, f"the zero point {zero}: for {target} levels", "quantize", model, "--record", work / "bad.json", *out)
    refuses(2, "takes images of 3 channels", "quantize", model, "--data", "synthetic", "--data-options", "shape=1,12,12 classes=4", *out)
    (work / "bad.json").write_text(record.read_text()[:400])
    refuses(2, "not a quantization record", "quantize", model, "--record", work / "bad.json", *out)

    def not_finite(header, data):
        at = header["layer1.0.conv1.weight"]["data_offsets"][0]
        data[at:at + 4] = struct.pack("<f", float("nan"))
    broken = changed(work / "model.safetensors", work / "nan.safetensors", not_finite)
    refuses(2, "the output of layer1.0.conv1", "quantize", broken, *DATA, *out)
    refuses(2, "a weight of layer1.0.conv1 isn't finite", "quantize", broken, "--record", record, *out)

    def dead(header, data):
        for name in ("bn1.weight", "bn1.bias"):
            at = header[name]["data_offsets"][0]
            data[at:at + 8] = struct.pack("<2f", 0, 0)
    said = report(changed(work / "model.safetensors", work / "dead.safetensors", dead), *DATA, *out)
    check(said["agree"] >= 110, f"dead channels: {said['agree']}")

    def tiny(header, data):
        at = header["bn1.weight"]["data_offsets"][0]
        data[at:at + 64] = struct.pack("<16f", *[1e-30] * 16)
        at = header["bn1.bias"]["data_offsets"][0]
        data[at:at + 64] = struct.pack("<16f", *[0.5] * 16)
    said = report(changed(work / "model.safetensors", work / "tiny.safetensors", tiny), *DATA, *out, "--correct-bias", "--equalize")
    check(said["agree"] == 120, f"tiny scales, every channel constant: {said['agree']}")

    def other_weight(header, data):
        at, end = header["conv1.weight"]["data_offsets"]
        data[at:end] = bytes(end - at)
    done = run("verify", changed(int8, work / "changed.safetensors", other_weight))
    check(done.returncode == 1 and "or the file was changed" in done.stdout, f"verify of a changed file: {done.stdout}{done.stderr}")

    def other_scale(header, data):
        at = header["conv1.out_scale"]["data_offsets"][0]
        data[at:at + 4] = struct.pack("<f", 9)
    refuses(2, "it isn't this file's", "eval", changed(int8, work / "changed.safetensors", other_scale), *DATA)

    def no_record(header, data):
        header["__metadata__"]["quantization"] = "[]"
    refuses(2, "not a quantization record", "eval", changed(int8, work / "changed.safetensors", no_record), *DATA)


def main(work):
    done = run("train", "--model", "resnet8", *DATA, "--epochs", 3, "--batch", 32, "--precision", "fp32", "--optimizer", "sgd", "--out", work / "run", "--quiet")
    if done.returncode:
        return check(False, f"train: {done.stderr}")
    model = work / "run" / "model.best.pth"
    run("export", model, "-o", work / "model.safetensors")
    int8, record = check_static(work, model)
    check_choices(work, model)
    check_dynamic(work, model)
    check_dequantize(work, model, int8)
    check_refusals(work, model, int8, record)


with tempfile.TemporaryDirectory() as directory:
    main(Path(directory))
sys.exit(finish())
