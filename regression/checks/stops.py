# SPDX-License-Identifier: Apache-2.0
"""Starting a run that can be stopped, for the checks of requests to stop: a tiny deck with its data, and the process
numbers of its ranks.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
LAUNCHER = os.environ.get("MPIEXEC", "mpiexec").split()
SOURCES = os.environ.get("srcdir", ".")

DECK = """
run: {{name: stops, directory: {folder}/run, steps: 1000000, report_every: 1000 steps}}
model: {{family: gpt2, layers: 2, hidden: 32, heads: 2, context: 16, vocabulary: 256}}
data: {{train: {folder}/train.h5}}
batch: {{global: 4, micro: 2}}
optimizer: {{learning_rate: 1e-3}}
"""


def default_signals():
    """In the child: signals as an interactive shell would leave them."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Runs:
    """Runs of one deck, one after the other, in a folder that goes away."""

    def __init__(self):
        self.job = None
        self.folder = tempfile.mkdtemp()
        self.run = os.path.join(self.folder, "run")
        text = os.path.join(self.folder, "text")
        with open(text, "wb") as file:
            for name in sorted(os.listdir(os.path.join(SOURCES, "regression/checks"))):
                if name.startswith("app_") and name.endswith(".sh"):
                    with open(os.path.join(SOURCES, "regression/checks", name), "rb") as part:
                        file.write(part.read())
        subprocess.run([ZINF, "tokenize", text, "--output", os.path.join(self.folder, "train.h5")], check=True,
                       stdout=subprocess.DEVNULL)
        with open(os.path.join(self.folder, "deck.yaml"), "w") as file:
            file.write(DECK.format(folder=self.folder))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.job and self.job.poll() is None:
            for rank in range(self.ranks):
                try:
                    os.kill(self.pid(rank), signal.SIGKILL)
                except (OSError, ValueError):
                    pass
            self.job.kill()
            self.job.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, ranks, sets=(), words=()):
        """Starts a run on so many ranks, in a new folder unless it has to do with the old one; its output goes to the
        files out and err."""
        pids = self.path("pids")
        if not words:
            shutil.rmtree(self.path("run"), ignore_errors=True)
        shutil.rmtree(pids, ignore_errors=True)
        os.mkdir(pids)
        words = [ZINF, "run", self.path("deck.yaml"), *words]
        for one in sets:
            words += ["--set", one]
        shell = ["sh", "-c", 'echo $$ >"$0/${PMI_RANK:-0}.new" && mv "$0/${PMI_RANK:-0}.new" "$0/${PMI_RANK:-0}" && '
                 'exec "$@"', pids] + words
        if ranks > 1:
            shell = LAUNCHER + ["-n", str(ranks)] + shell
        with open(self.path("out"), "wb") as out, open(self.path("err"), "wb") as err:
            self.job = subprocess.Popen(shell, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                        preexec_fn=default_signals)
        self.ranks = ranks

    def pid(self, rank):
        with open(self.path("pids", str(rank))) as file:
            return int(file.read())

    def rows(self):
        """Steps that the record has."""
        try:
            with open(self.path("run", "steps.csv")) as file:
                return file.read().count("\n") - 1
        except FileNotFoundError:
            return 0

    def numbers(self):
        """Of steps.csv, whole lines only: step to loss, norm, rate, skipped and checksum. Each step stands once."""
        try:
            with open(os.path.join(self.run, "steps.csv")) as file:
                lines = file.read().split("\n")[1:-1]
        except FileNotFoundError:
            return {}
        fields = [line.split(",") for line in lines]
        steps = [int(row[0]) for row in fields]
        if steps != list(range(1, len(steps) + 1)):
            self.fail(f"rows of steps.csv: {steps}")
        return {int(row[0]): row[1:5] + row[7:9] for row in fields}

    def compare(self, wanted):
        """Every step that was reported has the numbers of a run without interruption."""
        found = self.numbers()
        wrong = [step for step, row in found.items() if wanted[step] != row]
        if wrong:
            self.fail(f"step {wrong[0]} is {found[wrong[0]]}, and {wanted[wrong[0]]} without interruption")

    def text(self, name):
        """What the run wrote: out or err."""
        with open(self.path(name), errors="replace") as file:
            return file.read()

    def wait_until(self, condition, what, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if self.job.poll() is not None:
                self.fail(f"the run ended with {self.job.returncode} before {what}")
            if time.monotonic() > end:
                self.job.kill()
                self.fail(f"{what} did not come within {seconds} s")
            time.sleep(0.01)

    def wait_end(self, seconds=120):
        """The exit code."""
        try:
            return self.job.wait(seconds)
        except subprocess.TimeoutExpired:
            self.job.kill()
            self.fail(f"the run did not end within {seconds} s")

    def fail(self, text):
        print("failed:", text)
        for name in ("out", "err"):
            with open(self.path(name), errors="replace") as file:
                print(f"--- {name}:", *file.read().split("\n")[-30:], sep="\n")
        self.__exit__()
        sys.exit(1)
