"""ONNX beside ONNX Runtime.

Models exported by PyTorch: our outputs agree with ONNX Runtime's to 1e-4 of the largest, for batches of 1 and 8. Every model of
the table, exported by us, runs in ONNX Runtime with the same outputs; so does what was imported and is written again.

    RETORT=build/release/retort RETORT_LIB=build/release/libretort.so python tests/referee/test_onnx.py [--all]

With --all every model goes through PyTorch's newer exporter too, and has its gradients compared.
"""
import copy
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

try:
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import onnx_models
import torch_models
from onnx_checks import apart, expect, failures
from retort_ctypes import Graph, Plan, RetortError, Store

RETORT = os.environ.get("RETORT", "build/release/retort")
THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
TOLERANCE = 1e-4
ALL = "--all" in sys.argv
SMALL = ("mobilenet_v3", "vgg11", "densenet", "squeezenet", "vit", "mlp", "text")


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ours(path, x):
    store = Store()
    g = Graph(store, path, classifier=True)
    g.eval()
    g.fold_batch_norm()
    g.fuse()
    g.layout()
    g.prune()
    return Plan(g, kernels="direct").run(["logits"], x=x)["logits"]


def export_torch(model, x, path, dynamo):
    kind = {"input_names": ["input"], "output_names": ["output"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim("batch", min=1, max=64)
            torch.onnx.export(model, (x,), str(path), dynamo=True, dynamic_shapes=({0: batch},), verbose=False, **kind)
        else:
            torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=17,
                              dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}, **kind)


def exporters():
    yield "script", False
    try:
        import onnxscript  # noqa: F401
        yield "dynamo", True
    except ImportError:
        print("  (onnxscript isn't installed: PyTorch's newer exporter is left out)")


def from_torch(work):
    print("exported by PyTorch")
    for exporter, dynamo in exporters():
        for name, (make, draw) in onnx_models.MODELS.items():
            if dynamo and not ALL and name not in ("resnet20", "vit"):
                continue
            torch.manual_seed(0)
            model, path = make(), work / f"{name}.{exporter}.onnx"
            onnx_models.settle_norms(model, draw(8))
            export_torch(model, draw(2), path, dynamo)
            try:
                runtime, found = session(path), []
                for n in (1, 8):
                    x = draw(n).numpy()
                    found.append(apart(ours(path, x), runtime.run(None, {"input": x})[0]))
                expect(max(found) <= TOLERANCE, f"{name}, {exporter}: {max(found):.1e}")
            except RetortError as error:
                expect(False, f"{name}, {exporter}: {error}")
            if name == "resnet50":
                path.unlink()


def again(work):
    print("read, written, read")
    for name in ("resnet18", "mobilenet_v3", "densenet", "vit", "squeezenet", "mlp"):
        path, out = work / f"{name}.script.onnx", work / f"{name}.again.onnx"
        done = subprocess.run([RETORT, "export", path, "-o", out, "--check"], capture_output=True, text=True)
        expect(done.returncode == 0, f"{name}: {done.stdout.strip()}{done.stderr.strip()}")
        if done.returncode:
            continue
        onnx.checker.check_model(str(out), full_check=True)
        x = onnx_models.images(8).numpy()
        before, after = session(path).run(None, {"input": x})[0], session(out).run(["output"], {"input": x})[0]
        expect(apart(after, before) <= TOLERANCE, f"{name}: {apart(after, before):.1e} in ONNX Runtime; names are kept")


TABLE = ["resnet20", "vgg8", "efficientnet_b0"]  # the others are in test_onnx_table.py


def of_the_table(work):
    print("models of the table, in ONNX Runtime")
    for name in TABLE:
        torch.manual_seed(1)
        model = onnx_models.settle_norms(torch_models.make(name), onnx_models.images(8))
        torch.save(model.state_dict(), work / "model.pth")
        out = work / "model.onnx"
        done = subprocess.run([RETORT, "export", work / "model.pth", "-o", out, "--model", name, "--mean", "0.5,0.4,0.3",
                               "--std", "0.2,0.3,0.4", "--check"], capture_output=True, text=True)
        expect(done.returncode == 0, f"{name}: {done.stdout.strip()}{done.stderr.strip()}")
        if done.returncode:
            continue
        written = onnx.load(str(out))
        onnx.checker.check_model(written, full_check=True)
        tensors = {t.name: t for t in written.graph.initializer}
        state = model.state_dict()
        names = [k for k in state if not k.endswith("num_batches_tracked")]
        same = all(k in tensors and np.array_equal(onnx.numpy_helper.to_array(tensors[k]), state[k].numpy()) for k in names)
        expect(same, f"{name}: weights under their names, to the bit")
        metadata = {p.key: p.value for p in written.metadata_props}
        expect(metadata.get("mean") == "0.5,0.400000006,0.300000012" and metadata.get("input") == "3x32x32",
               f"{name}: metadata {metadata}")
        x = onnx_models.images(8)
        with torch.no_grad():
            expected = model(x).numpy()
        found = session(out).run(["logits"], {"x": x.numpy()})[0]
        expect(apart(found, expected) <= TOLERANCE, f"{name}: {apart(found, expected):.1e}")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    done = subprocess.run([RETORT, "export", work / "model.pth", "-o", work / "bytes.onnx", "--model", name, "--mean",
                           "0.5,0.4,0.3", "--std", "0.2,0.3,0.4", "--preprocess", "--check"], capture_output=True, text=True)
    expect(done.returncode == 0, f"with preprocessing: {done.stdout.strip()}{done.stderr.strip()}")
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        expected = model(torch.from_numpy((pixels / np.float32(255) - mean) / std)).numpy()
    found = session(work / "bytes.onnx").run(["logits"], {"image": pixels})[0]
    expect(apart(found, expected) <= TOLERANCE, f"of bytes: {apart(found, expected):.1e}")


def trainable(name, work):
    """A model in training form and what PyTorch makes of it; dropout would draw other numbers."""
    torch.manual_seed(3)
    make, draw = onnx_models.MODELS[name]
    model, path, x = make(), work / "trainable.onnx", draw(6)
    onnx_models.settle_norms(model, draw(8)).train()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    if isinstance(model, torch_models.ResNet):
        torch_models.settle(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"], output_names=["logits"],
                          training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    return model, path, x


def gradients_of(name, work):
    model, path, x = trainable(name, work)
    target = torch.arange(6) % 4
    store = Store()
    images = x.dtype == torch.float32
    g = Graph(store, path, classifier=images)
    loss = g.cross_entropy(g.find("logits"), g.input("target", "s64", ("batch" if images else 6,)))
    parameters = {k: p for k, p in model.named_parameters() if k in store.info()}
    names = list(parameters)
    for k, grad in zip(names, g.gradients(loss, [g.parameter(k, tuple(parameters[k].shape)) for k in names])):
        g.mark_output(f"d.{k}", grad)
    found = Plan(g, kernels="direct").run([f"d.{k}" for k in names], x=x.numpy(), target=target.numpy())
    exact = copy.deepcopy(model).double()  # where a gradient cancels to nothing, PyTorch's own f32 is as far from it as ours
    F.cross_entropy(exact(x.double() if images else x), target).backward()
    F.cross_entropy(model(x), target).backward()
    errors = {}
    for k, p in exact.named_parameters():
        if k in parameters:
            true, norm = p.grad.numpy(), np.linalg.norm(p.grad.numpy())
            errors[k] = [float(np.linalg.norm(g - true) / norm) for g in (found[f"d.{k}"], parameters[k].grad.numpy())]
    wrong = [f"{k}: {ours:.1e}, PyTorch {theirs:.1e}" for k, (ours, theirs) in errors.items() if not ours <= 3 * theirs + 1e-5]
    expect(len(names) > 3 and not wrong, f"{name}: {len(names)} of {len(list(model.parameters()))} parameters have PyTorch's names; each gradient "
           f"as near to f64's as PyTorch's f32: {wrong}")


def gradients(work):
    print("trained from ONNX: gradients are PyTorch's")
    for name in onnx_models.MODELS if ALL else SMALL:
        try:
            gradients_of(name, work)
        except RetortError as error:
            expect(False, f"{name}: {error}")


def quantized(work):
    """Convolutions and a linear layer as ONNX Runtime's tools write int8 models, QuantizeLinear and DequantizeLinear around them."""
    print("int8 as QDQ")
    rng, path = np.random.default_rng(5), work / "qdq.onnx"
    q = lambda *shape: rng.integers(-127, 128, shape, dtype=np.int8)
    tensors = {"sx": np.float32(0.03), "zx": np.uint8(120), "sy": np.float32(0.05), "zy": np.int8(-20), "w": q(8, 3, 3, 3),
               "sw": rng.random(8, dtype=np.float32) * 0.002 + 0.001, "zw": np.zeros(8, np.int8), "b": q(8).astype(np.int32) * 20,
               "sb": rng.random(8, dtype=np.float32) * 1e-4, "f": q(10, 8), "sf": np.float32(0.004), "zf": np.int8(3),
               "w2": q(8, 8, 3, 3), "sw2": np.float32(0.001), "sz": np.float32(0.04), "zz": np.uint8(0)}
    node = onnx.helper.make_node
    nodes = [node("QuantizeLinear", ["x", "sx", "zx"], ["xq"]), node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
             node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], axis=0), node("DequantizeLinear", ["b", "sb"], ["bd"], axis=0),
             node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
             node("QuantizeLinear", ["r", "sy", "zy"], ["rq"]), node("DequantizeLinear", ["rq", "sy", "zy"], ["rd"]),
             node("DequantizeLinear", ["w2", "sw2"], ["w2d"]), node("Conv", ["rd", "w2d"], ["c2"], pads=[1, 1, 1, 1]),
             node("QuantizeLinear", ["c2", "sz", "zz"], ["zq"]), node("DequantizeLinear", ["zq", "sz", "zz"], ["zd"]),  # a relu in disguise
             node("GlobalAveragePool", ["zd"], ["p"]), node("Flatten", ["p"], ["v"]),
             node("DequantizeLinear", ["f", "sf", "zf"], ["fd"]), node("Gemm", ["v", "fd"], ["y"], transB=1)]
    port = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "g", [port("x", 1, ["N", 3, 16, 16])], [port("y", 1, ["N", 10])],
                                   [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    x = rng.standard_normal((8, 3, 16, 16), dtype=np.float32)
    options = onnxruntime.SessionOptions()  # as it is written: fused products would round once more
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = runtime.run(None, {"x": x})[0]
    found = apart(ours(path, x), expected)
    expect(found <= 1e-3, f"convolutions and linear layer: {found:.1e}, a rounding here and there")
    np.save(work / "x.npy", x)
    found = apart(predicted(path, work), expected)
    expect(found <= 0.01, f"the same on int8 kernels: {found:.1e}, a step of a grid here and there")


def predicted(path, work):
    """Logits of work/x.npy, as the command computes them."""
    done = subprocess.run([RETORT, "predict", path, "--npy", work / "x.npy", "--out", work / "y.npy"], capture_output=True, text=True)
    return np.load(work / "y.npy") if done.returncode == 0 else expect(False, done.stderr) or np.full(1, np.nan)


def to_int8(work):
    """Folded by PyTorch's exporter, trained on with new batch norms, quantized into QDQ: checked by onnx, run by ONNX Runtime."""
    print("from PyTorch to int8: reinserted batch norms, QDQ")
    data = ["--data", "synthetic", "--data-options", "shape=3,32,32 classes=10 images=120 test_images=20"]
    torch.manual_seed(2)
    model, folded = onnx_models.settle_norms(torch_models.make("resnet8x4"), onnx_models.images(8)), work / "folded.onnx"
    export_torch(model, onnx_models.images(2), folded, False)
    done = subprocess.run([RETORT, "train", "--model", folded, *data, "--reinsert-batchnorm", "--epochs", "1", "--batch", "20", "--lr",
                           "1e-12", "--weight-decay", "0", "--validation", "0", "--augment", "none", "--precision", "fp32", "--out",
                           work / "norms"], capture_output=True, text=True)
    trained = work / "norms/model.last.onnx"
    expect(done.returncode == 0 and "new batch norms behind" in done.stdout + done.stderr, f"trained: {done.stdout}{done.stderr}")
    kinds = [n.op_type for n in onnx.load(str(trained)).graph.node]
    expect(kinds.count("BatchNormalization") == kinds.count("Conv") > 0, f"{kinds.count('BatchNormalization')} batch norms are there")
    out = work / "int8.onnx"
    done = subprocess.run([RETORT, "quantize", trained, *data, "-o", out, "--quiet"], capture_output=True, text=True)
    expect(done.returncode == 0, f"quantized: {done.stdout}{done.stderr}")
    onnx.checker.check_model(str(out), full_check=True)
    x = onnx_models.images(16).numpy()
    np.save(work / "x.npy", x)
    expected, found = session(out).run(None, {"input": x})[0], predicted(out, work)
    expect(apart(found, expected) <= 0.05, f"int8 here and in ONNX Runtime: {apart(found, expected):.1e}")
    done = subprocess.run([RETORT, "verify", out], capture_output=True, text=True)
    expect(done.returncode == 0, f"verify: {done.stdout}{done.stderr}")


def distilled(work):
    print("an ONNX teacher from PyTorch, a student of the table")
    done = subprocess.run([RETORT, "distill", "--teacher", work / "resnet18.script.onnx", "--model", "resnet8", "--data",
                           "synthetic", "--data-options", "shape=3,32,32 classes=10 images=80 test_images=20", "--epochs", "1",
                           "--batch", "20", "--precision", "fp32", "--loss", "kd:weight=0.9,temperature=4", "--loss",
                           "cross_entropy:weight=0.1", "--out", work / "run"], capture_output=True, text=True)
    expect(done.returncode == 0 and (work / "run/model.best.pth").exists(), f"distill: {done.stdout[-200:]}{done.stderr}")


def pools_in_int8(work):
    """A network with max pools in int8: a pool is on its input's grid, and what it says as QDQ is what it says here."""
    print("max pools in int8")
    torch.save(torch_models.make("vgg8").state_dict(), work / "vgg8.pth")
    lines = (("quantize", work / "vgg8.pth", "--network", "vgg8", "--data", "synthetic", "--data-options", "shape=3,32,32 images=40 test_images=0",
              "--images", "32", "--batch", "8", "--quiet", "-o", work / "vgg8_int8.pth"),
             ("export", work / "vgg8_int8.pth", "-o", work / "vgg8.onnx", "--check"))
    for line in lines:
        done = subprocess.run([RETORT, *map(str, line)], capture_output=True, text=True)
        expect(done.returncode == 0, f"{line[0]}: {done.stderr}")
    if (work / "vgg8.onnx").exists():
        onnx.checker.check_model(onnx.load(work / "vgg8.onnx"))
        tensors = torch.load(work / "vgg8_int8.pth", weights_only=True)
        said = session(work / "vgg8.onnx").run(None, {"x": tensors["verify.images"].numpy()})[0]
        expected = tensors["verify.logits"].numpy()
        expect(abs(said - expected).max() < 0.1 * abs(expected).max(), "ONNX Runtime says what we say of pools in int8")


def main():
    torch.set_num_threads(THREADS)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        for part in (from_torch, again, of_the_table, gradients, quantized, to_int8, pools_in_int8, distilled):
            part(Path(directory))
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
