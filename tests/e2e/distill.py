"""Distillation from outside: a teacher's file, a student that learns from it, what is said before the first step, what is refused."""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.command import RETORT, check, check_sentence, finish

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
DATA = ["--data", "synthetic", "--data-options", "shape=1,12,12 images=1280 test_images=200 noise=32", "--batch", "32"]


def run(*arguments):
    return subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=ENVIRONMENT)


def refuses(status, culprit, *arguments):
    done = run(*arguments)
    what = f"{' '.join(map(str, arguments))}: "
    check(done.returncode == status, what + f"exit status {status}, is {done.returncode}")
    check_sentence(done, culprit, what)


def learns(work, teacher):
    student = ["distill", "--teacher", teacher, "--student", "resnet8:width=8", *DATA, "--epochs", "2", "--lr", "0.1"]
    done = run(*student, "--out", work / "kd", "--json", "--log-steps", "10")
    check(done.returncode == 0, f"distill: {done.stderr}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    begin, end = lines[0], lines[-1]
    check(begin["loss"] == "0.1·cross_entropy + 0.9·kd" and begin["teachers"][0]["model"] == "resnet8", f"begin {begin}")
    check(end["test"]["top1"] > 0.8, f"it learns: {end}")
    steps = [line for line in lines if line["event"] == "step"]
    check(len(steps) == 7 and steps[-1]["losses"]["kd"] < steps[0]["losses"]["kd"], "the student comes near to the teacher")
    names = [t["name"] for t in json.loads(run("inspect", work / "kd/model.best.pth", "--json").stdout)["tensors"]]
    check(names and not any("teacher" in n or "adapter" in n for n in names), "the student's file holds the student")
    done = run("eval", work / "kd/model.best.pth", "--data", "synthetic", "--data-options", DATA[3], "--precision", "auto", "--json")
    check(json.loads(done.stdout)["correct"] == end["test"]["correct"], f"and needs no teacher: {done.stderr}")

    done = run(*student, "--loss", "cross_entropy", "--loss", "hint:weight=10,layers=layer1:layer2", "--explain")
    check(done.returncode == 0 and "10·hint" in done.stdout and "adapter.hint.layer1.conv.weight" in done.stdout and
          "layer1 8x12x12 of the student, layer2 32x6x6 of the teacher" in done.stdout, f"--explain: {done.stdout}{done.stderr}")
    for loss in ("dkd", "dist", "attention_transfer", "sp", "rkd_distance", "rkd_angle", "vid", "nst", "pkt", "crd:queue=256"):
        done = run(*student, "--loss", "cross_entropy", "--loss", loss, "--epochs", "1", "--quiet", "--data-options",
                   "shape=1,12,12 images=160", "--out", work / loss.partition(":")[0])
        check(done.returncode == 0, f"{loss}: {done.stderr}")


def beside_the_teacher(work, teacher):
    """What `eval --teacher` says, and the picture of dark knowledge; both computed again here."""
    data = ["--data", "synthetic", "--data-options", DATA[3]]
    student = work / "kd/model.best.pth"
    done = run("eval", student, "--teacher", teacher, *data, "--json")
    check(done.returncode == 0, f"eval --teacher: {done.stderr}")
    seen = json.loads(done.stdout)
    alone = json.loads(run("eval", teacher, *data, "--json").stdout)
    told = seen["teacher"]
    check(told["correct"] == alone["correct"] and abs(told["ece"] - alone["ece"]) < 1e-12, "the teacher's own figures")
    check(0.5 < told["agreement"] <= 1 and told["agree"] == round(told["agreement"] * 200) and told["kl"] > 0, f"agreement {told}")
    itself = json.loads(run("eval", teacher, "--teacher", teacher, *data, "--json").stdout)["teacher"]
    check(itself["agreement"] == 1 and abs(itself["kl"]) < 1e-12, f"a network agrees with itself: {itself}")
    check("agrees on" in run("eval", student, "--teacher", teacher, *data).stdout, "and in words")
    refuses(1, "No such file", "eval", student, "--teacher", work / "none.pth", *data)

    dark = json.loads((work / "kd/dark_knowledge.json").read_text())
    check(dark["temperatures"] == [1, 2, 4, 8, 16] and len(dark["classes"]) == 10 and len(dark["images"]) == 12, "dark knowledge")
    for image in dark["images"]:
        check((work / "kd" / image["image"]).read_bytes()[:4] == b"\x89PNG", f"{image['image']} is there")
        for who in ("teacher", "student"):
            rows = image[who]
            check(all(abs(sum(p) - 1) < 1e-6 for p in rows) and [max(p) for p in rows] == sorted((max(p) for p in rows), reverse=True),
                  f"{who} of {image['id']}: probabilities, softer with T")
            squared = [p * p for p in rows[1]]  # softmax(z/2) squared is softmax(z), but for its sum
            check(all(abs(p / sum(squared) - q) < 1e-6 for p, q in zip(squared, rows[0])), f"{who} of {image['id']}: T = 1 from T = 2")
        right = image["teacher"][0].index(max(image["teacher"][0])) == image["label"]
        check(right or image["chosen"] == "disagree", "surest and least sure are right")
    unsure, sure = ([max(i["teacher"][0]) for i in dark["images"] if i["chosen"] == kind] for kind in ("unsure", "sure"))
    check(max(unsure) <= min(sure), "chosen by how sure the teacher is")
    check(not (work / "teacher/dark_knowledge.json").exists(), "a run without a teacher has no picture")


def refused(work, teacher):
    student = ["distill", "--teacher", teacher, "--student", "resnet8", *DATA]
    refuses(2, "--teacher is missing", "distill", "--student", "resnet8", *DATA)
    refuses(2, "did you mean", *student, "--loss", "hnt")
    refuses(2, "retort inspect MODEL --layers", *student, "--loss", "hint:layers=stage7")
    refuses(2, "must be above 0", *student, "--loss", "kd:temperature=-1")
    refuses(2, "alpha_is=hard means", *student, "--alpha", "0.3")
    refuses(2, "takes images of 1x12x12", *student, "--data-options", "shape=1,16,16")
    refuses(1, "No such file", "distill", "--teacher", work / "none.pth", "--student", "resnet8", *DATA)
    check(not list(work.glob("runs/*")), "what is refused leaves no directory")


def killed(work, teacher):
    """Killed again and again while it fills a cache, a run ends as the one that asks its teacher live; what it kept serves the next."""
    student = ["distill", "--teacher", teacher, "--student", "resnet8:width=8", *DATA, "--epochs", "6", "--draws", "3", "--checkpoint-steps", "5",
               "--quiet"]
    keep = ["--cache-teacher", work / "said.safetensors"]
    done = run(*student, "--out", work / "live")
    check(done.returncode == 0, f"live: {done.stderr}")
    for delay in (0.15, 0.3, 0.45, 0.6):
        again = ["--resume"] if (work / "killed/config.json").exists() else []
        with subprocess.Popen([RETORT, *map(str, student + keep), "--out", work / "killed", *again], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
            time.sleep(delay)
            process.kill()
    for out, *again in (("killed", "--resume"), ("after",)):
        done = run(*student, *keep, "--out", work / out, *again)
        check(done.returncode == 0 and (work / out / "model.last.pth").read_bytes() == (work / "live/model.last.pth").read_bytes(),
              f"{out}: the bits of the live run {done.stderr}")


def tools():
    done = run("inspect", "resnet20", "--layers")
    check(any(line.split() == ["layer3.2", "64x8x8"] for line in done.stdout.splitlines()), f"inspect --layers: {done.stdout[:300]}")
    done = run("bench", "--step", "distill", "--teacher-model", "resnet20", "--model", "resnet8", "--batch", "8", "--seconds", "0", "--json")
    seen = json.loads(done.stdout) if done.returncode == 0 else {}
    check(seen.get("step") == "distill" and seen.get("teacher") == "resnet20" and seen["images_per_second"]["median"] > 0 and
          seen["peak_memory_bytes"] > 0, f"bench --step distill: {done.stdout}{done.stderr}")
    refuses(2, "belong together", "bench", "--step", "distill")


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        teacher = work / "teacher/model.best.pth"
        done = run("train", "--model", "resnet8:width=16", *DATA, "--epochs", "3", "--out", work / "teacher", "--quiet")
        check(done.returncode == 0, f"teacher: {done.stderr}")
        learns(work, teacher)
        beside_the_teacher(work, teacher)
        refused(work, teacher)
        killed(work, teacher)
        tools()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
