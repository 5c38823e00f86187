"""retort.h for Python, as far as tests and benchmarks need it: thin ctypes, no part of what is shipped.

    from retort_ctypes import Graph, Plan, Store
    store = Store()
    g = Graph(store)
    x = g.input("x", "f32", (8, 3, 32, 32))
    g.mark_output("logits", g.model("resnet18", x, "classes=10 stem=cifar"))
    plan = Plan(g)
    plan.run(x=numpy_array)["logits"]

Values are opaque pointers; None is NULL. Whatever fails raises RetortError with the library's sentence.
"""
import ctypes as C
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.environ.get("RETORT_LIB") or os.path.join(HERE, "..", "..", "build", "release", "libretort.so")
lib = C.CDLL(LIBRARY)

DTYPES = {"f32": np.float32, "bf16": np.uint16, "f16": np.float16, "f64": np.float64, "s64": np.int64, "s32": np.int32,
          "s8": np.int8, "u8": np.uint8, "bool": np.bool_}  # in the order of rt_dtype; NumPy has no bf16: its bits
NAMES = list(DTYPES)


class RetortError(RuntimeError):
    def __init__(self, status):
        super().__init__(lib.rt_error().decode())
        self.status = lib.rt_status_name(status).decode()


class Init(C.Structure):
    _fields_ = [("kind", C.c_int), ("a", C.c_double), ("b", C.c_double)]


class VariableInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("dtype", C.c_int), ("rank", C.c_int), ("dim", C.POINTER(C.c_int64)),
                ("parameter", C.c_bool)]


class PlanOptions(C.Structure):
    _fields_ = [("kernels", C.c_int), ("memory_limit", C.c_int64), ("profile", C.c_bool)]


class Feed(C.Structure):
    _fields_ = [("name", C.c_char_p), ("rank", C.c_int), ("dim", C.POINTER(C.c_int64)), ("data", C.c_void_p)]


class Result(C.Structure):
    _fields_ = [("dtype", C.c_int), ("rank", C.c_int), ("dim", C.c_int64 * 8), ("data", C.c_void_p)]


class Memory(C.Structure):
    _fields_ = [("arena", C.c_int64), ("persistent", C.c_int64), ("store", C.c_int64)]


class StepInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("op", C.c_char_p), ("kernel", C.c_char_p), ("dtype", C.c_int), ("rank", C.c_int),
                ("dim", C.c_int64 * 8), ("seconds", C.c_double), ("runs", C.c_int64), ("flops", C.c_double),
                ("bytes", C.c_double), ("weights", C.c_bool)]


class ReadOptions(C.Structure):
    _fields_ = [("classifier", C.c_bool), ("channels", C.c_int64), ("height", C.c_int64), ("width", C.c_int64)]


class Machine(C.Structure):
    _fields_ = [("cpu", C.c_char * 64), ("isa", C.c_char_p), ("simd", C.c_char_p), ("backend", C.c_char_p),
                ("bf16", C.c_bool), ("vnni", C.c_bool), ("amx", C.c_bool), ("l1", C.c_int64), ("l2", C.c_int64),
                ("l3", C.c_int64), ("memory", C.c_int64)]


def declare():
    p, s, i, i64, st = C.c_void_p, C.c_char_p, C.c_int, C.c_int64, C.c_int
    dims = C.POINTER(C.c_int64)
    for name, result, *arguments in (
        ("rt_status_name", s, st), ("rt_error", s), ("rt_version", s),
        ("rt_threads", i), ("rt_set_threads", st, i),
        ("rt_store_new", st, C.POINTER(p)), ("rt_store_free", None, p), ("rt_store_init", st, p, C.c_uint64),
        ("rt_store_set", st, p, s, p, C.c_size_t), ("rt_store_get", st, p, s, p, C.c_size_t),
        ("rt_store_count", i, p), ("rt_store_info", st, p, i, C.POINTER(VariableInfo)),
        ("rt_graph_new", st, p, C.POINTER(p)), ("rt_graph_free", None, p), ("rt_graph_status", st, p),
        ("rt_symbol", i64, p, s), ("rt_input", p, p, s, i, i, dims), ("rt_scalar", p, p, C.c_double),
        ("rt_parameter", p, p, s, i, dims, Init), ("rt_statistic", p, p, s, i, i, dims, Init), ("rt_apply", p, p, s, s, C.POINTER(p), i, s),
        ("rt_output", p, p, i), ("rt_mark_output", None, p, s, p), ("rt_find", p, p, s),
        ("rt_op_count", i), ("rt_op_name", s, i),
        ("rt_cross_entropy", p, p, p, p, s), ("rt_model", p, p, s, p, s), ("rt_model_count", i), ("rt_model_name", s, i),
        ("rt_graph_text", st, p, C.POINTER(p)), ("rt_text_free", None, p),
        ("rt_gradients", st, p, C.POINTER(p), i, C.POINTER(p)),
        ("rt_pass_eval", st, C.POINTER(p), s), ("rt_pass_fold_batch_norm", st, C.POINTER(p), s),
        ("rt_pass_fuse", st, C.POINTER(p), s), ("rt_pass_cast", st, C.POINTER(p), s, i), ("rt_pass_layout", st, C.POINTER(p)),
        ("rt_pass_prune", st, C.POINTER(p)), ("rt_pass_train", st, C.POINTER(p), s, s), ("rt_pass_ema", st, C.POINTER(p)),
        ("rt_schedule_new", st, s, C.POINTER(p)), ("rt_schedule_free", None, p), ("rt_schedule_value", C.c_double, p, i64, i64),
        ("rt_plan_new", st, p, C.POINTER(PlanOptions), C.POINTER(p)), ("rt_plan_free", None, p),
        ("rt_plan_bind", st, p, C.POINTER(Feed), i), ("rt_plan_run", st, p, C.POINTER(Feed), i),
        ("rt_plan_result", st, p, s, C.POINTER(Result)), ("rt_plan_memory", Memory, p),
        ("rt_plan_steps", i, p), ("rt_plan_step", st, p, i, C.POINTER(StepInfo)),
        ("rt_graph_read", st, s, C.POINTER(ReadOptions), p, C.POINTER(p)),
        ("rt_machine_info", None, C.POINTER(Machine)), ("rt_heap_counts", None, dims, dims),
    ):
        f = getattr(lib, name)
        f.restype, f.argtypes = result, list(arguments)


declare()


def check(status):
    if status != 0:
        raise RetortError(status)


def dims_of(shape):
    return (C.c_int64 * max(len(shape), 1))(*shape)


def array_of(dtype, shape, pointer):
    """A NumPy copy of memory of the library; bf16 is widened to f32."""
    kind = np.dtype(DTYPES[NAMES[dtype]])
    n = int(np.prod(shape, dtype=np.int64))
    a = np.frombuffer(C.string_at(pointer, n * kind.itemsize), kind).reshape(shape)
    return (a.astype(np.uint32) << 16).view(np.float32) if NAMES[dtype] == "bf16" else a


class Store:
    def __init__(self):
        self.p = C.c_void_p()
        check(lib.rt_store_new(C.byref(self.p)))

    def __del__(self):
        lib.rt_store_free(self.p)

    def init(self, seed):
        check(lib.rt_store_init(self.p, seed))

    def info(self):
        """{name: (dtype, shape, is parameter)}"""
        found, v = {}, VariableInfo()
        for i in range(lib.rt_store_count(self.p)):
            check(lib.rt_store_info(self.p, i, C.byref(v)))
            found[v.name.decode()] = NAMES[v.dtype], tuple(v.dim[:v.rank]), v.parameter
        return found

    def set(self, name, array):
        array = np.ascontiguousarray(array)
        check(lib.rt_store_set(self.p, name.encode(), array.ctypes.data, array.nbytes))

    def get(self, name):
        dtype, shape, _ = self.info()[name]
        a = np.empty(shape, DTYPES[dtype])
        check(lib.rt_store_get(self.p, name.encode(), a.ctypes.data, a.nbytes))
        return a


class Graph:
    def __init__(self, store, path=None, classifier=False):
        """Empty, or read from an .onnx file."""
        self.store, self.p = store, C.c_void_p()
        if path is None:
            check(lib.rt_graph_new(store.p, C.byref(self.p)))
        else:
            check(lib.rt_graph_read(str(path).encode(), C.byref(ReadOptions(classifier, 0, 0, 0)), store.p, C.byref(self.p)))

    def __del__(self):
        lib.rt_graph_free(self.p)

    def built(self, value):
        if not value:
            check(lib.rt_graph_status(self.p))
        return value

    def input(self, name, dtype, shape):
        """A dimension that is a string is a symbol."""
        shape = [lib.rt_symbol(self.p, d.encode()) if isinstance(d, str) else d for d in shape]
        return self.built(lib.rt_input(self.p, name.encode(), NAMES.index(dtype), len(shape), dims_of(shape)))

    def parameter(self, name, shape):
        return self.built(lib.rt_parameter(self.p, name.encode(), len(shape), dims_of(shape), Init()))

    def statistic(self, name, shape):
        return self.built(lib.rt_statistic(self.p, name.encode(), 0, len(shape), dims_of(shape), Init()))

    def apply(self, op, *inputs, options=None, name=None):
        return self.built(lib.rt_apply(self.p, op.encode(), name and name.encode(), (C.c_void_p * len(inputs))(*inputs),
                                       len(inputs), options and options.encode()))

    def output(self, value, index):
        return self.built(lib.rt_output(value, index))

    def model(self, name, x, options=""):
        return self.built(lib.rt_model(self.p, name.encode(), x, options.encode()))

    def cross_entropy(self, logits, target, options=""):
        return self.built(lib.rt_cross_entropy(self.p, logits, target, options.encode()))

    def mark_output(self, name, value):
        lib.rt_mark_output(self.p, name.encode(), value)
        check(lib.rt_graph_status(self.p))

    def find(self, name):
        return lib.rt_find(self.p, name.encode())

    def gradients(self, loss, values):
        wrt, grad = (C.c_void_p * len(values))(*values), (C.c_void_p * len(values))()
        check(lib.rt_gradients(loss, wrt, len(values), grad))
        return list(grad)

    def text(self):
        out = C.c_void_p()
        check(lib.rt_graph_text(self.p, C.byref(out)))
        s = C.string_at(out).decode()
        lib.rt_text_free(out)
        return s

    # Passes replace the graph: values from before are gone, find() them again.
    def eval(self):
        check(lib.rt_pass_eval(C.byref(self.p), None))

    def fold_batch_norm(self):
        check(lib.rt_pass_fold_batch_norm(C.byref(self.p), None))

    def fuse(self):
        check(lib.rt_pass_fuse(C.byref(self.p), None))

    def cast(self, dtype):
        check(lib.rt_pass_cast(C.byref(self.p), None, NAMES.index(dtype)))

    def train(self, loss, options):
        check(lib.rt_pass_train(C.byref(self.p), loss.encode(), options.encode()))

    def ema(self):
        check(lib.rt_pass_ema(C.byref(self.p)))

    def layout(self):
        check(lib.rt_pass_layout(C.byref(self.p)))

    def prune(self):
        check(lib.rt_pass_prune(C.byref(self.p)))


class Plan:
    def __init__(self, graph, kernels="auto", memory_limit=0, profile=False):
        self.graph, self.p = graph, C.c_void_p()
        options = PlanOptions(["auto", "direct", "reference"].index(kernels), memory_limit, profile)
        check(lib.rt_plan_new(graph.p, C.byref(options), C.byref(self.p)))

    def __del__(self):
        lib.rt_plan_free(self.p)

    def run(self, outputs=(), **arrays):
        """Feed arrays by input name (their dtypes must be the inputs'); the named outputs as NumPy arrays."""
        arrays = {k: np.asarray(v, order="C") for k, v in arrays.items()}
        feeds = (Feed * len(arrays))(*[Feed(k.encode(), v.ndim, dims_of(v.shape), v.ctypes.data) for k, v in arrays.items()])
        check(lib.rt_plan_run(self.p, feeds, len(feeds)))
        return {name: self.result(name) for name in outputs}

    def result(self, name):
        r = Result()
        check(lib.rt_plan_result(self.p, name.encode(), C.byref(r)))
        return array_of(r.dtype, tuple(r.dim[:r.rank]), r.data)

    def memory(self):
        return lib.rt_plan_memory(self.p)

    def steps(self):
        info, found = StepInfo(), []
        for i in range(lib.rt_plan_steps(self.p)):
            check(lib.rt_plan_step(self.p, i, C.byref(info)))
            found.append({"name": info.name, "op": info.op, "kernel": info.kernel, "seconds": info.seconds,
                          "flops": info.flops, "bytes": info.bytes, "shape": tuple(info.dim[:info.rank])})
        return found


def schedule(text, total):
    """The values at all steps of a run."""
    p = C.c_void_p()
    check(lib.rt_schedule_new(text.encode(), C.byref(p)))
    values = np.array([lib.rt_schedule_value(p, step, total) for step in range(total)])
    lib.rt_schedule_free(p)
    return values


def machine():
    m = Machine()
    lib.rt_machine_info(C.byref(m))
    return m


if __name__ == "__main__":  # the declarations above find everything they name in the library
    m = machine()
    print("retort", lib.rt_version().decode(), m.cpu.decode(), m.isa.decode(), m.backend.decode(), lib.rt_threads(), "threads")
