"""One engine's int8 network, timed in a process of its own: what `scripts/bench int8` runs for each peer.

    python bench/int8_engine.py ENGINE --work DIR --model resnet18 --input 3x32x32 --batch 1 --threads 2 --seconds 2

ENGINE: torch-x86, torch-onednn, torch-fbgemm (static, by its graph mode), torch-pt2e (exported, quantized, compiled), ort-ours and
openvino-ours (DIR/qdq.onnx, which retort wrote), ort-own and openvino-own (DIR/fp32.onnx, quantized by ONNX Runtime and NNCF).
Prints JSON: {"ms": {"best", "median"}, "runs", "version"}.
"""
import argparse
import json
import os
import statistics
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CALIBRATION = 32  # images


def images(a, n):
    return np.random.default_rng(0).standard_normal((n, *map(int, a.input.split("x")))).astype(np.float32)


# ---- PyTorch ----

def torch_model(a):
    sys.path.insert(0, os.path.join(HERE, "..", "tests", "referee"))
    import torch
    import torch_models
    torch.set_num_threads(a.threads)
    model = torch_models.make(a.model, stem=a.stem)
    model.load_state_dict(torch.load(os.path.join(a.work, "model.pth"), weights_only=True))
    return torch, model.eval()


def torch_static(a, backend):
    torch, model = torch_model(a)
    import torch.ao.quantization.quantize_fx as fx
    from torch.ao.quantization import get_default_qconfig_mapping
    torch.backends.quantized.engine = backend
    x = torch.from_numpy(images(a, CALIBRATION))
    with torch.no_grad():
        prepared = fx.prepare_fx(model, get_default_qconfig_mapping(backend), (x[:1],))
        prepared(x)
        quantized = fx.convert_fx(prepared)
    batch = torch.from_numpy(images(a, a.batch)).to(memory_format=torch.channels_last)
    with torch.no_grad():
        quantized = torch.jit.freeze(torch.jit.trace(quantized, batch))

    def run():
        with torch.no_grad():
            quantized(batch)
    return run, torch.__version__


def torch_compiled(a):
    torch, model = torch_model(a)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    import torch._inductor.config as inductor
    inductor.freezing = True
    batch = torch.from_numpy(images(a, a.batch)).to(memory_format=torch.channels_last)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        import torch.fx.experimental.optimization as fx
        model = fx.fuse(model)
        # strict: otherwise the two uses that a block makes of one ReLU look like one node with two outputs to the quantizer
        exported = torch.export.export(model, (batch,), strict=True).module()
        prepared = prepare_pt2e(exported, quantizer)
        prepared(batch)
        compiled = torch.compile(convert_pt2e(prepared))
        compiled(batch)

    def run():
        with torch.no_grad():
            compiled(batch)
    return run, torch.__version__


# ---- ONNX Runtime ----

def ort(a, own):
    import onnxruntime
    path = os.path.join(a.work, "qdq.onnx")
    if own:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
        path, prepared = os.path.join(a.work, "ort.onnx"), os.path.join(a.work, "ort-prepared.onnx")

        class Images(CalibrationDataReader):
            left = iter([{"x": x[None]} for x in images(a, CALIBRATION)])

            def get_next(self):
                return next(self.left, None)

        if not os.path.exists(path):
            quant_pre_process(os.path.join(a.work, "fp32.onnx"), prepared)
            quantize_static(prepared, path, Images(), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images(a, a.batch)}
    return lambda: session.run(None, feed), onnxruntime.__version__


# ---- OpenVINO ----

def openvino(a, own):
    import openvino as ov
    core = ov.Core()
    path = os.path.join(a.work, "openvino.xml" if own else "qdq.onnx")
    if own and not os.path.exists(path):
        import nncf
        quantized = nncf.quantize(core.read_model(os.path.join(a.work, "fp32.onnx")),
                                  nncf.Dataset(list(images(a, CALIBRATION)), lambda x: x[None]), subset_size=CALIBRATION)
        ov.save_model(quantized, path)
    model = core.read_model(path)
    model.reshape({model.inputs[0].get_any_name(): [a.batch, *map(int, a.input.split("x"))]})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": a.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(images(a, a.batch)))
    return request.infer, ov.__version__


ENGINES = {
    "torch-x86": lambda a: torch_static(a, "x86"), "torch-onednn": lambda a: torch_static(a, "onednn"),
    "torch-fbgemm": lambda a: torch_static(a, "fbgemm"), "torch-pt2e": torch_compiled,
    "ort-ours": lambda a: ort(a, False), "ort-own": lambda a: ort(a, True),
    "openvino-ours": lambda a: openvino(a, False), "openvino-own": lambda a: openvino(a, True),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("engine", choices=ENGINES)
    p.add_argument("--work", required=True)
    p.add_argument("--model", default="resnet18")
    p.add_argument("--stem", default="cifar")
    p.add_argument("--input", default="3x32x32")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=2)
    a = p.parse_args()
    run, version = ENGINES[a.engine](a)
    for _ in range(3):
        run()
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < a.seconds:
        t = time.perf_counter()
        run()
        times.append(time.perf_counter() - t)
    print(json.dumps({"ms": {"best": min(times) * 1e3, "median": statistics.median(times) * 1e3}, "runs": len(times),
                      "version": version}))


if __name__ == "__main__":
    main()
