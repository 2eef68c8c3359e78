#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts inside of checkpoints: a run on an ext4 (and an xfs, where it can be made) of its own, which is shut down
without a flush of its journal at a random moment while step-N.h5.tmp is being written, and mounted again. The
checkpoint that `latest` was seen to name before must hold, the run goes on from it or from a newer one, and every step
has the numbers of the run that was not interrupted. CUTS=N in the environment makes N of them on each file system.
Skipped (77) where loop devices cannot be mounted, as without root.
"""
import array
import fcntl
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs, ZINF  # noqa: E402

STEPS, EVERY, RANKS = 60, 3, 2
# Some 40 MB a checkpoint, so that there is something to be cut.
SETS = ["device.threads=1", f"run.steps={STEPS}", f"checkpoint.every={EVERY}", "checkpoint.keep=2", "model.hidden=256",
        "model.layers=4", "batch.global=2", "batch.micro=1"]
SHUTDOWN, WITHOUT_LOG = 0x8004587D, 2  # FS_IOC_SHUTDOWN of ext4 and xfs
INSIDE = "ZINF_POWER_CUT_INSIDE"


def enter():
    """Starts this check again in a mount namespace of its own, whose mounts go with it."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        print("skipped: no mount namespaces of root here")
        sys.exit(77)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, os.path.abspath(__file__)])


class Disk:
    """A file system in a file."""

    def __init__(self, folder, kind):
        self.image, self.place = os.path.join(folder, kind + ".img"), os.path.join(folder, kind)
        os.mkdir(self.place)
        with open(self.image, "wb") as file:
            file.truncate(512 << 20)
        command = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}[kind]
        self.made = shutil.which(command[0]) is not None
        self.made = self.made and subprocess.run(command + [self.image], stderr=subprocess.DEVNULL).returncode == 0
        self.made = self.made and self.mount()

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.place], stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def cut(self):
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, array.array("I", [WITHOUT_LOG]))
        finally:
            os.close(folder)

    def again(self):
        """What the journal has."""
        end = time.monotonic() + 30
        while subprocess.run(["umount", self.place], stderr=subprocess.DEVNULL).returncode != 0:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return self.mount()


def temporaries(runs):
    return glob.glob(os.path.join(glob.escape(runs.run), "checkpoints", "step-*.h5.tmp"))


def latest(runs):
    """The step that `latest` names, 0 without one."""
    try:
        return int(re.fullmatch(r"step-(\d+)\.h5", os.readlink(os.path.join(runs.run, "checkpoints", "latest")))[1])
    except FileNotFoundError:
        return 0


def begin(runs):
    runs.start(RANKS, SETS + [f"run.directory={runs.run}"], ["--resume", "auto", "--reclaim"])
    for rank in range(RANKS):
        runs.wait_until(lambda: os.path.exists(runs.path("pids", str(rank))), f"rank {rank}")


def wait_inside(runs, passed):
    """Until a checkpoint is being written, after `passed` others of this life; False when the run ended before."""
    seen = set()
    while runs.job.poll() is None:
        seen.update(temporaries(runs))
        if len(seen) > passed:
            return True
        time.sleep(0.0005)
    return False


def cut_one(runs, disk, longest):
    """A life of the run that is cut within so many seconds from the begin of a checkpoint: the step that was safe
    before, and whether a checkpoint was being written; None when the run came to its end."""
    begin(runs)
    if not wait_inside(runs, random.randrange(3)):
        return None
    time.sleep(random.random() * longest)
    inside = bool(temporaries(runs))
    safe = latest(runs)
    disk.cut()
    for rank in range(RANKS):
        try:
            os.kill(runs.pid(rank), signal.SIGKILL)
        except ProcessLookupError:
            pass
    runs.job.wait()
    if not disk.again():
        runs.fail("the disk cannot be mounted again")
    return safe, inside


def check_safe(runs, safe):
    """What was safe before the cut holds."""
    if safe == 0:
        return
    name = os.path.join(runs.run, "checkpoints", f"step-{safe:08d}.h5")
    if subprocess.run([ZINF, "inspect", "--verify", name], stdout=subprocess.DEVNULL).returncode != 0:
        runs.fail(f"{name} does not hold after the power cut")


def said(runs, pattern):
    with open(runs.path("out")) as out, open(runs.path("err")) as err:
        return re.search(pattern, out.read() + err.read())


def check_goes_on(runs, safe):
    """A life that goes on from it, or from a newer one, and is asked to stop."""
    runs.wait_until(lambda: said(runs, r"goes on after step \d+ of|has no checkpoint to go on from"), "the first words")
    end_now(runs)
    found = said(runs, r"goes on after step (\d+) of")
    if safe and (not found or int(found[1]) < safe):
        runs.fail(f"step {safe} was safe, and the run {'goes on after ' + found[1] if found else 'began anew'}")


def seconds_of_checkpoint(runs):
    """How long a temporary file stands, the longest of three."""
    begin(runs)
    longest = 0
    for _ in range(3):
        runs.wait_until(lambda: temporaries(runs), "a checkpoint")
        start = time.monotonic()
        runs.wait_until(lambda: not temporaries(runs), "the end of a checkpoint")
        longest = max(longest, time.monotonic() - start)
    end_now(runs)
    shutil.rmtree(runs.run)
    return longest


def cuts_on(runs, kind, count, wanted):
    disk = Disk(runs.folder, kind)
    if not disk.made:
        print(f"{kind}: cannot be made or mounted here")
        return 0
    runs.run = os.path.join(disk.place, "run")
    longest, cuts, inside, lives = seconds_of_checkpoint(runs), 0, 0, 0
    while inside < count:
        lives += 1
        if lives > 20 * count:
            runs.fail(f"{inside} cuts inside of checkpoints in {lives} lives")
        found = cut_one(runs, disk, longest)
        if found is None:
            if runs.job.wait() != 0:
                runs.fail("a run did not come to its end")
            finish(runs, wanted)
            shutil.rmtree(runs.run)
            continue
        safe, was_inside = found
        cuts += 1
        inside += was_inside
        check_safe(runs, safe)
        begin(runs)
        check_goes_on(runs, safe)
        runs.compare(wanted)
    begin(runs)
    if runs.wait_end(300) != 0:
        runs.fail("the last life did not come to its end")
    finish(runs, wanted)
    print(f"{kind}: {cuts} cuts, {inside} of them inside of checkpoints of {longest:.3f} s")
    return cuts


def end_now(runs):
    for rank in range(RANKS):
        os.kill(runs.pid(rank), signal.SIGTERM)
    runs.wait_end()


def finish(runs, wanted):
    runs.compare(wanted)
    if len(runs.numbers()) != STEPS:
        runs.fail(f"{len(runs.numbers())} rows at the end, not {STEPS}")


def main():
    enter()
    count = int(os.environ.get("CUTS", "10"))
    random.seed(1)
    with Runs() as runs:
        runs.start(RANKS, SETS)
        if runs.wait_end(300) != 0:
            runs.fail("the run without interruption failed")
        wanted = runs.numbers()
        cuts = sum(cuts_on(runs, kind, count, wanted) for kind in ("ext4", "xfs"))
        for kind in ("ext4", "xfs"):
            subprocess.run(["umount", runs.path(kind)], stderr=subprocess.DEVNULL)
    if cuts == 0:
        print("skipped: no file system of a loop device can be mounted here")
        sys.exit(77)
    print(f"app_power_cut: {cuts} cuts")


main()
