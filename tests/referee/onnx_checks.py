"""What tests of ONNX count and compare."""
import numpy as np

failures = []


def expect(good, what):
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failures.append(what)


def apart(a, b):
    return float(np.abs(a.astype(np.float64) - b).max() / max(np.abs(b).max(), 1e-30))
