#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The pictures of doc/ are those that their scripts draw of src/LAYERS and of what zinf prints, and the tables of
doc/architecture.md name the rooms and the operations that are in them. To draw them anew: doc/draw_rooms.py, and
doc/draw_bytes.py build/zinf.

Then the check checks itself: a copy with one fault each must be refused.
"""
import os
import shutil
import subprocess
import sys
import tempfile

FILES = ["doc/svg.py", "doc/draw_rooms.py", "doc/draw_bytes.py", "doc/architecture.md", "doc/rooms.svg",
         "doc/bytes.svg", "doc/bytes.yaml", "src/LAYERS"]
# File, what stands there, what takes its place, the script that must complain.
PLANTED = [
    ("src/LAYERS", "room data       uses base deck", "room data       uses base deck device", "draw_rooms.py"),
    ("src/LAYERS", "room app ", "room planted uses base\nroom app ", "draw_rooms.py"),
    ("doc/architecture.md", "| `disk` |", "| `disc` |", "draw_rooms.py"),
    ("doc/rooms.svg", ">engine<", ">motor<", "draw_rooms.py"),
    ("doc/bytes.yaml", "recompute: always", "recompute: never", "draw_bytes.py"),
    ("doc/bytes.yaml", "activations: {interval: 2", "tiling: {mlp: 2}\nactivations: {interval: 1", "draw_bytes.py"),
    ("doc/architecture.md", "| `gather` |", "| `scatter` |", "draw_bytes.py"),
    ("doc/bytes.svg", ">bf16<", ">fp32<", "draw_bytes.py"),
]
# The same of words that have no room in the picture: the script must not draw them.
TOO_WIDE = [
    ("src/LAYERS", "library vectors ", "library vectors-of-every-width ", "draw_rooms.py"),
    ("doc/draw_bytes.py", '("shard", ', '("shard of a unit", ', "draw_bytes.py"),
]


def draws(top, script, option="--check"):
    """Whether a script finds its picture and its table as they should be, or draws it, and what it says."""
    command = [sys.executable, "-B", os.path.join(top, "doc", script)]
    if script == "draw_bytes.py":
        command.append(os.environ.get("ZINF", os.path.join(os.environ.get("abs_top_builddir", "."), "zinf")))
    command += [option] if option else []
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode == 0, answer.stdout + answer.stderr


def self_test(top):
    """Faults that were not seen."""
    for path, text, other, script in PLANTED + TOO_WIDE:
        option = "" if (path, text, other, script) in TOO_WIDE else "--check"
        with tempfile.TemporaryDirectory() as folder:
            for name in FILES:
                os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                shutil.copyfile(os.path.join(top, name), os.path.join(folder, name))
            with open(os.path.join(folder, path), encoding="utf-8") as file:
                content = file.read()
            with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                file.write(content.replace(text, other, 1))
            if text not in content or draws(folder, script, option)[0]:
                yield f"the check is broken: {script} does not see {other!r} in {path}"


def main():
    top = os.environ.get("top_srcdir", ".")
    complaints = []
    for script in ("draw_rooms.py", "draw_bytes.py"):
        good, says = draws(top, script)
        if not good:
            complaints.append(says.strip())
    complaints += self_test(top)
    for line in complaints:
        print(line)
    print(f"pictures: {len(PLANTED + TOO_WIDE)} faults planted, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
