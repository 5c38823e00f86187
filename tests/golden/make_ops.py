"""Write tests/golden/ops.json: what PyTorch, in float64, says of every op's values and gradients.

    python tests/golden/make_ops.py            write the file
    python tests/golden/make_ops.py --check    compute everything again and compare with the file

A case: {"op", "options", "inputs": [...], "loss": [indices of outputs], "outputs": [...], "grads": [...]}. An input is
null (left out) or {"dtype", "shape", "values"}; dtype "float" is whichever precision is under test, "f32" always f32. "grads" holds, for
each input, the gradient of the sum over the outputs o named by "loss" of Σ_k cos(0.37 k + 0.11 o) y_k; null: not asked
for, false: there is none. Inputs are representable in f32, so that f32 and f64 see the same numbers.
An optimizer's case has "steps": for each further step the inputs that are new; "feedback" says which output of a step
is which input of the next.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch.ao.quantization import MovingAverageMinMaxObserver

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.json")
CASES = []
_stream = 0


# ---- inputs: hashes, so that they are the same everywhere ----

def uniform(n):
    """n numbers in [0, 1) of the next stream: splitmix64."""
    global _stream
    _stream += 1
    with np.errstate(over="ignore"):
        z = (np.arange(n, dtype=np.uint64) + np.uint64(_stream << 32)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def x(*shape, low=-2.0, high=2.0):
    """Multiples of 1/32 in [low, high]: short in text, exact in f32."""
    n = int(np.prod(shape))
    return (np.round((low + (high - low) * uniform(n)) * 32) / 32).reshape(shape)


def positive(*shape):
    return x(*shape, low=0.25, high=2.25)


def distinct(*shape):
    """No two alike, none 0: for maxima."""
    n = int(np.prod(shape))
    return ((np.argsort(uniform(n)) - n // 2 + 0.5) / 32).reshape(shape)


def ids(*shape, below):
    return (uniform(int(np.prod(shape))) * below).astype(np.int64).reshape(shape)


class Fixed:
    """A floating input whose gradient nobody asks for."""

    def __init__(self, value):
        self.value = np.asarray(value, dtype=np.float64)


class Variable(Fixed):
    """Lives in the store."""


# ---- cases ----

def numbers(t):
    t = t.detach().cpu()
    if t.dtype in (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool):
        return [int(v) for v in t.flatten()]
    return [int(v) if v == int(v) and abs(v) < 1e9 else float(f"{v:.12g}") for v in t.double().flatten().tolist()]


def weights(t, o):
    return torch.cos(0.37 * torch.arange(t.numel(), dtype=torch.float64) + 0.11 * o).reshape(t.shape)


def to_json(value):
    if value is None:
        return None
    inner = value.value if isinstance(value, Fixed) else np.asarray(value)
    kind = {"float32": "f32", "int8": "s8"}.get(inner.dtype.name) or \
        {"f": "float", "i": "s64", "u": "u8", "b": "bool"}[inner.dtype.kind]
    d = {"dtype": kind, "shape": list(inner.shape), "values": numbers(torch.tensor(inner))}
    return {**d, "variable": True} if isinstance(value, Variable) else d


def tensor(value):
    if value is None:
        return None
    if isinstance(value, Fixed):
        return torch.tensor(value.value)
    t = torch.tensor(np.asarray(value))
    return t.requires_grad_() if t.is_floating_point() else t


def case(op, options, inputs, f, loss=(0,)):
    """f: torch tensors → output or outputs, in the order of ours."""
    ins = [tensor(v) for v in inputs]
    outs = f(*ins)
    outs = [outs] if isinstance(outs, torch.Tensor) else list(outs)
    total = sum((weights(outs[o], o) * outs[o].double()).sum() for o in loss)
    asked = [i for i, t in enumerate(ins) if t is not None and t.requires_grad]
    grads = [None] * len(ins)
    if loss and asked:
        if torch.is_tensor(total) and total.requires_grad:
            got = torch.autograd.grad(total, [ins[i] for i in asked], allow_unused=True)
        else:
            got = [None] * len(asked)
        for i, g in zip(asked, got):
            grads[i] = False if g is None else numbers(g)
    CASES.append({
        "op": op, "options": options, "inputs": [to_json(v) for v in inputs], "loss": list(loss),
        "outputs": [{"shape": list(t.shape), "values": numbers(t)} for t in outs], "grads": grads,
    })


def unary():
    ends = np.array([-6.0, -3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0, 7.5, -8.0, 20.0, -20.0])  # where pieces meet, and tails
    plain = {
        "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
        "hardswish": F.hardswish, "neg": torch.neg, "square": torch.square,
        "hardsigmoid": lambda v: F.relu6(v + 3) / 6,  # F.hardsigmoid's own gradient is 1/6 in f32, even in float64
    }
    for op, f in plain.items():
        case(op, "", [np.concatenate([ends, x(13, low=-7, high=7)])], f)
        case(op, "", [x(2, 3, 3, 2)], f)
    for alpha in (0.01, 0.2):
        case("leaky_relu", f"alpha={alpha}", [np.concatenate([ends, x(13, low=-7, high=7)])],
             lambda v: F.leaky_relu(v, alpha))
    for approximate in ("none", "tanh"):
        case("gelu", f"approximate={approximate}", [np.concatenate([ends[:10], x(13, low=-5, high=5)])],
             lambda v: F.gelu(v, approximate=approximate))
    case("gelu", "", [x(2, 3, 3, 2)], F.gelu)
    case("exp", "", [x(5, 7, low=-5, high=3)], torch.exp)
    case("log", "", [positive(5, 7)], torch.log)
    case("sqrt", "", [positive(5, 7)], torch.sqrt)


def binary():
    for op, f in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)):
        for a, b in (((2, 3, 4, 3), (2, 3, 4, 3)), ((2, 3, 4, 3), (1, 3, 1, 1)), ((4, 1), (3, 1, 5)), ((3, 5), (5,)),
                     ((2, 3), ()), ((), (7,)), ((1, 1), (1, 1))):
            case(op, "", [x(*a), positive(*b)], f)


def moves():
    case("detach", "", [x(3, 4)], lambda v: v.detach())
    wide = np.array([-129.0, -3.5, -2.5, -0.75, 0.0, 0.3, 1.0, 1.00390625, 1.01171875, 3.140625, 127.0, 65504.0, 1e5])
    wide = wide.astype(np.float32).astype(np.float64)
    for dtype, t in (("f32", torch.float32), ("f64", torch.float64), ("bf16", torch.bfloat16)):
        case("cast", f"dtype={dtype}", [wide], lambda v: v.to(t))
    case("cast", "dtype=f16", [wide[:12]], lambda v: v.to(torch.float16))
    small = np.array([0.0, 1.0, 2.75, 100.0, 5.5])
    for dtype, t in (("s64", torch.int64), ("s32", torch.int32), ("s8", torch.int8), ("u8", torch.uint8), ("bool", torch.bool)):
        case("cast", f"dtype={dtype}", [Fixed(small)], lambda v: v.to(t), loss=())
    case("cast", "dtype=f32", [np.array([-3, 0, 7, 1 << 20])], lambda v: v.to(torch.float32), loss=())
    case("assign", "", [Variable(x(3, 4)), Fixed(x(3, 4))], lambda variable, value: value, loss=())

    case("reshape", "shape=6,-1", [x(2, 3, 4)], lambda v: v.reshape(6, -1))
    case("reshape", "shape=0,12", [x(2, 3, 4)], lambda v: v.reshape(2, 12))
    case("flatten", "", [x(2, 3, 4)], lambda v: v.flatten(1))
    case("flatten", "start=0 end=1", [x(2, 3, 4)], lambda v: v.flatten(0, 1))
    case("flatten", "", [x(2, 3, 2, 2)], lambda v: v.flatten(1))
    case("reshape_to", "", [x(2, 6), x(3, 4)], lambda v, like: v.reshape(like.shape))
    case("transpose", "", [x(2, 3, 4)], lambda v: v.permute(2, 1, 0))
    case("transpose", "perm=0,2,3,1", [x(2, 3, 4, 5)], lambda v: v.permute(0, 2, 3, 1))
    case("concat", "axis=1", [x(2, 3, 4), x(2, 1, 4), x(2, 2, 4)], lambda *v: torch.cat(v, 1))
    case("concat", "axis=-1", [x(2, 3), x(2, 4)], lambda *v: torch.cat(v, -1))
    case("concat", "axis=1", [x(2, 3, 4, 2), x(2, 5, 4, 2)], lambda *v: torch.cat(v, 1))
    case("slice", "axis=1 start=1 end=4", [x(2, 5, 3)], lambda v: v[:, 1:4])
    case("slice", "axis=-1 start=-5 end=-1 step=2", [x(3, 7)], lambda v: v[:, -5:-1:2])
    case("slice", "axis=0 start=2", [x(5, 3)], lambda v: v[2:])
    case("pad", "pads=0,1,2,0", [x(2, 3)], lambda v: F.pad(v, (2, 0, 0, 1)))
    case("pad", "pads=0,0,0,0,1,2,3,4 value=-1.5", [x(2, 3, 4, 5)], lambda v: F.pad(v, (3, 4, 1, 2), value=-1.5))
    case("reorder", "layout=channels_last", [Fixed(x(2, 3, 4, 5))], lambda v: v.clone(), loss=())
    case("reorder", "layout=row_major", [Fixed(x(2, 3, 4, 5))], lambda v: v.clone(), loss=())
    for axis in (0, 1, -1):
        case("gather", f"axis={axis}", [x(3, 4, 5), ids(2, 3, below=3)], lambda v, i: onnx_gather(v, i, axis))
    case("embedding", "", [x(7, 5), ids(3, 4, below=7)], lambda w, i: F.embedding(i, w))
    case("embedding", "padding_idx=2", [x(5, 3), ids(11, below=5)], lambda w, i: F.embedding(i, w, padding_idx=2))


def onnx_gather(v, index, axis):
    axis %= v.dim()
    taken = v.index_select(axis, index.flatten())
    return taken.reshape(v.shape[:axis] + index.shape + v.shape[axis + 1:])


def reductions():
    for op, f in (("sum", torch.sum), ("mean", torch.mean), ("max", torch.amax)):
        for shape, axes, keepdim in (((2, 3, 4), (), False), ((2, 3, 4), (1,), False), ((2, 3, 4, 5), (0, 2, 3), True),
                                     ((2, 3, 4), (-1, 0), False), ((5,), (0,), True), ((1, 1), (), True)):
            options = (f"axes={','.join(map(str, axes))} " if axes else "") + ("keepdim=true" if keepdim else "")
            case(op, options.strip(), [distinct(*shape)],
                 lambda v: f(v, dim=axes or tuple(range(v.dim())), keepdim=keepdim))
    case("max", "axes=1", [np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [5.0, 1.0, 0.0]])], lambda v: v.amax(1))
    for g, like in (((2, 3, 4), (3, 4)), ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (1, 1)), ((2, 3), ()), ((2, 3), (2, 3))):
        case("sum_to", "", [x(*g), Fixed(x(*like))], lambda v, like: v.sum_to_size(like.shape))
    case("expand_to", "axes=1", [x(2, 4), Fixed(x(2, 3, 4))], lambda v, like: v.unsqueeze(1).expand(like.shape).clone())
    case("expand_to", "axes=1 keepdim=true", [x(2, 1, 4), Fixed(x(2, 3, 4))], lambda v, like: v.expand(like.shape).clone())
    case("expand_to", "", [x(), Fixed(x(2, 3))], lambda v, like: v.expand(like.shape).clone())
    case("expand_to", "axes=0,2 mean=true", [x(3), Fixed(x(2, 3, 4))],
         lambda v, like: (v.reshape(1, 3, 1) / 8).expand(like.shape).clone())


def products():
    def conv(options, xs, ws, bias=False, residual=False, **kwargs):
        relu = "activation=relu" in options

        def f(v, w, b=None, r=None):
            y = F.conv2d(v, w, b, **kwargs)
            y = y if r is None else y + r
            return F.relu(y) if relu else y

        inputs = [x(*xs), x(*ws, low=-1, high=1)]
        if bias or residual:
            inputs.append(x(ws[0]) if bias else None)
        if residual:
            shape = F.conv2d(torch.zeros(xs), torch.zeros(ws), **kwargs).shape
            inputs.append(x(*shape))
        case("conv2d", options, inputs, f)

    conv("", (2, 3, 7, 5), (4, 3, 3, 3))
    conv("padding=1", (1, 3, 6, 6), (5, 3, 3, 3), bias=True, padding=1)
    conv("stride=2 padding=1", (2, 4, 7, 5), (3, 4, 3, 3), bias=True, stride=2, padding=1)
    conv("stride=2,1 padding=0,2 dilation=1,2", (1, 2, 8, 7), (3, 2, 2, 3), stride=(2, 1), padding=(0, 2), dilation=(1, 2))
    conv("padding=1 groups=2", (2, 4, 5, 5), (6, 2, 3, 3), bias=True, padding=1, groups=2)
    conv("padding=1 groups=6", (2, 6, 5, 4), (6, 1, 3, 3), padding=1, groups=6)
    conv("stride=2 padding=2 groups=3", (1, 3, 9, 7), (6, 1, 5, 5), bias=True, stride=2, padding=2, groups=3)
    conv("stride=2", (2, 5, 6, 7), (4, 5, 1, 1), stride=2)
    conv("", (1, 1, 1, 1), (1, 1, 1, 1), bias=True)
    conv("padding=1 activation=relu", (2, 3, 5, 4), (4, 3, 3, 3), bias=True, padding=1)
    conv("padding=1", (2, 3, 5, 4), (4, 3, 3, 3), residual=True, padding=1)
    conv("stride=2 padding=1 activation=relu", (2, 3, 5, 4), (4, 3, 3, 3), bias=True, residual=True, stride=2, padding=1)

    case("linear", "", [x(3, 5), x(4, 5)], F.linear)
    case("linear", "", [x(3, 5), x(4, 5), x(4)], F.linear)
    case("linear", "", [x(2, 3, 17), x(5, 17), x(5)], F.linear)
    case("linear", "", [x(1, 1), x(1, 1), x(1)], F.linear)
    case("linear", "", [x(6), x(5, 6), x(5)], F.linear)

    def matmul(options, a, b):
        ta, tb = "transpose_a" in options, "transpose_b" in options
        case("matmul", options, [x(*a), x(*b)],
             lambda u, v: torch.matmul(u.transpose(-1, -2) if ta else u, v.transpose(-1, -2) if tb else v))

    matmul("", (3, 5), (5, 4))
    matmul("transpose_a=true", (5, 3), (5, 4))
    matmul("transpose_b=true", (3, 5), (4, 5))
    matmul("transpose_a=true transpose_b=true", (5, 3), (4, 5))
    matmul("", (2, 3, 4, 5), (2, 3, 5, 3))
    matmul("transpose_b=true", (2, 3, 4, 5), (2, 3, 6, 5))
    matmul("", (2, 1, 4, 5), (3, 5, 2))
    matmul("transpose_a=true", (4, 2, 3), (2, 5))
    matmul("", (1, 1), (1, 1))


def levels(*shape, low=0, high=255):
    """u8, or s8 where there are negative ones."""
    n = int(np.prod(shape))
    return (low + uniform(n) * (high - low + 1)).astype(np.uint8 if low >= 0 else np.int8).reshape(shape)


def int8_result(acc, scale, bias, residual, residual_scale=1.0, relu=False, f32=False, high=255):
    """What follows a sum of integers, in f32 like the int8 ops; channels are axis 1."""
    shape = [1, -1] + [1] * (acc.dim() - 2)
    y = acc.float() * scale.reshape(shape) + bias.reshape(shape)
    if residual is not None:
        y = y + residual_scale * residual.float()
    y = y.clamp(min=0) if relu else y
    return y if f32 else y.round().clamp(0, high).to(torch.uint8)


def winograd(x, w, multiplier, centre):
    """3×3, stride 1, padding 1, even sides or odd: F(2×2, 3×3) on 8-bit grids, one for each of 16 taps (and each filter)."""
    B = torch.tensor([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]).double()
    G = torch.tensor([[1, 0, 0], [.5, .5, .5], [.5, -.5, .5], [0, 0, 1]]).double()
    A = torch.tensor([[1, 1, 1, 0], [0, 1, -1, -1]]).double()
    step = 32768 / torch.tensor(multiplier).double().reshape(4, 4)
    middle = torch.zeros(4, 4).double()
    middle[1, 1] = centre
    u = G @ w.double() @ G.T
    worth = u.abs().amax(1, keepdim=True) / 127
    d = F.pad(x.double(), (1, 3, 1, 3)).unfold(2, 4, 2).unfold(3, 4, 2)  # N×C×rows×columns×4×4
    q = torch.floor((B @ d @ B.T - middle) / step + 0.5).clamp(-128, 127)
    m = torch.einsum("ncpqij,ocij->nopqij", q, (u / worth).round()) * (worth[:, 0] * step)[None, :, None, None]
    m[..., 1, 1] += (centre * u[:, :, 1, 1].sum(1))[None, :, None, None]
    y = (A @ m @ A.T).permute(0, 1, 2, 4, 3, 5)
    return y.reshape(y.shape[0], y.shape[1], y.shape[2] * 2, -1)[:, :, :x.shape[2], :x.shape[3]]


def fake_quant(v, scale, zero, low, high, factor=1.0):
    """In float64, which PyTorch's own have not; they must agree in float32."""
    class Quantize(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v, scale):
            q = zero + (v / scale).round()
            inside, q = (q >= low) & (q <= high), q.clamp(low, high) - zero
            ctx.save_for_backward(inside, q, v / scale)
            return q * scale

        @staticmethod
        def backward(ctx, dy):
            inside, q, steps = ctx.saved_tensors
            return dy * inside, factor * (dy * (q - inside * steps)).sum()

    y = Quantize.apply(v, scale)
    theirs = v.detach().float().requires_grad_(), scale.detach().float().reshape(1).requires_grad_()
    like = torch._fake_quantize_learnable_per_tensor_affine(*theirs, zero.float().reshape(1), low, high, factor)
    like.sum().backward()
    ours = torch.autograd.grad(Quantize.apply(v, s := scale.detach().requires_grad_()).sum(), [v, s], retain_graph=True)
    for a, b in zip((y, *ours), (like, theirs[0].grad, theirs[1].grad[0])):
        assert torch.allclose(a.detach().float(), b.detach(), rtol=1e-4, atol=1e-4), (a, b)
    return y


def observed(v, most, low=None, high=None, rate=1.0):
    """In float64, which PyTorch's own hasn't; it must agree in float32."""
    theirs = MovingAverageMinMaxObserver(averaging_constant=float(rate), dtype=torch.quint8, quant_min=0, quant_max=most)
    if low is not None:
        theirs(torch.stack([low, high]).float())
    theirs(v.float())
    now = [v.min().clamp(max=0), v.max().clamp(min=0)]
    if low is not None:
        now = [low + rate * (now[0] - low), high + rate * (now[1] - high)]
    scale = (now[1] - now[0]) / most
    out = (*now, scale, -(now[0] / scale).round())
    like = (theirs.min_val, theirs.max_val, *(q[0] for q in theirs.calculate_qparams()))
    assert torch.allclose(torch.stack(out).float(), torch.stack([q.float() for q in like]), rtol=1e-5), (out, like)
    return out


def quantized():
    for scale, zero in (0.017, 128), (0.02, 0), (0.008, 77):
        case("quantize", f"scale={scale} zero_point={zero}", [Fixed(x(2, 3, 5, 4))],
             lambda v: torch.quantize_per_tensor(v.float(), scale, zero, torch.quint8).int_repr(), loss=())
        case("dequantize", f"scale={scale} zero_point={zero}", [levels(2, 3, 5, 4)],
             lambda q: torch.tensor(scale, dtype=torch.float32) * (q.int() - zero).float(), loss=())

    for scale, zero, high in (17 / 1024, 100, 255), (5 / 256, 0, 127):
        case("fake_quant", f"high={high}", [x(2, 3, 5, 4), Fixed(scale), Fixed(zero)],
             lambda v, s, z: fake_quant(v, s, z, 0, high))
        case("fake_quant", f"high={high} learned=true scaled=true", [x(2, 3, 5, 4), np.array(scale), Fixed(zero)],
             lambda v, s, z: fake_quant(v, s, z, 0, high, (60 * high) ** -0.5))
    for shape in (5, 3, 3, 3), (4, 33):
        w = x(*shape)
        w.reshape(shape[0], -1)[:, 1] = 65 / 32  # odd: nothing lies between two levels
        case("fake_quant_weight", "", [w], lambda v: torch.cat([
            fake_quant(f, f.detach().abs().max() / 127, torch.zeros(()), -127, 127)[None] for f in v]))

    def numbers32(n, most):
        return (most * uniform(n)).astype(np.float32)

    for xs, ws, kwargs, text, ends in (
            ((2, 3, 7, 5), (4, 3, 3, 3), {"padding": 1, "stride": 2}, "padding=1 stride=2", {}),
            ((1, 16, 5, 5), (32, 16, 3, 3), {"padding": 1}, "padding=1 activation=relu residual_scale=0.5",
             {"relu": True, "residual_scale": 0.5}),
            ((1, 8, 5, 5), (8, 1, 3, 3), {"groups": 8}, "groups=8 high=127 x_high=127", {"high": 127}),
            ((2, 16, 4, 4), (8, 16, 1, 1), {}, "f32=true", {"f32": True})):
        shape = F.conv2d(torch.zeros(xs), torch.zeros(ws), **kwargs).shape
        residual = levels(*shape) if "residual_scale" in ends else None
        case("conv2d_int8", text,
             [levels(*xs, high=127), levels(*ws, low=-127, high=127), numbers32(ws[0], 0.002), numbers32(ws[0], 50.0), residual],
             lambda v, w, s, b, r: int8_result(F.conv2d(v.double(), w.double(), **kwargs), s, b, r, **ends), loss=())
    for text, kwargs in (("kernel=2", {"kernel_size": 2}),
                         ("kernel=3 stride=2 padding=1", {"kernel_size": 3, "stride": 2, "padding": 1})):
        case("max_pool2d_int8", text, [levels(2, 5, 7, 6)],
             lambda v: F.max_pool2d(v.double(), **kwargs).to(torch.uint8), loss=())
    for f32 in False, True:
        case("linear_int8", f"f32={str(f32).lower()}",
             [levels(5, 33, high=127), levels(7, 33, low=-127, high=127), numbers32(7, 0.004), numbers32(7, 90.0)],
             lambda v, w, s, b: int8_result(v.double() @ w.double().T, s, b, None, f32=f32), loss=())

    for xs, ws, text, ends in (((2, 5, 7, 6), (4, 5, 3, 3), "padding=1 centre=400", {"centre": 400}),
                               ((1, 16, 4, 4), (8, 16, 3, 3), "padding=1 activation=relu residual_scale=0.5",
                                {"relu": True, "residual_scale": 0.5})):
        multiplier = [int(9000 + 20000 * u) for u in uniform(16)]
        residual = levels(xs[0], ws[0], *xs[2:]) if "relu" in ends else None
        case("conv2d_winograd_int8", text + " multiplier=" + ",".join(map(str, multiplier)),
             [levels(*xs), levels(*ws, low=-127, high=127), numbers32(ws[0], 0.002), numbers32(ws[0], 50.0), residual],
             lambda v, w, s, b, r: int8_result(winograd(v, w, multiplier, ends.get("centre", 0)), s, b, r,
                                               **{k: e for k, e in ends.items() if k != "centre"}), loss=())

    for scale, zero in (0.017, 128), (0.02, 0):
        case("quantize_by", "", [Fixed(x(2, 3, 5, 4)), np.float32(scale), np.float32(zero)],
             lambda v, s, z: torch.quantize_per_tensor(v.float(), float(s), int(z), torch.quint8).int_repr(), loss=())
    for most in 255, 127:
        case("observe", f"high={most}", [Fixed(x(2, 3, 5, 4))], lambda v: observed(v, most), loss=())
        case("observe", f"high={most}", [Fixed(x(2, 3, 5, 4)), Fixed(-1.25), Fixed(3.5), Fixed(0.25)],
             lambda v, low, high, rate: observed(v, most, low, high, rate), loss=())
    w = x(4, 33)
    w[0, 0] = 127 / 32  # scales that are exact
    case("fake_quant_weight", "per_tensor=true", [w],
         lambda v: fake_quant(v, v.detach().abs().max() / 127, torch.zeros(()), -127, 127))

    def level(v, zero, high=255):
        return torch.clamp(v.round() + zero, 0, high).to(torch.uint8)

    case("requantize", "scale=0.37 from=12 zero_point=3", [levels(2, 3, 5, 4)], lambda q: level((q.double() - 12) * 0.37, 3), loss=())
    case("add_int8", "scale=0.37 from=12 scale_2=0.83 from_2=7 zero_point=30 high=127", [levels(2, 3, 5, 4), levels(2, 3, 5, 4)],
         lambda a, b: level((a.double() - 12) * 0.37 + (b.double() - 7) * 0.83, 30, 127), loss=())
    for text, kwargs in (("kernel=2", {"kernel_size": 2}),
                         ("kernel=3 stride=2 padding=1", {"kernel_size": 3, "stride": 2, "padding": 1}),
                         ("kernel=3 stride=2 padding=1 count_include_pad=false",
                          {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False})):
        case("avg_pool2d_int8", text + " scale=1.37 from=9 zero_point=40", [levels(2, 5, 7, 6)],
             lambda q: level(F.avg_pool2d(q.double() - 9, **kwargs) * 1.37, 40), loss=())
    for size in 1, 3:
        case("adaptive_avg_pool2d_int8", f"output_size={size} scale=2.13 from=100 zero_point=128", [levels(2, 5, 7, 6)],
             lambda q: level(F.adaptive_avg_pool2d(q.double() - 100, size) * 2.13, 128), loss=())


def pools():
    for options, kwargs, shape in (
        ("kernel=2", {"kernel_size": 2}, (2, 3, 7, 6)),
        ("kernel=3 stride=2 padding=1", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 2, 7, 5)),
        ("kernel=3,2 stride=2,1 padding=1,0", {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}, (1, 3, 6, 5)),
        ("kernel=3 stride=2 ceil_mode=true", {"kernel_size": 3, "stride": 2, "ceil_mode": True}, (1, 2, 6, 8)),
        ("kernel=2 stride=2 padding=1 ceil_mode=true",
         {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}, (1, 2, 5, 6)),
    ):
        case("max_pool2d", options, [distinct(*shape)], lambda v: F.max_pool2d(v, return_indices=True, **kwargs))
        case("avg_pool2d", options, [x(*shape)], lambda v: F.avg_pool2d(v, **kwargs))
        if "padding" in options:
            case("avg_pool2d", options + " count_include_pad=false", [x(*shape)],
                 lambda v: F.avg_pool2d(v, count_include_pad=False, **kwargs))
    for options, size, shape in (("", 1, (2, 3, 7, 5)), ("output_size=2", 2, (2, 3, 7, 5)), ("output_size=3,2", (3, 2), (1, 2, 8, 8)),
                                 ("output_size=4", 4, (1, 2, 4, 6)), ("output_size=5", 5, (1, 2, 3, 3))):
        case("adaptive_avg_pool2d", options, [x(*shape)], lambda v: F.adaptive_avg_pool2d(v, size))


def norms():
    def batch_norm(shape, residual=False, relu=False, eps=1e-5, momentum=0.1):
        c = shape[1]
        words = [f"eps={eps}" * (eps != 1e-5), f"momentum={momentum}" * (momentum != 0.1), "activation=relu" * relu]
        bn = [x(c), x(c), Fixed(x(c)), Fixed(positive(c))]
        dims = [i for i in range(len(shape)) if i != 1]

        def finish(y, r):
            y = y if r is None else y + r
            return F.relu(y) if relu else y

        def train(v, w, b, mean, var, r=None):
            mean, var = mean.clone(), var.clone()
            y = finish(F.batch_norm(v, mean, var, w, b, True, momentum, eps), r)
            invstd = 1 / torch.sqrt(v.var(dims, unbiased=False) + eps)
            return y, v.mean(dims), invstd, mean, var

        def evaluate(v, w, b, mean, var, r=None):
            return finish(F.batch_norm(v, mean, var, w, b, False, momentum, eps), r)

        more = [x(*shape)] if residual else []
        case("batch_norm_train", " ".join(filter(None, words)), [x(*shape)] + bn + more, train)
        case("batch_norm", " ".join(filter(None, words)), [x(*shape)] + bn + more, evaluate)

    batch_norm((2, 3, 5, 4))
    batch_norm((2, 3, 5, 4), relu=True)
    batch_norm((2, 5, 3, 3), residual=True)
    batch_norm((2, 3, 5, 4), residual=True, relu=True, eps=1e-3, momentum=0.25)
    batch_norm((5, 3))
    batch_norm((3, 2, 7), momentum=0.5)
    batch_norm((2, 17, 3, 1), relu=True)

    def apply(v, w, b, mean, invstd, r=None):
        c = (1, -1, 1, 1)
        y = (v - mean.view(c)) * (invstd * w).view(c) + b.view(c)
        return y if r is None else F.relu(y + r)

    def fixed(*shape):
        return Fixed(x(*shape))

    statistics = [fixed(3), fixed(3), fixed(3), Fixed(positive(3))]
    case("batch_norm_apply", "", [fixed(2, 3, 5, 4)] + statistics, apply)
    case("batch_norm_apply", "activation=relu", [fixed(2, 3, 5, 4)] + statistics + [fixed(2, 3, 5, 4)], apply)

    def layer_norm(v, w=None, b=None, eps=1e-5):
        mean, var = v.mean(-1), v.var(-1, unbiased=False)
        return F.layer_norm(v, v.shape[-1:], w, b, eps), mean, 1 / torch.sqrt(var + eps)

    case("layer_norm", "", [x(3, 7), x(7), x(7)], layer_norm)
    case("layer_norm", "", [x(2, 3, 17), x(17), x(17)], layer_norm)
    case("layer_norm", "eps=0.001", [x(2, 5), x(5)], lambda v, w: layer_norm(v, w, None, 1e-3))
    case("layer_norm", "", [x(4, 6)], layer_norm)


def losses():
    for op, f in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
        case(op, "", [x(3, 7)], lambda v: f(v, -1))
        case(op, "axis=1", [x(2, 5, 3)], lambda v: f(v, 1))
        case(op, "axis=0", [x(4, 3)], lambda v: f(v, 0))
        case(op, "", [np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0], [-80.0, 80.0, 79.5]])], lambda v: f(v, -1))
    case("dropout", "stream=3", [x(3, 5), Fixed(0.0), np.array(7), np.array(2)], lambda v, rate, seed, step: v + 0)

    def cross_entropy(logits, target, weight=None, **kwargs):
        total = F.cross_entropy(logits, target, weight, reduction="sum", **kwargs)
        if target.is_floating_point():
            count = torch.tensor(float(len(target)), dtype=torch.float64)
        else:
            used = target != kwargs.get("ignore_index", -100)
            w = torch.ones(logits.shape[1], dtype=torch.float64) if weight is None else weight
            count = w[target[used]].sum()
        return total, count

    def class_case(n, c, options="", target=None, weight=False, soft=False, **kwargs):
        logits = x(n, c, low=-4, high=4)
        if soft:
            p = x(n, c, low=0, high=2)
            target = Fixed((p / p.sum(1, keepdims=True)).astype(np.float32).astype(np.float64))
        elif target is None:
            target = ids(n, below=c)
        inputs = [logits, target] + ([Fixed(positive(c))] if weight else [])
        case("cross_entropy", options, inputs, lambda z, t, w=None: cross_entropy(z, t, w, **kwargs))

    class_case(5, 7)
    class_case(1, 2)
    class_case(5, 4, weight=True)
    class_case(5, 7, "label_smoothing=0.1", label_smoothing=0.1)
    class_case(5, 4, "label_smoothing=0.2", weight=True, label_smoothing=0.2)
    class_case(5, 4, target=np.array([1, -100, 3, 0, -100]))
    class_case(5, 4, "ignore_index=2 label_smoothing=0.1", target=np.array([1, 2, 3, 2, 0]), weight=True,
               ignore_index=2, label_smoothing=0.1)
    class_case(4, 5, soft=True)
    class_case(4, 5, "label_smoothing=0.1", soft=True, weight=True, label_smoothing=0.1)
    case("cross_entropy", "", [np.array([[1000.0, -1000.0, 0.0], [-90.0, 90.0, 89.0]]), np.array([0, 2])], cross_entropy)

    def with_count(f):
        return lambda a, b: (f(a, b), torch.tensor(float(a.numel()), dtype=torch.float64))

    for shape in ((3, 5), (2, 3, 4, 2)):
        case("mse_loss", "", [x(*shape), x(*shape)], with_count(lambda a, b: F.mse_loss(a, b, reduction="sum")))
        for beta in (1.0, 0.5):
            case("smooth_l1_loss", "" if beta == 1 else f"beta={beta}", [x(*shape), x(*shape)],
                 with_count(lambda a, b: F.smooth_l1_loss(a, b, reduction="sum", beta=beta)))


def optimizers():
    """Five steps of two parameters, with a new gradient and learning rate at each."""
    shapes, steps = ((3, 4), (7,)), 5

    def run(op, options, make, scalars, states, step_input=None):
        n, group = len(scalars), 2 + states
        start = [x(*s) for s in shapes]
        params = [torch.nn.Parameter(torch.tensor(v)) for v in start]
        optimizer = make(params)
        inputs = [Fixed(v) for v in scalars]
        for s, v in zip(shapes, start):
            inputs += [Variable(v), None] + [Variable(np.zeros(s)) for _ in range(states)]
        later = []
        for k in range(steps):
            lr = float(np.float32(scalars[0] * (1 - 0.15 * k)))
            optimizer.param_groups[0]["lr"] = lr
            new = {0: Fixed(lr)}
            if step_input is not None:
                new[step_input] = Fixed(float(k + 1))
            for j, p in enumerate(params):
                g = x(*shapes[j])
                p.grad = torch.tensor(g)
                new[n + group * j + 1] = Fixed(g)
            optimizer.step()
            if k == 0:
                for i, v in new.items():
                    inputs[i] = v
            else:
                later.append({str(i): to_json(v) for i, v in new.items()})
        names = ["momentum_buffer"] if states == 1 else ["exp_avg", "exp_avg_sq"]
        outs = []
        for p in params:
            state = optimizer.state[p]
            outs += [p] + [state[s] if state.get(s) is not None else None for s in names]
        CASES.append({
            "op": op, "options": options, "inputs": [to_json(v) for v in inputs], "loss": [],
            "outputs": [None if t is None else {"shape": list(t.shape), "values": numbers(t)} for t in outs],
            "grads": [None] * len(inputs), "steps": later,
            # output o of parameter j is input w, then the states behind g
            "feedback": [n + group * j + (0 if o == 0 else 1 + o) for j in range(len(shapes)) for o in range(1 + states)],
        })

    def f32(v):
        return float(np.float32(v))

    for momentum, decay, nesterov in ((0.0, 0.0, False), (0.9, 5e-4, False), (0.9, 1e-2, True)):
        momentum, decay = f32(momentum), f32(decay)
        run("sgd", "nesterov=true" if nesterov else "",
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov),
            [f32(0.1), momentum, decay, 1.0], 1)
    for b1, b2, eps, decay in ((0.9, 0.999, 1e-8, 1e-2), (0.5, 0.75, 1e-3, 0.0)):
        b1, b2, eps, decay = map(f32, (b1, b2, eps, decay))
        run("adamw", "", lambda p: torch.optim.AdamW(p, lr=0.1, betas=(b1, b2), eps=eps, weight_decay=decay),
            [f32(0.05), b1, b2, eps, decay, 1.0, 1.0], 2, step_input=5)


def guards():
    """What stands between gradients and optimizers."""

    def clipped(norm, loss, limit):
        p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        p.grad = torch.stack([norm * 0.6, norm * 0.8])
        torch.nn.utils.clip_grad_norm_([p], limit.item())
        return [p.grad[0] / (norm * 0.6), torch.isfinite(norm + loss).double()]

    case("blend", "", [Fixed(0.75), Fixed(-0.5)] + [Fixed(v) for s in ((3, 4), (5,)) for v in (x(*s), x(*s))],
         lambda p, q, a, b, c, d: [p * a + q * b, p * c + q * d], ())
    case("global_norm", "", [Fixed(x(3, 4)), Fixed(x(5)), Fixed(x(2, 1, 2, 2))], lambda *t: torch.nn.utils.get_total_norm(t), ())
    for norm, limit in ((3.0, 1.0), (0.5, 1.0), (3.0, float("1e18"))):
        case("gradient_scale", "", [Fixed(norm), Fixed(2.5), Fixed(float(np.float32(limit)))], clipped, ())


def relations():
    """Between the rows of a batch."""

    def distances(v):
        d = torch.linalg.vector_norm(v[:, None] - v[None], dim=2)
        return d, (d > 0).sum().double()

    def cosines(d):  # at i between j and k
        a, b, c = d[:, :, None], d[:, None, :], d[None]
        return (a.square() + b.square() - c.square()) / (2 * a * b)

    def angles(d, target):
        return F.smooth_l1_loss(cosines(d), cosines(target), reduction="sum"), torch.tensor(float(d.numel() * len(d)))

    case("one_hot", "", [ids(5, below=7), Fixed(x(5, 7))], lambda y, like: F.one_hot(y, like.shape[1]).double())
    for shape in ((5, 3), (2, 7), (1, 4)):
        case("pairwise_distance", "", [x(*shape)], distances)
    for n in (4, 1):
        case("angle_loss", "", [positive(n, n), Fixed(positive(n, n))], angles)


def selections():
    case("erf", "", [x(5, 7, low=-4, high=4)], torch.erf)
    case("abs", "", [np.concatenate([np.array([0.0, -0.0, -3.0, 2.5]), x(13)])], torch.abs)
    for op, f in (("maximum", torch.maximum), ("minimum", torch.minimum)):
        for a, b in (((2, 3, 4, 3), (2, 3, 4, 3)), ((4, 1), (3, 1, 5)), ((3, 5), ())):
            case(op, "", [x(*a) + 1 / 128, x(*b)], f)
    for op, f in (("less", torch.lt), ("equal", torch.eq)):
        case(op, "", [Fixed(x(4, 5)), Fixed(x(5))], f, loss=())
        case(op, "", [ids(3, 4, below=3), ids(3, 1, below=3)], f, loss=())
    case("where", "", [ids(3, 4, below=2).astype(bool), x(3, 4), x(4)], torch.where)
    case("where", "", [ids(2, 1, below=2).astype(bool), x(), x(2, 5)], torch.where)
    case("pow", "", [positive(3, 4), x(4)], torch.pow)
    case("expand", "shape=3,2,4", [x(2, 1)], lambda v: v.expand(3, 2, 4))
    case("expand", "shape=-1,1,4", [x(1, 1, 4), Fixed(x(5, 2))], lambda v, like: v.expand(5, 1, 4))
    up = {"mode": "bilinear", "align_corners": False}
    case("resize", "size=7,5 mode=linear", [x(2, 2, 4, 3)], lambda v: F.interpolate(v, (7, 5), **up))
    case("resize", "size=2,3 mode=linear", [x(1, 2, 5, 6)], lambda v: F.interpolate(v, (2, 3), **up))
    case("resize", "size=6,7 mode=linear place=align_corners", [x(1, 2, 3, 4)],
         lambda v: F.interpolate(v, (6, 7), mode="bilinear", align_corners=True))
    case("resize", "scale_rows=2 scale_columns=3 place=asymmetric nearest=floor", [x(1, 2, 3, 4)],
         lambda v: F.interpolate(v, scale_factor=(2, 3), mode="nearest"))


def close(a, b):
    """The same structure, numbers within 1e-11; else the path to the first difference."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return "keys"
        return next((f"{k}: {d}" for k in a if (d := close(a[k], b[k]))), None)
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return "length"
        return next((f"[{i}]: {d}" for i in range(len(a)) if (d := close(a[i], b[i]))), None)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool) and not isinstance(b, bool):
        return None if abs(a - b) <= 1e-11 * max(1, abs(a)) else f"{a} is now {b}"
    return None if a == b else f"{a} is now {b}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", action="store_true")
    check = p.parse_args().check
    torch.set_num_threads(1)
    for part in (unary, binary, moves, reductions, products, pools, norms, losses, optimizers, guards,
                 relations, selections, quantized):
        part()
    if check:
        with open(PATH) as f:
            stored = json.load(f)["cases"]
        if len(stored) != len(CASES):
            sys.exit(f"{PATH} has {len(stored)} cases, expected {len(CASES)}: run make_ops.py")
        wrong = [f"{a['op']} {a['options']}: {d}" for a, b in zip(stored, CASES) if (d := close(a, b))]
        print(f"{len(CASES)} cases, {len(wrong)} differ from {PATH}")
        sys.exit("\n".join(wrong) if wrong else 0)
    with open(PATH, "w") as f:
        head = json.dumps({"made_by": "tests/golden/make_ops.py", "torch": torch.__version__})
        f.write(head[:-1] + ', "cases": [\n')
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES))
        f.write("\n]}\n")
    print(f"{PATH}: {len(CASES)} cases, {os.path.getsize(PATH)} bytes")


if __name__ == "__main__":
    main()
