"""tests/golden/ops.json is what PyTorch says today."""
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.exit(subprocess.run([sys.executable, os.path.join(here, "..", "golden", "make_ops.py"), "--check"]).returncode)
