"""retort data, from outside: what it finds, checks, draws, and downloads from a server that cuts, corrupts and stalls.

    RETORT=build/release/retort python3 tests/e2e/data.py

The files that are fetched are Fashion-MNIST's where Debian's package has put them, and CIFAR-10's in the directory that
RETORT_TEST_CIFAR10 names; without them those parts are left out, and it says so.
"""
import concurrent.futures
import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib

RETORT = os.environ.get("RETORT", "build/release/retort")
FASHION = "/usr/share/datasets/fashion-mnist"
CIFAR10 = os.environ.get("RETORT_TEST_CIFAR10", "build/cifar10")
failed = 0


def expect(good, what, done=None):
    global failed
    print("  ok     " if good else "  FAILED ", what, flush=True)
    if not good:
        failed += 1
        if done:
            print("        ", done.returncode, done.stdout[-300:], done.stderr[-600:])


def retort(*arguments, **environment):
    return subprocess.run([RETORT, "data", *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


# ---- a server with bad habits ----

class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `habit` says how it misbehaves, `asked` which ranges were wanted."""

    def __init__(self, files, habit=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.habit, self.asked, self.daemon_threads = files, habit, [], True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def base(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, address):
        pass  # clients hang up


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def hang_up(self):
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_GET(self):
        name, habit, server = self.path.rsplit("/", 1)[-1], self.server.habit, self.server
        data = server.files.get(name)
        wanted = self.headers.get("Range")
        server.asked.append((name, wanted))
        times = sum(1 for asked, _ in server.asked if asked == name)
        if data is None:
            self.send_error(404)
            return
        if habit == "busy" and times == 1:
            self.send_error(503)
            return
        if habit == "corrupt":
            data = data[: len(data) // 2] + b"XXXX" + data[len(data) // 2 + 4 :]
        if habit == "other":
            data = gzip.compress(b"something else", mtime=0)
        if habit == "endless":
            data = data * 3
        begin = 0
        if wanted and habit != "no ranges":
            begin = int(wanted.removeprefix("bytes=").split("-")[0])
            if begin >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        part = data[begin:]
        if habit != "endless":
            self.send_header("Content-Length", str(len(part)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if habit in ("cut", "no ranges") and times <= 2 and len(data) > 10000:
            self.wfile.write(part[: len(part) // 2])
            self.hang_up()
            return
        if habit in ("stall", "stall once") and len(data) > 10000000 and (habit == "stall" or times == 1):
            self.wfile.write(part[: len(part) // 3])
            self.wfile.flush()
            time.sleep(8)
            return
        self.wfile.write(part)
        if habit == "endless":
            self.hang_up()


def files_of(directory):
    return {name: open(os.path.join(directory, name), "rb").read() for name in sorted(os.listdir(directory))}


def names_in(directory):
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


# ---- fetching ----

def fetch_fashion(work):
    if not os.path.isdir(FASHION):
        print("  left out: downloads of fashion-mnist (its Debian package, dataset-fashion-mnist, is not installed)")
        return
    files = files_of(FASHION)

    def get(habit, to, *more):
        server = Server(files, habit)
        done = retort("get", "fashion-mnist", "--base", server.base(), "--to", os.path.join(work, to), "--stall", "1", *more)
        server.shutdown()
        return done, server.asked, names_in(os.path.join(work, to))

    # Most of their time is waiting, for a server or before asking again: all at once.
    habits = (None, "cut", "no ranges", "busy", "stall once", "corrupt", "other", "endless")
    with concurrent.futures.ThreadPoolExecutor(len(habits)) as pool:
        seen = dict(zip(habits, pool.map(lambda habit: get(habit, habit or "plain"), habits)))

    done, asked, there = seen[None]
    expect(done.returncode == 0 and there == sorted(files) and len(asked) == 4, "four files come, under their names", done)
    done, asked, there = get(None, "plain")
    expect(done.returncode == 0 and not asked, "what is there and right isn't asked for again", done)
    done, asked, there = seen["cut"]
    resumed = [r for _, r in asked if r]
    expect(done.returncode == 0 and there == sorted(files) and len(resumed) >= 4, "a cut connection is resumed", done)
    expect("trying again" in done.stderr, "… and it says so", done)
    done, asked, there = seen["no ranges"]
    expect(done.returncode == 0 and there == sorted(files), "a server without ranges: from the start", done)
    done, asked, there = seen["busy"]
    expect(done.returncode == 0 and there == sorted(files), "a server that is busy once is asked again", done)
    done, asked, there = seen["stall once"]
    expect(done.returncode == 0 and there == sorted(files), "a connection that stalls is given up and resumed", done)
    done, asked, there = seen["corrupt"]
    expect(done.returncode == 1 and not there and "thrown away" in done.stderr, "damaged contents are thrown away", done)
    done, asked, there = seen["other"]
    expect(done.returncode == 1 and not there and "holds 14 bytes, expected 47040016" in done.stderr,
           "so are other contents", done)
    done, asked, there = seen["endless"]
    expect(done.returncode == 1 and not there and "more than the" in done.stderr, "more than can be right is not taken", done)
    server = Server({})
    done = retort("get", "fashion-mnist", "--base", server.base(), "--to", os.path.join(work, "none"))
    expect(done.returncode == 1 and "404" in done.stderr and len(server.asked) == 1, "404 is final", done)
    done = retort("get", "fashion-mnist", RETORT_MIRROR="ftp://127.0.0.1/", RETORT_DATA=os.path.join(work, "ftp"))
    expect(done.returncode == 1 and not names_in(os.path.join(work, "ftp", "fashion-mnist")), "nothing but HTTP", done)
    whole = dict(files)
    part = os.path.join(work, "kept")
    os.makedirs(part)
    name = "train-images-idx3-ubyte.gz"
    open(os.path.join(part, name + ".fetched.part"), "wb").write(whole[name][:1000000])
    server = Server(files)
    done = retort("get", "fashion-mnist", "--base", server.base(), "--to", part)
    expect(done.returncode == 0 and (name, "bytes=1000000-") in server.asked, "a part from an earlier run is gone on from", done)
    home = os.path.join(work, "home")
    server = Server(files)
    done = retort("get", "fashion-mnist", RETORT_MIRROR=server.base(), RETORT_DATA=home)
    expect(done.returncode == 0, "mirror and place by environment", done)
    listed = json.loads(retort("list", "--json", RETORT_DATA=home).stdout)
    expect({d["name"]: d["directory"] for d in listed["data"]}["fashion-mnist"] == os.path.join(home, "fashion-mnist"),
           "list finds what was fetched first")
    done = retort("check", "fashion-mnist:" + os.path.join(work, "plain"))
    expect(done.returncode == 0 and done.stdout.count("SHA-256 is as published") == 4 and
           "54000 training, 6000 validation and 10000 test images" in done.stdout, "check of what was fetched", done)


def fetch_archive(work):
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    if not all(os.path.exists(os.path.join(CIFAR10, name)) for name in names):
        print("  left out: cifar10 (RETORT_TEST_CIFAR10 names no directory with its binary version)")
        return

    def archive(skip=None, spoil=None, evil=False):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as tar:
            for name in names:
                if name == skip:
                    continue
                data = open(os.path.join(CIFAR10, name), "rb").read()
                if name == spoil:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                info = tarfile.TarInfo(("../../" if evil else "cifar-10-batches-bin/") + name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def get(data, to):
        server = Server({"cifar-10-binary.tar.gz": data})
        done = retort("get", "cifar10", "--base", server.base(), "--to", os.path.join(work, to, "in"))
        server.shutdown()
        return done, names_in(os.path.join(work, to, "in"))

    good = archive()
    done, there = get(good, "archive")
    expect(done.returncode == 0 and there == sorted(names), "an archive is unpacked and goes", done)
    done = retort("check", "cifar10:" + os.path.join(work, "archive", "in"))
    expect(done.returncode == 0 and done.stdout.count("as published") == 6, "check of CIFAR-10", done)
    done, there = get(archive(spoil="test_batch.bin"), "spoilt")
    expect(done.returncode == 1 and "test_batch.bin" not in there and "its SHA-256 is" in done.stderr,
           "a member that isn't the published one doesn't get its name", done)
    done, there = get(archive(skip="data_batch_3.bin"), "short")
    expect(done.returncode == 1 and "there is no data_batch_3.bin in it" in done.stderr, "a missing member is named", done)
    done, there = get(good[: len(good) // 2], "half")
    expect(done.returncode == 1 and "test_batch.bin" not in there, "half an archive", done)
    done, there = get(archive(evil=True), "evil")
    expect(done.returncode == 0 and there == sorted(names) and names_in(os.path.join(work, "evil")) == ["in"],
           "members can't choose their place", done)


# ---- looking ----

def read_png(path):
    """Size and pixels of an 8-bit colour PNG without interlacing: enough for what preview writes."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", data[at + 8 : at + 18])
        if kind == b"IDAT":
            packed += data[at + 8 : at + 8 + n]
        at += n + 12
    assert (depth, colour) == (8, 2)
    return width, height, zlib.decompress(packed)


def preview(work):
    sheet = os.path.join(work, "sheet.png")
    done = retort("preview", "synthetic", "--options", "shape=3,16,16", "--rows", "3", "--columns", "5", "-o", sheet)
    expect(done.returncode == 0, "a contact sheet", done)
    width, height, packed = read_png(sheet)
    expect((width, height) == (6 + 5 * 70, 6 + 3 * 81), "its size is that of its cells")
    expect(len(set(packed)) > 100, "something is on it")
    first = hashlib.sha256(open(sheet, "rb").read()).digest()
    retort("preview", "synthetic", "--options", "shape=3,16,16", "--rows", "3", "--columns", "5", "-o", sheet)
    expect(hashlib.sha256(open(sheet, "rb").read()).digest() == first, "the same sheet every time")
    done = retort("preview", "synthetic", "--rows", "2", "--columns", "3", "--augment", "crop=4 flip cutmix=1", "--out", sheet)
    expect(done.returncode == 0, "one of variants", done)
    done = retort("preview", "synthetic", "-o", os.path.join(work, "no", "such", "sheet.png"))
    expect(done.returncode == 1 and "can't be written" in done.stderr, "a place that isn't there", done)


def usage(work):
    for arguments, fragment in (
        (["get"], "say of which"), (["list", "x"], "takes no name"), (["frob"], "there is no frob"),
        (["get", "imagefolder"], "isn't to be had"), (["check", "nothing"], "there is no data set nothing"),
        (["preview", "synthetic"], "-o sheet.png"), (["preview", "synthetic", "-o", "x", "--split", "all"], "expected train"),
        (["check", "synthetic", "--options", "validation=7"], "outside 0 to 1"),
        (["preview", "synthetic", "--rows", "0", "-o", "x"], "from 1 to 100")):
        done = retort(*arguments)
        expect(done.returncode == 2 and fragment in done.stderr, f"data {' '.join(arguments)}: {fragment}", done)
    done = retort("check", "cifar10", RETORT_DATA=work)
    expect(done.returncode == 1 and f"cifar10 is not in {work}/cifar10" in done.stderr and "data get cifar10" in done.stderr,
           "what isn't there: where it was looked for, and what to do", done)
    listed = retort("list", RETORT_DATA=work)
    expect(listed.returncode == 0 and "retort data get cifar100" in listed.stdout, "list", listed)


with tempfile.TemporaryDirectory() as work:
    usage(work)
    preview(work)
    fetch_fashion(work)
    fetch_archive(work)
sys.exit(failed > 0)
