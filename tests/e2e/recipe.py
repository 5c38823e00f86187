"""retort run and retort report: what is refused, what is skipped, that a killed run ends with the same bits, the page."""
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from command import RETORT, check, check_sentence, finish, refuses, run

TMP = pathlib.Path(tempfile.mkdtemp())

GOOD = """name: small
data: {name: synthetic, options: {images: 300, test_images: 60, shape: [3, 8, 8]}, batch: 50, augment: none}
defaults: {epochs: 2, lr: 0.05, threads: 1, precision: fp32}
stages:
  - train: {as: teacher, model: {mlp: {hidden: [32, 16]}}}
  - train: {as: student, model: {mlp: {hidden: 4}}}
  - distill: {as: student_kd, model: {mlp: {hidden: 4}}, teachers: [teacher], losses: [{cross_entropy: {weight: 0.3}}, {kd: {weight: 0.7, temperature: 4}}]}
  - sweep:
      as: heat
      over: {T: [1, 8]}
      seeds: [0, 1]
      stages:
        - distill: {as: cool, model: {mlp: {hidden: 4}}, teachers: [teacher], losses: [{kd: {temperature: $T}}]}
  - export: {from: student_kd, to: student_kd.safetensors}
  - quantize: {as: student_int8, from: student_kd, method: static, images: 50}
  - bench: {models: [teacher, student_kd], batch: [1, 4], seconds: 0}
  - report:
"""


def write(text, name="recipe.yaml"):
    path = TMP / name
    path.write_text(text)
    return path


def refused(old, new, place, *culprits):
    """The recipe with one change, and what the sentence says: file, line, column."""
    check(old in GOOD, f"{old} is in the recipe")
    path = write(GOOD.replace(old, new, 1), "bad.yaml")
    done = run("run", path, "--out", TMP / "bad")
    what = f"{new}: "
    check(done.returncode == 2, what + f"exit status 2, is {done.returncode}")
    for culprit in (f"{path}:{place}: ", *culprits):
        check_sentence(done, culprit, what)
    check(not (TMP / "bad").exists(), what + "nothing is written")


refused("epochs: 2", "epoch: 2", "3:12", "epoch")
refused("model: {mlp: {hidden: [32, 16]}}", "modle: mlp", "5:26", "modle", "did you mean model?")
refused("- train: {as: teacher", "- trian: {as: teacher", "5:5", "trian", "did you mean train?")
refused("teachers: [teacher]", "teachers: [teecher]", "7:69", "teecher", "did you mean teacher?")
refused("epochs: 2", "epochs: many", "3:20", "epochs=many")
refused("lr: 0.05", "lr: 0.05, epochs: 3", "3:33", "duplicate key")
refused("temperature: $T", "temperature: $U", "13:89", "$U", "heat")
refused("as: student_kd,", "as: student,", "7:5", "student")
refused("as: student_kd,", "as: ../x,", "7:19", "as:")
refused("name: small", "nmae: small", "1:1", "nmae", "did you mean name?")
refused("stages:", "stages: [", "5:3")
refused("to: student_kd.safetensors", "to: a/b", "14:36", "a/b")
refuses(1, "nowhere.yaml", "run", TMP / "nowhere.yaml")
refuses(2, "stages.9.epochs", "run", write(GOOD), "--set", "stages.9.epochs=1")
refuses(2, "seconds=soon", "run", write(GOOD), "--set", "stages.bench.seconds=soon")
refuses(2, "run.json", "report", TMP, "-o", TMP / "x.html")

# What it would do.
recipe = write(GOOD)
plan = run("run", recipe, "--dry-run", "--set", "stages.teacher.epochs=1")
check(plan.returncode == 0 and "1 epochs of 270 images" in plan.stdout and "small: 12 stages" in plan.stdout, f"dry run: {plan.stdout}{plan.stderr}")
check("parameters" in plan.stdout and " MB, 1 epochs" in plan.stdout and not (TMP / "one").exists(), "a dry run tells sizes and writes nothing")

# All of it; then nothing is left to do.
done = run("run", recipe, "--out", TMP / "one")
check(done.returncode == 0, f"the recipe runs: {done.stderr[-500:]}")
again = run("run", recipe, "--out", TMP / "one")
check(again.stderr.count("done before") == 11, f"everything is done: {again.stderr}")
student = json.loads((TMP / "one/records/student_kd.json").read_text())
check(student["done"] and student["result"]["test"]["images"] == 60 and student["result"]["parameters"] == 8 * 8 * 3 * 4 + 4 + 4 * 10 + 10,
      f"the record: {student['result'].get('parameters')}")
right = student["result"]["test"]["right"]
check(sum(bin(int(c, 16)).count("1") for c in right) == student["result"]["test"]["correct"], "a bit for every image")
heat = json.loads((TMP / "one/records/heat.json").read_text())["result"]["points"]
check([p["variables"] for p in heat] == [{"T": "1"}, {"T": "8"}] and all(p["top1"]["n"] == 2 for p in heat), f"points: {heat}")
values = heat[0]["top1"]["values"]
check(abs(heat[0]["top1"]["half_interval"] - 12.706 * abs(values[0] - values[1]) / 2) < 1e-4, "Student's interval of two seeds")
check((TMP / "one/student_kd.safetensors").stat().st_size > 1000, "an export")

# Another setting: only what depends on it is made again.
more = run("run", recipe, "--out", TMP / "one", "--set", "stages.student_kd.epochs=3")
check(more.stderr.count("done before") == 7 and (TMP / "one/student_kd.old-1").is_dir(), f"what depends on it: {more.stderr}")

# A sweep's baseline: differences seed by seed.
PAIRED = GOOD.split("stages:")[0] + """stages:
  - sweep:
      as: paired
      over: {width: [4, 6]}
      seeds: [0, 1, 2]
      baseline: alone
      stages:
        - train: {as: alone, model: "mlp:hidden=$width", epochs: 1}
        - train: {as: longer, model: "mlp:hidden=$width"}
"""
bad = run("run", write(PAIRED.replace("baseline: alone", "baseline: other"), "bad.yaml"), "--out", TMP / "bad")
check(bad.returncode == 2 and "bad.yaml:9:17: " in bad.stderr and "other" in bad.stderr, f"no such baseline: {bad.stderr}")
done = run("run", write(PAIRED, "paired.yaml"), "--out", TMP / "paired")
check(done.returncode == 0, f"the paired sweep runs: {done.stderr[-500:]}")
points = {(p["stage"], p["variables"]["width"]): p for p in json.loads((TMP / "paired/records/paired.json").read_text())["result"]["points"]}
check("gain" not in points["alone", "4"], "the baseline gains nothing on itself")
for width in "46":
    expected = [a - b for a, b in zip(points["longer", width]["top1"]["values"], points["alone", width]["top1"]["values"])]
    gain = points["longer", width]["gain"]
    check(len(expected) == 3 and max(abs(a - b) for a, b in zip(gain["values"], expected)) < 1e-9, f"gains of width {width}: {gain}")
    spread = (sum((v - sum(expected) / 3) ** 2 for v in expected) / 2) ** 0.5
    check(abs(gain["half_interval"] - 4.303 * spread / 3 ** 0.5) < 1e-9, f"interval of width {width}: {gain}")

# The published teacher and its students, on files of the shape of CIFAR-10: a file from elsewhere is everybody's teacher.
(TMP / "cifar").mkdir()
for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
    (TMP / f"cifar/{name}.bin").write_bytes(b"".join(bytes([i % 10]) + bytes([i % 251]) * 3072 for i in range(2000)))
for name, *said in (("cifar10-resnet56-students", "43 stages", "20 epochs of 5000 images"), ("distillation-kinds", "46 stages", "kinds.online.seed=2"),
                    ("cifar10-int8-teacher", "9 stages", "teacher.of_int8.seed=2")):
    quantized = ("--set", f"stages.int8.model={TMP}/one/teacher.pth") if "int8" in name else ()
    told = run("run", f"recipes/{name}.yaml", "--dry-run", "--set", f"defaults.teacher={TMP}/one/teacher.pth", "--set", f"data.path={TMP}/cifar", *quantized)
    check(told.returncode == 0 and all(text in told.stdout for text in said), f"{name}: {told.stderr}")
refuses(2, "resnet56.th", "run", "recipes/cifar10-resnet56-students.yaml", "--dry-run")

# Of a file from elsewhere it counts what is in it, not when it was written.
ELSEWHERE = f"""name: elsewhere
data: {{name: synthetic, options: {{images: 300, test_images: 60, shape: [3, 8, 8]}}, batch: 50, augment: none}}
stages:
  - train: {{as: tuned, model: {{mlp: {{hidden: 4}}}}, init: {TMP}/start.pth, epochs: 1}}
"""
for before, start in ((0, "one/student.pth"), (1, "one/student.pth"), (0, "one/student_kd.pth")):
    shutil.copy(TMP / start, TMP / "start.pth")
    done = run("run", write(ELSEWHERE, "elsewhere.yaml"), "--out", TMP / "elsewhere")
    check(done.returncode == 0 and done.stderr.count("done before") == before, f"from {start}: {done.stderr}")

# Killed in every stage, some moments after it began, it ends with the same bits.
random = random.Random(4)
changed = ["--set", "stages.student_kd.epochs=3"]
for number in range(1, 13):
    killed = subprocess.Popen([RETORT, "run", recipe, "--out", TMP / "two", *changed], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in killed.stderr:
        if line.startswith(f"[{number}/") and "done before" not in line:
            break
    time.sleep(random.uniform(0, 0.08))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
done = run("run", recipe, "--out", TMP / "two", *changed)
check(done.returncode == 0, f"goes on: {done.stderr[-500:]}")
models = sorted(p.name for p in (TMP / "one").glob("*.pth"))
check(len(models) == 8, f"models: {models}")
for model in models:
    check((TMP / "one" / model).read_bytes() == (TMP / "two" / model).read_bytes(), f"{model}: the same bits after SIGKILL")

# The page: one file, no address of anything else, its data intact.
page = (TMP / "one/report.html").read_text()
check("http://" not in page.split('<script id="data"')[1].split("</script>")[0], "the data name no address")
data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
check([s["stage"] for s in data["stages"]][:3] == ["teacher", "student", "student_kd"], "stages in order")
check((TMP / "one/report.csv").read_text().count("\n") == 9, "a line for each model")
plain = run("report", TMP / "one/student", TMP / "one/teacher", "-o", TMP / "plain.html", "--baseline", "teacher")
check(plain.returncode == 0 and (TMP / "plain.html").exists(), f"of training runs: {plain.stderr}")

shutil.rmtree(TMP)
sys.exit(finish())
