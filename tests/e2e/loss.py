"""retort loss from outside: values, gradients, files, refusals. Needs only Python's own modules."""
import json
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from support.command import RETORT, check, finish


def run(*arguments):
    return subprocess.run([RETORT, "loss", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def value_of(*arguments):
    done = run(*arguments, "--json")
    check(done.returncode == 0, f"{arguments}: {done.stderr}")
    return json.loads(done.stdout or '{"value": NaN, "gradient": []}')


def near(found, expected, tolerance=1e-6):
    return abs(found - expected) <= tolerance * abs(expected)


def refuses(culprit, *arguments):
    done = run(*arguments)
    check(done.returncode == 2 and done.stdout == "" and done.stderr.startswith("retort: ") and
          done.stderr.count("\n") == 1 and culprit in done.stderr, f"{arguments}: one sentence with {culprit}: {done.stderr}")


def save(path, kind, shape, values):
    """An array in NumPy's form."""
    letter = {"<f8": "d", "<f4": "f", "<i8": "q", "<i4": "i"}[kind]
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
                     struct.pack(f"<{len(values)}{letter}", *values))
    return path


def floats(path):
    data = path.read_bytes()
    data = data[10 + struct.unpack("<H", data[8:10])[0]:]
    return struct.unpack(f"<{len(data) // 8}d", data)


def flat(x):
    return [v for part in x for v in flat(part)] if isinstance(x, list) else [x]


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        logits = [2 * math.sin(1 + 5 * i + j) for i in range(4) for j in range(5)]
        targets = [3 * math.cos(0.5 + 5 * i + 2 * j) for i in range(4) for j in range(5)]
        s, t = save(work / "s.npy", "<f8", (4, 5), logits), save(work / "t.npy", "<f8", (4, 5), targets)
        y = save(work / "y.npy", "<i4", (4,), range(4))
        wide = save(work / "wide.npy", "<f8", (4, 6), range(24))
        maps = [save(work / f"m{i}.npy", "<f8", (4, 3, 2, 2), values) for i, values in enumerate((
            [math.sin(k) for k in range(48)], [math.sin(0.3 * k + 1) for k in range(48)],
            [math.cos(0.7 * k) for k in range(48)], [math.cos(1.1 * k + 2) for k in range(48)]))]
        both = ("--student", s, "--teacher", t)

        check(near(value_of("kd", *both, "--temperature", 4)["value"], 3.638418527), "kd at temperature 4")
        check(near(value_of("kd:temperature=1", *both)["value"], 2.015214789), "options after the name")
        check(near(value_of("kd:temperature=1", *both, "--weight=2")["value"], 4.030429578), "and as flags")
        check(near(value_of("dkd", *both, "--labels", y)["value"], 33.288910862), "dkd")
        check(near(value_of("rkd_angle", "--student", maps[0], "--teacher", maps[2])["value"], 0.205679506), "rkd_angle")
        check(near(value_of("fsp", "--student-features", f"{maps[0]},{maps[1]}", "--teacher-features",
                            f"{maps[2]},{maps[3]}")["value"], 0.178099954), "fsp of two layers")

        seen = value_of("kd", *both, "--temperature", 4, "--grad")
        check(set(seen) == {"value", "gradient"} and len(seen["gradient"]) == 4 and len(seen["gradient"][0]) == 5,
              f"--grad --json: {sorted(seen)}")
        for i in range(4):  # T·(p_s − p_t)/N
            soft = []
            for z in (logits, targets):
                e = [math.exp(v / 4) for v in z[5 * i:5 * i + 5]]
                soft.append([v / sum(e) for v in e])
            check(all(abs(g - (a - b)) < 1e-9 for g, a, b in zip(seen["gradient"][i], *soft)), f"gradient of sample {i}")
        check("gradient" not in value_of("kd", *both), "no gradient where none is asked for")
        done = run("kd", *both, "--temperature", 4, "--out", work / "g.npy")
        check(done.returncode == 0 and "norm" in done.stdout, f"--out: {done.stderr}")
        written = floats(work / "g.npy")
        check(len(written) == 20 and all(near(a, b, 1e-14) for a, b in zip(flat(seen["gradient"]), written)),
              "--out writes what --json prints")

        done = run("--list")
        rows = json.loads(run("--list", "--json").stdout)
        check(all(row["name"] + ":" in done.stdout and row["formula"] and row["paper"] for row in rows), "--list")
        check({"kd", "dkd", "crd", "rkd_angle"} <= {row["name"] for row in rows}, "--list --json")
        check({row["name"] for row in rows if row["couples_samples"]} ==
              {"dist", "sp", "pkt", "crd", "rkd_distance", "rkd_angle"}, "which losses couple samples")

        refuses("temperature=0 must be above 0", "kd", *both, "--temperature", 0)
        refuses("did you mean temperature?", "kd", *both, "--temprature", 4)
        refuses("--temperature needs a value", "kd", *both, "--temperature")
        refuses("the weights are all zero", "kd", *both, "--weight", 0)
        refuses("5 classes and the teacher 6", "kd", "--student", s, "--teacher", wide)
        refuses("needs labels", "dkd", *both)
        refuses("needs the teacher's logits", "kd", "--student", s)
        refuses("label[3] is 3; expected 0 to 2", "dkd", "--student", save(work / "a.npy", "<f4", (4, 3), range(12)),
                "--teacher", work / "a.npy", "--labels", y)
        refuses("with 2 classes", "dkd", "--student", save(work / "b.npy", "<f4", (4, 2), range(8)), "--teacher",
                work / "b.npy", "--labels", y)
        refuses("can't be adapted", "hint", "--student", save(work / "c.npy", "<f4", (2, 2, 2), range(8)), "--teacher", work / "c.npy")
        refuses("did you mean kd?", "kdd", *both)
        refuses("NAME is missing")
        done = run("kd", "--student", work / "none.npy", "--teacher", t)
        check(done.returncode == 1 and "none.npy" in done.stderr, f"a file that isn't there: {done.stderr}")
    sys.exit(finish())


main()
