"""The command from outside: RETORT is its path. What is checked is counted; finish() prints the sum."""
import os
import subprocess
import time

RETORT = os.path.abspath(os.environ.get("RETORT", "build/release/retort"))
counts = {"passed": 0, "failed": 0}


def check(good, what):
    counts["passed" if good else "failed"] += 1
    if not good:
        print("FAILED", what)


def run(*arguments, **how):
    return subprocess.run([RETORT, *map(str, arguments)], capture_output=True, text=True, timeout=120, **how)


def interrupt_when(process, log, ready, which):
    """Send a signal as soon as `ready` holds for the lines so far."""
    for _ in range(3000):
        if process.poll() is not None or (log.exists() and ready(log.read_text())):
            break
        time.sleep(0.005)
    process.send_signal(which)
    process.communicate(timeout=60)
    return process.returncode


def refuses(status, culprit, *arguments):
    done = run(*arguments)
    what = f"{' '.join(map(str, arguments))}: "
    check(done.returncode == status, what + f"exit status {status}, is {done.returncode}")
    check(done.stdout == "", what + "nothing on standard output")
    check_sentence(done, culprit, what)


def check_sentence(done, culprit, what):
    check(done.stderr.startswith("retort: ") and done.stderr.count("\n") == 1 and culprit in done.stderr,
          what + f"one sentence with {culprit}: {done.stderr}")


def finish():
    """The exit status."""
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return counts["failed"] > 0
