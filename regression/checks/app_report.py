#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`zinf report` and `zinf watch` on real runs and on made-up ones: the page is well-formed, has the values of the
tables and nothing that is not there, takes nothing from the network, and stays small for any length of run; odd
contents of files are passed over; names of a run cannot become markup or move a cursor. The terminal is a real one
(a pseudo-terminal), on which the pictures lie over each other until the run ends.
"""
import fcntl
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from stops import Runs, ZINF  # noqa: E402

LANES = ["compute", "comm", "link_in", "link_out", "disk_read", "disk_write", "host", "file"]
COLUMNS = ["step", "tokens", "loss", "gradient_norm", "learning_rate", "seconds", "tokens_per_s", "skipped",
           "checksum", "validation_loss"] + ["wait_" + lane for lane in LANES] + \
          ["disk_read_bytes", "disk_written_bytes", "io_read_bytes", "io_written_bytes", "loss_scale",
           "targets", "speculated", "disk_busy"]
HOSTILE = "</title><script>alert(1)</script>&amp;\"'\x1b[2J\u00e4"
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def zinf(*words, code=0):
    done = subprocess.run([ZINF] + list(words), capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    check(done.returncode == code, f"zinf {' '.join(words)}: exit code {done.returncode}, not {code}: {done.stderr}")
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class Page:
    """A page, read as XML; text() is what is seen of it."""

    def __init__(self, run, path=None):
        path = path or os.path.join(run, "report.html")
        zinf("report", run, "--output", path)
        with open(path, "rb") as file:
            self.bytes = file.read()
        self.tree = ElementTree.fromstring(self.bytes.decode("utf-8"))
        markup = self.bytes.decode("utf-8").lower()
        for what in ("http:", "https:", "//", "<script", "url(", "@import", "src=", "href="):
            without_deck = re.sub(r"<pre>.*</pre>", "", markup, flags=re.DOTALL)
            check(what not in without_deck, f"{run}: the page has {what}")
        for number in re.findall(r"[0-9. MLHVhvlZ]+(?=\")", markup):
            check("nan" not in number and "inf" not in number, f"{run}: a number of a path")
        for path in self.tree.iter("path"):
            check(not re.search("nan|inf", path.get("d")), f"{run}: a path has {path.get('d')[:40]}")
            check(len(re.findall("[ML]", path.get("d"))) <= 1100, f"{run}: a path of {len(path.get('d'))} bytes")
        check(len(self.bytes) < 400000, f"{run}: a page of {len(self.bytes)} bytes")

    def text(self):
        return "".join(self.tree.find("body").itertext())

    def title(self):
        return self.tree.find("head/title").text

    def cards(self):
        return {card.find("dt").text: (card.find("dd/b").text, card.find("dd/small").text or "")
                for card in self.tree.iter("div") if card.find("dt") is not None}

    def figures(self):
        return {figure.find("figcaption/b").text: figure for figure in self.tree.iter("figure")}

    def tables(self):
        """Rows as lists of texts, by the heading above."""
        found, heading = {}, None
        for element in self.tree.find("body"):
            if element.tag == "h2":
                heading = element.text
            table = element.find("table")
            if table is not None:
                found[heading] = [[cell.text or "" for cell in row] for row in table.findall("tbody/tr")]
        return found


def make_rows(count, change=None):
    """Dictionaries of made-up steps."""
    for i in range(1, count + 1):
        row = {"step": i, "tokens": 64 * i, "loss": 5 - 4 * i / count, "gradient_norm": 1.5, "learning_rate": 1e-3,
               "seconds": 0.5, "tokens_per_s": 128, "skipped": 0, "checksum": f"{i:016x}", "validation_loss": "",
               "disk_busy": 0, "disk_read_bytes": 3000000, "disk_written_bytes": 0, "io_read_bytes": -1,
               "io_written_bytes": -1, "loss_scale": 1, "targets": 64, "speculated": 0}
        row.update({"wait_" + lane: 0 for lane in LANES})
        row["wait_comm"] = 0.05
        if change:
            change(i, row)
        yield row


def make_run(folder, rows, columns=None):
    columns = columns or COLUMNS
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/steps.csv", "w") as file:
        file.write(",".join(columns) + "\n")
        for row in rows:
            file.write(",".join(f"{row[name]:.9g}" if isinstance(row[name], float) else str(row[name])
                                for name in columns) + "\n")
    return folder


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def test_real(folder):
    """A run of zinf: final values, used deck, checkpoints; its outputs include the page."""
    with Runs() as runs:
        run, deck = runs.path("run"), runs.path("deck.yaml")
        words = ["run", deck, "--set", "device.threads=1", "--set", "run.steps=12", "--set", "run.report_every=5",
                 "--set", "checkpoint.every=5", "--set", f"data.validation={runs.path('train.h5')}", "--set",
                 "data.validation_every=4", "--set", "data.validation_sequences=8"]
        zinf(*words)
        with open(f"{run}/steps.csv") as file:
            names = file.readline().strip().split(",")
            rows = [dict(zip(names, line.strip().split(","))) for line in file]
        page, last = Page(run), rows[-1]
        cards, tables = page.cards(), page.tables()
        check("done" in page.text() and page.title().startswith("stops"), "state and name")
        check("Loss scale" not in cards, f"a loss scale without fp16: {cards.get('Loss scale')}")
        check(cards["Steps"][0] == "12" and cards["Steps"][1].startswith("of 12"), f"steps: {cards['Steps']}")
        check(cards["Loss"][0] == f"{float(last['loss']):.4f}", f"loss: {cards['Loss']}, {last['loss']}")
        check(cards["Validation loss"][0] == f"{float(last['validation_loss']):.4f}", "validation loss")
        check(tables["Last steps"][0][0] == "12" and len(tables["Last steps"]) == 8, "last steps")
        for row, shown in zip(reversed(rows), tables["Last steps"]):
            check(shown[0] == row["step"] and shown[1] == f"{float(row['loss']):.4f}", f"row {shown}")
        check([row[0] for row in tables["Checkpoints"]] == ["12", "10"], f"checkpoints {tables['Checkpoints']}")
        check(tables["Checkpoints"][0][7] == "latest", "the latest checkpoint")
        check(tables["Checkpoints"][1][5] != tables["Checkpoints"][0][5], "that of step 10 was laid over a step")
        check(all(row[3].endswith("s") for row in tables["Checkpoints"]), f"what they took {tables['Checkpoints']}")
        operations = {(row[0], row[1]): row for row in tables["Operations"]}
        check(("compute", "forward") in operations, f"operations {list(operations)}")
        check("resident" in [row[1] for row in tables["Memory"]], "memory")
        with open(f"{run}/used.yaml") as file:
            check(page.tree.find("body/details/pre").text == file.read(), "the used deck")
        check(set(page.figures()) >= {"Loss", "Gradient norm", "Learning rate", "Speed"}, "charts")
        check(len(page.figures()["Loss"].findall(".//circle")) == 3, "a mark for each validation")
        said, _ = zinf("watch", run)
        check("12/12" in said and "done: all steps are done" in said and "\x1b" not in said, f"watch: {said}")
        _, refused = zinf(*words, code=2)
        check("steps.csv" in refused or "used.yaml" in refused, f"outputs of an earlier run: {refused}")
        os.remove(f"{run}/end.yaml")
        zinf(*words, "--overwrite", "--set", "run.name=" + HOSTILE)
        check(not os.path.exists(f"{run}/report.html"), "--overwrite leaves the page of another run")
        page = Page(run, f"{folder}/elsewhere.html")
        check(page.title().startswith("</title><script>alert(1)</script>&amp;\"'?[2J\u00e4,"), f"title {page.title()}")
        check(not os.path.exists(f"{run}/report.html"), "--output writes beside the run too")
        said, _ = zinf("watch", run)
        check("\x1b" not in said, "a name of a run reaches the terminal")


def test_numbers(folder):
    """Sums and extremes of a run that is longer than the chart has points."""
    def change(i, row):
        row["wait_disk_read"] = 0.1 if i % 2 else 0.0
        if i == 7777:
            row["gradient_norm"] = 90.0
        if i in (3000, 3001):
            row.update(loss=math.nan, gradient_norm=math.inf, skipped=1)
        if i == 20000:
            row["validation_loss"] = 1.25
        row["loss_scale"] = 32768 if i > 19998 else 16384 if i > 5000 else 65536
        if i in (5000, 19998):
            row.update(gradient_norm=math.nan, skipped=2)
    page = Page(make_run(f"{folder}/long", make_rows(20000, change)))
    waits = {row[0]: row[1:] for row in page.tables()["Waits"]}
    check(waits == {"comm": ["0:16:40", "10.0 %"], "disk_read": ["0:16:40", "10.0 %"]}, f"waits {waits}")
    cards, figures = page.cards(), page.figures()
    check(cards["Waits"][0] == "20.0 %" and cards["Tokens/s"][0] == "128", f"{cards}")
    check(cards["Skipped steps"][0] == "2" and "3000" in cards["Skipped steps"][1], f"{cards['Skipped steps']}")
    check(cards["Loss"] == ("1.0000", "lowest 1.0000 at step 20000"), f"{cards['Loss']}")
    check(cards["Validation loss"] == ("1.2500", "at step 20000; lowest 1.2500 at step 20000"), "validation")
    check(cards["Loss scale"] == ("32768", "lowest 16384 at step 5001"), f"{cards['Loss scale']}")
    shown = [row[0] for row in page.tables()["Last steps"][:3]]
    check(shown == ["20000", "19999", "19998 scale lowered"], f"last steps {shown}")
    check("Restarts" not in cards and not {"Starts", "Gaps"} & set(page.tables()), "restarts of none")
    marks = [path.find("title").text for path in figures["Gradient norm"].iter("path")
             if path.get("class") == "skipped"]
    check(marks and marks[0] == "step 3000 skipped", f"marks {marks}")
    band = next(path for path in figures["Gradient norm"].iter("path") if path.get("class").startswith("band"))
    highest = min(float(y) for y in re.findall(r"[ML][0-9.]+ ([0-9.]+)", band.get("d")))
    # the axis is logarithmic, from 1 to 100, 158 units high
    wanted = 166 - 158 * math.log10(90) / 2
    check(abs(highest - wanted) < 0.1, f"the outlier is at {highest}, not {wanted}")
    check("Traffic of states" in figures and "Traffic of rank 0" not in figures, f"charts {list(figures)}")


def test_ticks(folder):
    """Charts of odd ranges: labels rise, the line lies between the ends."""
    for number, (low, high) in enumerate([(2.0, 2.0), (0.0, 0.0), (-3.0, -1.0), (1e-8, 3e-8), (1e30, 2e30),
                                          (1.99999, 2.00001), (5.0, 1000.0)]):
        def change(i, row):
            row["loss"] = low + (high - low) * (i - 1) / 2
        figure = Page(make_run(f"{folder}/range{number}", make_rows(3, change))).figures()["Loss"]
        ticks = [label for label in figure.iter("text") if label.get("class") == "end"]
        heights = [float(label.get("y")) for label in ticks]
        check(2 <= len(ticks) <= 9 and heights == sorted(heights, reverse=True), f"{low} to {high}: {heights}")
        check(len({label.text for label in ticks}) == len(ticks), f"{low}: {[label.text for label in ticks]}")
        line = next(path for path in figure.iter("path") if path.get("class").startswith("line"))
        for y in re.findall(r"[ML][0-9.]+ (-?[0-9.]+)", line.get("d")):
            check(7.9 <= float(y) <= 166.1, f"{low} to {high}: a point at {y}")
    page = Page(make_run(f"{folder}/one", make_rows(1)))
    check(page.cards()["Steps"][0] == "1" and "Loss" in page.figures(), "a run of one step")


def test_odd(folder):
    """Whatever the tables hold, whole rows are shown and the rest is counted."""
    run = make_run(f"{folder}/odd", make_rows(6))
    with open(f"{run}/steps.csv") as file:
        text = file.read()
    last = text[:-1].rindex("\n") + 1
    for end in range(last, len(text), 7):
        write(run, "steps.csv", text[:end])
        check(Page(run).cards()["Steps"][0] == "5", f"cut at {end - last}")
    odd = ["x" * 200000, "1,2,3", "," * 21, "-1" + "," * 21, "1.5" + "," * 21, "7\0" + "," * 21, "", "nan" + "," * 21,
           "1e300" + "," * 21, "," * 400]
    write(run, "steps.csv", text + "\n".join(odd) + "\n" + text[last:].replace("6,", "7,", 1))
    page = Page(run)
    check(page.cards()["Steps"][0] == "7", f"behind odd lines: {page.cards()['Steps']}")
    check(f"{len(odd)} lines of the tables" in page.text(), "odd lines are counted")
    for name in ("timings.csv", "memory.csv", "end.yaml", "used.yaml"):
        for content in ("", "\n", "x,y\n1,2\n", "\0\xff\n" * 9, "lane,kind,step\n" + "a,b,c\n" * 5, "run:\n",
                        "y" * 300000):
            write(run, name, content)
            Page(run)
            zinf("watch", "--once", run)
        os.remove(f"{run}/{name}")
    write(run, "timings.csv", "step,lane,kind,count,seconds,wait_seconds,bytes\n" +
          "".join(f"1,l{i},<k>,1,1,1,nan\n" for i in range(1000)))
    check(len(Page(run).tables()["Operations"]) == 128, "kinds of operations without end")
    write(run, "steps.csv", "")
    write(run, "used.yaml", "run:\n    name: n\n")
    check("No step has been reported" in Page(run).text(), "an empty steps.csv")
    columns = ["loss", "step", "new_column"]
    page = Page(make_run(f"{folder}/columns", [{"loss": 3.5, "step": i, "new_column": 1} for i in (1, 2)], columns))
    check(list(page.figures()) == ["Loss"] and "Tokens" not in page.cards(), f"columns {list(page.figures())}")
    rows = list(make_rows(9))
    page = Page(make_run(f"{folder}/back", rows[:6] + rows[3:]))
    check(page.tables()["Gaps"] == [["6", "4"]] and "Restarts" not in page.cards(), f"gaps {page.tables()}")


def starts_of(steps, checkpoint=""):
    """starts.csv of jobs that went on after these steps."""
    rows = [f"{step},2026-11-{i + 1:02d}T06:00:00Z,{2 + i},0.1.0,{i:07x},{checkpoint if step else ''}\n"
            for i, step in enumerate(steps)]
    return "step,started,ranks,version,revision,checkpoint\n" + "".join(rows)


def test_starts(folder):
    """Jobs of a run: a card, a table, a line in each chart, a line of watch."""
    run = make_run(f"{folder}/starts", make_rows(40))
    write(run, "starts.csv", starts_of([0]))
    page = Page(run)
    check("Restarts" not in page.cards() and "Starts" not in page.tables(), "a run of one job")
    check("restarts" not in zinf("watch", "--once", run)[0], "watch of one job")
    write(run, "starts.csv", starts_of([0, 20, 20, 30], "checkpoints/step.h5"))
    page = Page(run)
    check(page.cards()["Restarts"] == ("3", "last after step 30"), f"restarts {page.cards()['Restarts']}")
    table = page.tables()["Starts"]
    check(table[0] == ["2026-11-04T06:00:00Z", "30", "5", "0.1.0", "checkpoints/step.h5"], f"starts {table[0]}")
    check([row[1] for row in table] == ["30", "20", "20", "0"] and table[3][4] == "", f"starts {table}")
    for name, figure in page.figures().items():
        lines = [path.find("title").text for path in figure.iter("path") if path.get("class") == "start"]
        wanted = [f"a job went on after step {step}" for step in (30, 20)]
        check(lines == wanted, f"{name}: {lines}")
    said, _ = zinf("watch", "--once", run)
    check("restarts    3, the last after step 30, 2026-11-04T06:00:00Z" in said, f"watch: {said}")
    write(run, "starts.csv", starts_of(list(range(100)), HOSTILE.replace(",", "")))
    page = Page(run)
    check(len(page.tables()["Starts"]) == 64 and "The newest 64 of 100." in page.text(), "many starts")
    check(page.cards()["Restarts"][0] == "99", f"restarts {page.cards()['Restarts']}")
    check("\x1b" not in zinf("watch", "--once", run)[0], "a start reaches the terminal")
    write(run, "starts.csv", "step,started\n-1,x\n1.5,x\nnan,x\n1,2,3\n" + "7\n" + "0,a\n5,b\n6,")
    page = Page(run)
    check(page.cards()["Restarts"] == ("1", "last after step 5"), "odd starts")
    check("5 lines of the tables" in page.text(), "odd lines of starts.csv are counted")


def test_states(folder):
    run = make_run(f"{folder}/states", make_rows(4))
    check(">died<" in Page(run).bytes.decode(), "no end, no lock")
    with open(f"{run}/run.lock", "w") as lock:
        lock.write("process 1 on host <here> since then\n")
        lock.flush()
        check("running, or killed" in Page(run).text(), "a lock file that nobody holds, and a fresh row")
        fcntl.lockf(lock, fcntl.LOCK_EX)
        check("running process 1 on host <here>" in Page(run).text(), f"a lock: {Page(run).text()[:200]}")
        old = time.time() - 1000
        os.utime(f"{run}/steps.csv", (old, old))
        check("no new step for 0:16:4" in zinf("watch", run)[0], "a stalled run")
    check(">died<" in Page(run).bytes.decode(), "a lock file that nobody holds, and an old row")
    write(run, "used.yaml", 'run:\n    name: "a\\u001B[2J\\"b\\"\x1b\\\\"   # deck line 1\n')
    said, _ = zinf("watch", run)
    check('a?[2J"b"?\\\n' in said and "\x1b" not in said, f"a name with an escape: {said}")
    check(Page(run).title().startswith('a?[2J"b"\ufffd\\,'), f"a name with an escape: {Page(run).title()}")
    for code, end, said in ((4, "stopped early", "warn"), (7, "numerics", "wrong"), (0, "done", "good")):
        write(run, "end.yaml", f"code: {code}\nend: {end}\nstep: 4\nsteps: 9\ncheckpoint: none\n"
                               'reason: "a <b> \\"c\\""\n')
        page = Page(run)
        check(f'"state {said}">{end}<' in page.bytes.decode() and 'a <b> "c"' in page.text(), f"end {end}")


def test_refused(folder):
    for name in ("absent", "file"):
        write(folder, "file", "text")
        for command in ("report", "watch"):
            check("run.directory" in zinf(command, f"{folder}/{name}", code=2)[1], f"{command} {name}")
    os.mkdir(f"{folder}/empty")
    check("run.directory" in zinf("report", f"{folder}/empty", code=2)[1], "an empty folder")
    check(not os.listdir(f"{folder}/empty"), "a page of nothing")
    run = make_run(f"{folder}/refused", make_rows(4))
    os.remove(f"{run}/steps.csv")
    os.mkfifo(f"{run}/steps.csv")
    check("fifo" in zinf("report", run, code=2)[1], "a fifo")
    run = make_run(f"{folder}/place", make_rows(4))
    os.mkdir(f"{run}/report.html")
    check("report.html" in zinf("report", run, code=2)[1], "a folder at the place of the page")
    zinf("report", run, "--output", f"{folder}/none/page.html", code=5)


class Terminal:
    """`zinf watch` on a terminal of 60 columns."""

    def __init__(self, run):
        self.bytes = b""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(ZINF, [ZINF, "watch", run, "--every", "0.1"])
        fcntl.ioctl(self.file, 0x5414, b"\x18\0\x3c\0\0\0\0\0")  # TIOCSWINSZ: 24 rows, 60 columns

    def read_until(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text.encode() not in self.bytes and time.monotonic() < end:
            if select.select([self.file], [], [], 0.1)[0]:
                try:
                    self.bytes += os.read(self.file, 65536)
                except OSError:
                    break
        check(text.encode() in self.bytes, f"watch does not say {text}: {self.bytes[-400:]}")

    def screen(self):
        """The lines that are seen, and the row of the cursor."""
        lines, row = [""], 0
        for part in re.findall(r"\x1b\[(\d*)([A-Za-z])|([^\x1b]+)", self.bytes.decode(errors="replace")):
            number, letter, text = part
            if letter == "A":
                row -= int(number)
            elif letter == "K":
                pass
            elif letter == "J":
                del lines[row + 1:]
            else:
                check(not letter, f"escape {letter}")
                for piece in re.split("(\n)", text.replace("\r", "")):
                    if piece == "\n":
                        row += 1
                        if row == len(lines):
                            lines.append("")
                    elif piece:
                        lines[row] = piece
        return lines, row

    def wait(self):
        while True:
            try:
                more = os.read(self.file, 65536)
            except OSError:
                break
            if not more:
                break
            self.bytes += more
        return os.waitpid(self.pid, 0)[1]


def test_watch(folder):
    run = f"{folder}/watched"
    rows = list(make_rows(40))
    make_run(run, rows[:3])
    write(run, "used.yaml", "run:\n    name: w\n    steps: 40 steps\n")
    with open(f"{run}/run.lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        terminal = Terminal(run)
        terminal.read_until("3/40")
        make_run(f"{folder}/more", rows[:21])
        with open(f"{folder}/more/steps.csv") as more, open(f"{run}/steps.csv", "a") as file:
            lines = more.readlines()[4:]
            for line in lines[:-1]:
                file.write(line)
            file.write(lines[-1][:9])
            file.flush()
            terminal.read_until("20/40")
            file.write(lines[-1][9:])
        terminal.read_until("21/40")
        # As runs that go on from a checkpoint: the file becomes shorter, and other rows stand behind what was read.
        make_run(run, rows[:9])
        terminal.read_until("9/40")
        make_run(run, [dict(row, seconds=0.25, gradient_norm=1.125) for row in rows[:30]])
        terminal.read_until("30/40")
        stopped = Terminal(run)
        stopped.read_until("30/40")
        time.sleep(0.3)
        os.write(stopped.file, b"\x03")
        check(os.WTERMSIG(stopped.wait()) == signal.SIGINT, "Ctrl-C")
        check("\x1b[?" not in stopped.bytes.decode(errors="replace"), "a mode of the terminal is switched")
        check(stopped.screen()[0][stopped.screen()[1] - 1].strip(), "Ctrl-C leaves the cursor below the picture")
        write(run, "end.yaml", "code: 0\nend: done\nstep: 30\nsteps: 40\ncheckpoint: none\n"
                               'reason: "all steps are done"\n')
        terminal.read_until("all steps are done")
        check(terminal.wait() == 0, "the end of the run")
    lines, row = terminal.screen()
    check(row == len(lines) - 1 and len([line for line in lines if line.startswith("run ")]) == 1, f"{lines}")
    check(max(len(line) for line in lines) < 60, f"wide lines: {lines}")
    check(any(line.startswith("step") and "30/40" in line for line in lines), f"the last picture: {lines}")
    check(not any("WARNING" in line for line in lines), f"rows that were read from their middle: {lines}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        for test in (test_real, test_numbers, test_ticks, test_odd, test_starts, test_states, test_refused, test_watch):
            test(folder)
    for what in failures:
        print(f"failed: {what}")
    print(f"app_report: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
