"""The recipes that come along: what they would do. A file of its own, for what they are about is large and takes long."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from command import check, finish, run

if run("data", "check", "fashion-mnist").returncode != 0:
    print("skipped: fashion-mnist isn't here (its Debian package is dataset-fashion-mnist)")
    sys.exit(77)
for name, *settings in (("smoke",), ("fashion-mnist",), ("variants",), ("sweeps",), ("fashion-mnist-seeds", "--set", "defaults.teacher=README.md")):
    told = run("run", f"recipes/{name}.yaml", "--dry-run", *settings)  # which opens no teacher's file
    check(told.returncode == 0 and "of training" in told.stdout, f"{name}: {told.stderr}")
    if name.startswith("fashion-mnist"):
        check("12 epochs of 5000 images" in told.stdout, f"{name}: what students see")
    if name == "sweeps":  # teachers of 32 features and 10 classes
        for count in (182410, 42634, 13130, 2762):
            check(f" {count} parameters" in told.stdout, f"a teacher of {count} parameters")
sys.exit(finish())
