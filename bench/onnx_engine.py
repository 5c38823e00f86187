"""An .onnx file over an array of images, in a process of its own: what bench/onnx_runtimes.py runs for each runtime.

    python bench/onnx_engine.py onnxruntime|openvino MODEL.onnx X.npy OUT.npy
"""
import sys

import numpy as np

BATCH = 100


def onnxruntime(path):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(path):
    import openvino as ov
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: compiled(x)[0]


def main():
    engine, path, x, out = sys.argv[1:]
    run, x = {"onnxruntime": onnxruntime, "openvino": openvino}[engine](path), np.load(x)
    np.save(out, np.concatenate([run(x[i:i + BATCH]) for i in range(0, len(x), BATCH)]))


if __name__ == "__main__":
    main()
