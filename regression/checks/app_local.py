#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Local checkpoints (checkpoint.local) of runs on two ranks that are killed: the run goes on from the newer level, with
the numbers of a run that was not interrupted; a damaged part makes the step before count, and a lost one the shared
level; parts of another number of ranks, of another time or of another run are not taken; what nobody will want again is
removed.
"""
import os
import re
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import ZINF, Runs  # noqa: E402

STEPS, SHARED, LOCAL, RANKS = 60, 20, 3, 2
SETS = ["device.threads=1", f"run.steps={STEPS}", "batch.global=32", f"checkpoint.every={SHARED}",
        "run.report_every=10 steps"]
PART = re.compile(r"rank-(\d{5})\.step-(\d{8})\.local$")


class Levels(Runs):
    """Runs with a local level in the folder node."""

    def __init__(self):
        super().__init__()
        self.sets, self.wanted = [], {}

    def begin(self, *sets, every=LOCAL, step=32, end=2 * SHARED):
        """A run that is killed behind that step and before the end, when its newest shared checkpoint is of step 20,
        which has its name some steps later. On a machine that is busy a run may be past that when it is killed."""
        self.sets = SETS + [f"checkpoint.local={self.path('node')}", f"checkpoint.local_every={every}", *sets]
        for _ in range(20):
            shutil.rmtree(self.path("run"), ignore_errors=True)
            shutil.rmtree(self.path("node"), ignore_errors=True)
            self.start(RANKS, self.sets)
            self.kill(step)
            if self.rows() < end and os.path.exists(self.path("run", "checkpoints", f"step-{SHARED:08d}.h5")):
                return
        self.fail(f"never was a run killed between step {step} and {end}")

    def kill(self, step):
        """Kills all ranks behind a step that they do."""
        self.wait_until(lambda: "measured; " in self.text("out") and self.rows() >= step, f"step {step}")
        for rank in range(self.ranks):
            try:
                os.kill(self.pid(rank), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.wait_end()

    def go_on(self, ranks=RANKS, sets=(), code=0):
        self.start(ranks, self.sets + list(sets), ["--resume", "auto"])
        if self.wait_end() != code:
            self.fail(f"the run did not end with {code}")

    def parts(self):
        """Step to ranks of the parts, and the folder that has them."""
        folders = [name for name in os.listdir(self.path("node")) if name.startswith("checkpoints-")]
        if len(folders) != 1:
            self.fail(f"folders: {folders}")
        found = {}
        for name in os.listdir(self.path("node", folders[0])):
            match = PART.match(name)
            if match:
                found.setdefault(int(match[2]), set()).add(int(match[1]))
        return found, self.path("node", folders[0])

    def whole(self):
        """The steps that all ranks have, newest first, and what makes the path of a part."""
        found, folder = self.parts()
        if len(found) > 3:
            self.fail(f"more than two steps and one that is written stand: {found}")
        steps = sorted((step for step, ranks in found.items() if len(ranks) == RANKS), reverse=True)
        if not steps:
            self.fail(f"no step is whole: {found}")
        return steps, lambda rank, step: os.path.join(folder, f"rank-{rank:05d}.step-{step:08d}.local")

    def begin_two(self):
        """The same, killed while two steps stand, and not while one is written, of which no rank has anything yet."""
        for _ in range(20):
            self.begin()
            steps, path = self.whole()
            if len(steps) == 2:
                return steps, path
        self.fail("never did two steps stand")
        return None

    def came_from(self, step, local):
        """The last run began behind a step, took the right level, came to its end and left nothing on the node."""
        line = f"goes on after step {step} of {STEPS}" + (", from the local checkpoints" if local else "")
        if line + "\n" not in self.text("out"):
            self.fail(f"the run does not say: {line}")
        if len(self.numbers()) != STEPS:
            self.fail(f"{len(self.numbers())} rows, not {STEPS}")
        if os.listdir(self.path("node")):
            self.fail(f"left on the node: {os.listdir(self.path('node'))}")
        if os.path.exists(self.path("run", "local.yaml")):
            self.fail("local.yaml is left")

    def complains(self, text):
        if text not in self.text("err"):
            self.fail(f"standard error does not say: {text}")

    def notes(self, text):
        if text not in self.text("out"):
            self.fail(f"standard output does not say: {text}")


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 16]))


def value_of(path):
    """The place of a byte of the values of a part that is not zero: behind the record."""
    with open(path, "rb") as file:
        data = file.read()
    record_bytes = int.from_bytes(data[136:144], "little")
    return next(i for i in range(record_bytes + 64, len(data)) if data[i])


def same_numbers(runs):
    """Wherever states live and whatever a rank has of them."""
    for sets in ([], ["zero.stage=0"], ["zero.stage=1", "precision.compute=bf16"],
                 ["zero.stage=3", "precision.compute=bf16", "tiling.mlp=2", "tiling.vocabulary=3"],
                 ["placement.parameters=nvme", "placement.optimizer=nvme", f"nvme.paths={runs.path('disk')}"]):
        runs.start(RANKS, SETS + sets)
        if runs.wait_end() != 0:
            runs.fail("the run without interruption failed")
        wanted = runs.numbers()
        runs.begin(*sets)
        step = runs.whole()[0][0]
        runs.go_on()
        runs.came_from(step, True)
        runs.compare(wanted)
        if not sets:
            runs.wanted = wanted


def damage(runs):
    """One byte of the newest part of one rank: the step before. Of both: the shared level."""
    for rank, place in ((1, "values"), (0, "record"), (1, "end")):
        steps, path = runs.begin_two()
        newest = path(rank, steps[0])
        if place == "end":
            os.truncate(newest, os.path.getsize(newest) - 1)
        else:
            flip(newest, value_of(newest) if place == "values" else 100)
        runs.go_on()
        runs.complains(f"{newest} is damaged")
        runs.complains("is passed over")
        runs.came_from(steps[1], True)
        runs.compare(runs.wanted)
    runs.begin()
    steps, path = runs.whole()
    for number, step in enumerate(steps):
        flip(path(number % RANKS, step), value_of(path(number % RANKS, step)))
    runs.go_on()
    runs.came_from(SHARED, False)
    runs.compare(runs.wanted)


def lost_node(runs):
    runs.begin()
    steps, path = runs.whole()
    for step in steps:
        os.remove(path(1, step))
    for step, ranks in runs.parts()[0].items():
        if 1 in ranks:
            os.remove(path(1, step))
    runs.go_on()
    runs.complains("lacks this rank's part of the local checkpoint of step")
    runs.complains("rank 1 ")
    runs.came_from(SHARED, False)
    runs.compare(runs.wanted)


def older_than_shared(runs):
    """The newer level wins, whichever it is; the older one where that is damaged."""
    for broken in (False, True):
        runs.begin(every=15, step=22, end=30)
        if broken:
            flip(runs.path("run", "checkpoints", f"step-{SHARED:08d}.h5"), 90000)
        runs.go_on()
        if broken:
            runs.complains("is damaged and passed over")
        runs.came_from(15 if broken else SHARED, broken)
        runs.compare(runs.wanted)


def half_renamed(runs):
    """A part that one rank has of a later step goes at once: the others will do that step at another time."""
    steps, path = runs.begin_two()
    os.remove(path(1, steps[0]))
    runs.start(RANKS, runs.sets[:-1] + [f"checkpoint.local_every={STEPS}"], ["--resume", "auto"])
    runs.kill(steps[1])
    runs.notes(f"goes on after step {steps[1]} of {STEPS}, from the local checkpoints")
    if runs.parts()[0] != {steps[1]: {0, 1}}:
        runs.fail(f"parts: {runs.parts()}")
    runs.go_on()
    runs.compare(runs.wanted)


def other_ranks(runs):
    """Parts of two ranks are worth nothing to one, nor to two that come after that one."""
    runs.begin()
    before = runs.parts()[1]
    runs.start(1, runs.sets, ["--resume", "auto"])
    runs.kill(SHARED + 5)
    runs.notes("the local checkpoints are of 2 ranks, and this job has 1")
    runs.notes("local checkpoints that are of no use any more, is removed")
    runs.notes(f"goes on after step {SHARED} of {STEPS}\n")
    if os.path.exists(before) or runs.parts()[1] == before:
        runs.fail("parts of two ranks stand beside those of one")
    runs.go_on()
    runs.notes("the local checkpoints are of 1 rank, and this job has 2")


def forgotten_first(runs):
    """A job that does not use the local level forgets it before it cuts rows, whenever it is killed."""
    runs.begin()
    starts, local = runs.path("run", "starts.csv"), runs.path("run", "local.yaml")
    with open(starts) as file:
        before = len(file.readlines())

    def begins():
        with open(starts) as file:
            return len(file.readlines()) > before

    runs.start(RANKS, SETS, ["--resume", "auto"])
    runs.wait_until(lambda: begins() or not os.path.exists(local), "the second start")
    if os.path.exists(local):
        runs.fail("rows are cut while local.yaml still leads to later steps")
    runs.wait_end()
    runs.compare(runs.wanted)
    shutil.rmtree(runs.path("node"))


def other_time(runs):
    """A node that was away for a while comes back with parts of steps that have been done in another way."""
    runs.begin()
    before = runs.parts()[1]
    shutil.copytree(runs.path("node"), runs.path("away"))
    shutil.rmtree(runs.path("node"))
    runs.start(RANKS, runs.sets, ["--resume", "auto"])
    runs.kill(SHARED)
    shutil.copytree(runs.path("away", os.path.basename(before)), before)
    runs.go_on()
    runs.notes("local checkpoints that are of no use any more, is removed")
    if os.path.exists(before):
        runs.fail("parts of another time are left")
    runs.compare(runs.wanted)


def other_runs(runs):
    """Runs that share a node do not touch each other's parts; one that is removed takes its own along, one that was
    moved finds them, and a copy leaves them alone."""
    runs.begin()
    step, folder = runs.whole()[0][0], runs.parts()[1]
    shutil.copytree(runs.path("run"), runs.path("copy"), symlinks=True)
    for directory, text in (("copy", "the run directory is a copy of"), ("another", "no checkpoint to go on from")):
        runs.go_on(sets=[f"run.directory={runs.path(directory)}"])
        runs.notes(text)
        if not os.path.exists(folder):
            runs.fail("the parts of another run are gone")
    runs.go_on(sets=["run.seed=7"], code=2)
    runs.complains("run.seed is 7, and was")
    shutil.move(runs.path("run"), runs.path("moved"))
    runs.go_on(sets=[f"run.directory={runs.path('moved')}"])
    shutil.move(runs.path("moved"), runs.path("run"))
    runs.came_from(step, True)
    runs.begin()
    folder = runs.parts()[1]
    runs.start(RANKS, runs.sets, ["--overwrite"])
    if runs.wait_end() != 0 or os.path.exists(folder):
        runs.fail("--overwrite leaves the parts of the run that it removes")
    runs.notes("local checkpoints that are of no use any more, is removed")


def folders(runs):
    """What cannot be a folder is found before the first step; a variable is replaced."""
    with open(runs.path("file"), "w"):
        pass
    runs.start(RANKS, SETS + [f"checkpoint.local={runs.path('file')}/node", "checkpoint.local_every=1"])
    if runs.wait_end() != 5 or runs.rows() > 0:
        runs.fail("a folder that cannot be")
    runs.complains("choose another checkpoint.local")
    os.environ["ZINF_TEST_NODE"] = runs.path("node")
    runs.start(RANKS, SETS + ["checkpoint.local=$ZINF_TEST_NODE/deeper", "checkpoint.local_every=1"])
    if runs.wait_end() != 0 or os.listdir(runs.path("node", "deeper")):
        runs.fail("a folder by a variable")
    runs.notes("local checkpoints, ")


def cleaned(runs):
    """zinf clean leaves what a run can go on from, or has, and removes what nobody will want again."""
    def clean(*words):
        done = subprocess.run([ZINF, "clean", runs.path("node"), *words], capture_output=True, text=True, check=True)
        return done.stdout

    runs.begin()
    folder = runs.parts()[1]
    for word in ((), ("--remove",)):
        if "zinf run --resume auto can go on from it" not in clean(*word) or not os.path.exists(folder):
            runs.fail("parts that a run can go on from do not stay")
    runs.start(RANKS, runs.sets + ["run.steps=100000"], ["--resume", "auto"])
    runs.wait_until(lambda: "measured; " in runs.text("out"), "the first step")
    if clean("--remove") != "nothing to remove that dead runs left\n" or not os.path.exists(folder):
        runs.fail("parts of a run that lives are not left alone")
    runs.kill(30)
    shutil.move(runs.path("run"), runs.path("gone"))
    said = clean()
    if " dead " not in said or f"of the run directory {runs.path('run')}, written on" not in said:
        runs.fail(f"parts of a run directory that is gone: {said}")
    if "1 removed" not in clean("--remove") or os.listdir(runs.path("node")):
        runs.fail("parts of a run directory that is gone stay")
    shutil.move(runs.path("gone"), runs.path("run"))
    runs.go_on()
    if "from the local checkpoints" in runs.text("out"):
        runs.fail("the run goes on from parts that are gone")


def main():
    with Levels() as runs:
        for check in (same_numbers, damage, lost_node, older_than_shared, half_renamed, other_ranks, forgotten_first,
                      other_time, other_runs, folders, cleaned):
            check(runs)
    print("app_local: 11 checks passed")


if __name__ == "__main__":
    main()
