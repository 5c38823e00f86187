"""The ONNX project's own tests of nodes, for every op that onnx.def claims.

A test passes, or docs/onnx.md lists it with the reason: in both directions, so that the list stays true. Shapes, axes and
bounds that the tests feed as inputs become initializers where an importer has to know them.

    RETORT_LIB=build/release/libretort.so python tests/referee/test_onnx_backend.py [NAME...]
"""
import fnmatch
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

try:
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.case.node import collect_testcases
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from retort_ctypes import Graph, Plan, RetortError, Store

HERE = Path(__file__).resolve().parent
ROWS = re.findall(r"^ROW\(([A-Z]\w*)\)", (HERE / "../../src/onnx/onnx.def").read_text(), re.M)
DOCS = (HERE / "../../docs/onnx.md").read_text()
EXCEPTIONS = re.findall(r"^\| `(test_[\w*?\[\]]+)` \|", DOCS, re.M)
WIDER = {np.dtype(k): v for k, v in (("float16", "f4"), ("float64", "f4"), ("int16", "i4"), ("uint16", "i4"),
                                     ("uint32", "i8"), ("uint64", "i8"))}


def wider(dtype):
    more = {"bfloat16": "f4", "int4": "i1", "uint4": "u1"}
    return more.get(dtype.name, WIDER.get(dtype, dtype))


def with_initializers(model, inputs):
    """The model with what isn't a tensor of data given once and for all."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    rest = {}
    for i, port in enumerate(list(fixed.graph.input)):
        a = inputs[i]
        if a.dtype.kind in "iub" and (i > 0 or a.ndim <= 1) or (i > 0 and a.size == 1) or (i > 0 and a.ndim == 1):
            fixed.graph.initializer.append(numpy_helper.from_array(a, port.name))
            fixed.graph.input.remove(port)
        else:
            rest[port.name] = a
    return fixed, rest


def run(model, feeds, path):
    onnx.save(model, path)
    store = Store()
    g = Graph(store, path)
    if not any(a.name == "training_mode" and a.i for n in model.graph.node for a in n.attribute):
        g.eval()
    plan = Plan(g, kernels="reference")
    feeds = {k: np.ascontiguousarray(v.astype(wider(v.dtype))).reshape(v.shape) for k, v in feeds.items()}
    names = [o.name for o in model.graph.output]
    return plan.run(names, **feeds)


def check(case, path):
    """None, or why it fails."""
    for inputs, outputs in case.data_sets:
        inputs, outputs = ([numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a for a in v]
                           for v in (inputs, outputs))
        if any(not isinstance(a, np.ndarray) and not np.isscalar(a) for a in [*inputs, *outputs]):
            return "sequences"
        inputs = [np.asarray(a) for a in inputs]
        feeds = dict(zip((i.name for i in case.model.graph.input), inputs))
        try:
            found = run(case.model, feeds, path)
        except RetortError as first:
            fixed, rest = with_initializers(case.model, inputs)
            if len(rest) == len(feeds):
                return str(first)
            try:
                found = run(fixed, rest, path)
            except RetortError as error:
                return str(error)
        for port, expected in zip(case.model.graph.output, outputs):
            y, expected = found[port.name], np.asarray(expected)
            if y.shape != expected.shape:
                return f"{port.name} has shape {y.shape}, expected {expected.shape}"
            if not np.allclose(y.astype(np.float64), expected.astype(np.float64), rtol=0.01 if expected.dtype.name == "bfloat16" else max(case.rtol, 1e-3),
                               atol=max(case.atol, 1e-5), equal_nan=True):
                return f"{port.name} differs by {np.nanmax(np.abs(y.astype(np.float64) - expected)):.1e}"
    return None


def main():
    warnings.simplefilter("ignore")
    wanted, passed, excepted, failed, stale = sys.argv[1:], set(), set(), {}, []
    with tempfile.TemporaryDirectory() as directory:
        for case in collect_testcases(None):
            ops = {n.op_type for n in case.model.graph.node}
            foreign = any(n.domain not in ("", "ai.onnx") for n in case.model.graph.node)
            if foreign or not ops <= set(ROWS) or (wanted and case.name not in wanted):
                continue
            why = check(case, f"{directory}/model.onnx")
            listed = any(fnmatch.fnmatchcase(case.name, pattern) for pattern in EXCEPTIONS)
            if why is None:
                passed.add(case.name)
                if listed:
                    stale.append(case.name)
            elif listed and not wanted:
                excepted.add(case.name)
            else:
                failed[case.name] = why
    unused = [p for p in EXCEPTIONS if not wanted and not any(fnmatch.fnmatchcase(n, p) for n in excepted)]
    unlisted = [name for name in ROWS if f"`{name}`" not in DOCS]
    for name in unlisted:
        print(f"  FAILED  docs/onnx.md doesn't list {name}")
    for name, why in failed.items():
        print(f"  FAILED  {name}: {why[:200]}")
    for name in stale:
        print(f"  FAILED  {name} passes, and docs/onnx.md says that it doesn't")
    for pattern in unused:
        print(f"  FAILED  docs/onnx.md lists {pattern}, which no failing test is called")
    print(f"{len(passed)} tests of nodes passed, {len(excepted)} are listed in docs/onnx.md, {len(failed)} failed; "
          f"{len(ROWS)} ops")
    sys.exit(bool(failed or stale or unused or unlisted))


if __name__ == "__main__":
    main()
