"""Files from outside: export and inspect, what they say and how they refuse. Needs only Python's own modules."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from support.command import RETORT, check, finish, refuses, run


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        header = json.dumps({"__metadata__": {"model": "mlp"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                             "n": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]}}).encode()
        source = work / "a.safetensors"
        source.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<6fq", 1, 2, 3, 4, 5, 6, 7))

        done = run("inspect", source)
        check(done.returncode == 0 and "2x3" in done.stdout and "scalar" in done.stdout and "model: mlp" in done.stdout and
              "safetensors, 2 tensors, 7 numbers" in done.stdout, f"inspect: {done.stdout}{done.stderr}")
        seen = json.loads(run("inspect", source, "--json").stdout)
        check(seen["tensors"][0] == {"name": "w", "dtype": "f32", "shape": [2, 3], "bytes": 24} and seen["bytes"] == 32 and
              seen["metadata"] == {"model": "mlp"} and seen["elements"] == 7, f"inspect --json: {seen}")

        chain = [source, work / "b.pth", work / "c.safetensors", work / "d.pt"]
        for a, b in zip(chain, chain[1:]):
            done = run("export", a, "-o", b)
            check(done.returncode == 0 and "2 tensors" in done.stdout, f"export to {b.name}: {done.stderr}")
        check((work / "b.pth").read_bytes() == (work / "d.pt").read_bytes(), "there and back gives the same bytes")
        seen = json.loads(run("export", source, f"--out={work / 'e.npz'}", "--json").stdout)
        check(seen["form"] == "npz" and len(seen["tensors"]) == 2, "export --json tells what was written")
        check(sorted(zipfile.ZipFile(work / "e.npz").namelist()) == ["n.npy", "w.npy"], "export to .npz")
        check(sorted(p.name for p in work.iterdir()) ==
              ["a.safetensors", "b.pth", "c.safetensors", "d.pt", "e.npz"], "nothing else is left behind")

        refuses(2, "-o FILE", "export", source)
        refuses(2, "one of", "export", source, "-o", work / "x.bin")
        refuses(2, ".npy holds one array", "export", source, "-o", work / "x.npy")
        refuses(1, "No such file", "export", work / "none.pth", "-o", work / "x.pth")
        refuses(1, "No such file", "export", source, "-o", work / "none" / "x.pth")
        refuses(1, "is a directory", "inspect", work)
        refuses(1, "No such file", "inspect", "none.pth")
        (work / "half.pth").write_bytes((work / "b.pth").read_bytes()[:-100])
        refuses(2, "half.pth: no readable zip archive", "inspect", work / "half.pth")
        (work / "text.pth").write_text("hello")
        refuses(2, "no known form", "inspect", work / "text.pth")
        (work / "call.pth").write_bytes(b"\x80\x02cos\nsystem\nU\x04true\x85R.")
        refuses(2, "call.pth: would call os.system: refused", "inspect", work / "call.pth")
        refuses(2, "would call os.system", "export", work / "call.pth", "-o", work / "x.pth")

        # A disk that fills up: the file that was there stays.
        before = (work / "b.pth").read_bytes()
        done = subprocess.run(["bash", "-c", 'trap "" XFSZ; ulimit -f 0; "$@"', "-", RETORT, "export", str(source), "-o",
                               str(work / "b.pth")], capture_output=True, text=True)
        check(done.returncode == 1 and "can't be written: " in done.stderr, f"full disk: {done.stderr}")
        check((work / "b.pth").read_bytes() == before, "full disk: the old file stays")
        check(not list(work.glob("*.tmp*")), "full disk: nothing half-made stays")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
