#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.trace: trace.json has every operation of the traced steps and of no others, in the order that the program
# demands; it changes no bit; waits and bytes of each step are in steps.csv. Python reads the JSON.
. "${srcdir:-.}/regression/checks/app_common.sh"
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -c "" 2>/dev/null || { echo "skipped: no Python"; exit 77; }

make_data
make_deck
deck=$folder/deck.yaml
far="--set device.type=cuda --set placement.parameters=host --set placement.gradients=host
     --set placement.optimizer=host --set placement.activations=host"

# traced RUN PROGRAM RANKS STEP...: what must be in RUN/trace.json, PROGRAM being what `zinf program` prints.
traced() {
    "$python" - "$@" <<'END' || fail "trace.json of $1"
import csv, json, re, sys
run, program, ranks, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(s) for s in sys.argv[4:]]
with open(f"{run}/trace.json") as file:
    boxes = [event for event in json.load(file)["traceEvents"] if event["ph"] == "X"]
with open(f"{run}/steps.csv", newline="") as file:
    rows = {int(row["step"]): row for row in csv.DictReader(file)}
try:
    import h5py
    with h5py.File(f"{run}/run.h5", "r") as file:
        names = list(next(iter(rows.values())))
        assert sorted(file["steps"]) == sorted(names), f"columns {sorted(file['steps'])}"
        for name in names:
            for row, value in zip(rows.values(), file["steps"][name][:]):
                text = "%016x" % (int(value) & (2 ** 64 - 1)) if name == "checksum" else "%.9g" % value
                if name.endswith("_bytes") or name == "step":
                    text = str(value)
                assert (row[name] or "nan") == text, f"{name}: {row[name]} in steps.csv, {text} in run.h5"
except ImportError:
    pass
ops = {}
with open(program) as file:
    for line in file:
        found = re.match(r" *(\d+) (\w+) +(\w+) (.*?)\|", line)
        if found:
            after = [int(number) for number in re.findall(r"@(\d+)", found[4])]
            ops[int(found[1])] = (found[2], found[3], after)
assert len(ops) > 50, f"{len(ops)} operations in {program}"
found = {(b["pid"], b["args"]["step"]) for b in boxes}
assert found == {(r, s) for r in range(ranks) for s in steps + ["initialize", "save"]}, f"steps: {found}"
for step, kind in (("initialize", "draw"), ("save", "export")):
    moved = sum(b["args"]["bytes"] for b in boxes if b["args"]["step"] == step and b["cat"] == kind)
    assert moved > 1000, f"{step}: {kind} moves {moved} bytes"
for rank in range(ranks):
    for step in steps:
        mine = [b for b in boxes if (b["pid"], b["args"]["step"]) == (rank, step)]
        done = {b["args"]["op"]: b for b in mine if b["cat"] not in ("step", "wait")}
        assert sorted(done) == sorted(ops), f"step {step}: {len(done)} operations of {len(ops)}"
        assert len([b for b in mine if b["cat"] not in ("step", "wait")]) == len(ops), "an operation twice"
        for number, (lane, kind, after) in ops.items():
            box = done[number]
            assert (box["args"]["lane"], box["cat"]) == (lane, kind), f"operation {number}: {box}"
            for earlier in after:
                end = done[earlier]["ts"] + done[earlier]["dur"]
                assert box["ts"] >= end - 0.002, f"operation {number} starts before {earlier} is done"  # rounded
        whole, = (b for b in mine if b["cat"] == "step")
        for b in mine:
            assert whole["ts"] - 0.002 <= b["ts"] <= b["ts"] + b["dur"] <= whole["ts"] + whole["dur"] + 0.002, b
        places = {}
        for b in mine:
            places.setdefault(b["tid"], []).append((b["ts"], b["ts"] + b["dur"]))
        for row in places.values():
            row.sort()
            assert all(one[1] <= two[0] + 0.002 for one, two in zip(row, row[1:])), "boxes of a row overlap"
        assert 0 < whole["dur"] <= 1e6 * float(rows[step]["seconds"]) or rank > 0, "length of the step"
        if rank == 0:
            # two measurements of the same waits
            wait = sum(b["dur"] for b in mine if b["cat"] == "wait") / 1e6
            counted = sum(float(v) for name, v in rows[step].items() if name.startswith("wait_"))
            assert wait <= float(rows[step]["seconds"]) and counted <= float(rows[step]["seconds"]), "waits"
END
    passed=$((passed + 1))
}

expect 0 "$zinf_apart" run "$deck" $far
cp "$folder/run/steps.csv" "$folder/untraced"
[ ! -e "$folder/run/trace.json" ] || fail "a trace without run.trace"
expect 0 "$zinf_apart" program "$deck" $far
cp "$folder/out" "$folder/program.1"
expect 0 "$zinf_apart" run "$deck" $far --overwrite --set run.trace=2
traced "$folder/run" "$folder/program.1" 1 3 4
cut -d, -f 1-5,8-10 "$folder/untraced" >"$folder/bits"
cut -d, -f 1-5,8-10 "$folder/run/steps.csv" | cmp -s - "$folder/bits" || fail "tracing changes numbers"

# Two ranks; a run that ends before the last step to be traced; an older trace is an output of an earlier run.
expect 0 "$zinf_apart" program "$deck" $far --ranks 2
cp "$folder/out" "$folder/program.2"
expect 0 "$launcher" -n 2 "$zinf_apart" run "$deck" $far --overwrite --set run.trace=100 --set run.steps=5
traced "$folder/run" "$folder/program.2" 2 3 4 5
for file in "$folder"/run/*; do
    case $file in */trace.json) ;; *) rm -r "$file" ;; esac
done
expect 2 "$zinf" run "$deck"
complains "trace.json"
expect 0 "$zinf" run "$deck" --overwrite --set run.steps=2 --set run.trace=1
[ "$(grep -c '"ph":"X"' "$folder/run/trace.json")" -eq 0 ] || fail "boxes of a run of two steps"

# Without another lane nothing waits; bytes of a store that is not there are 0.
expect 0 "$zinf" run "$deck" --overwrite
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { if ($at["disk_read_bytes"] != 0 || $at["disk_written_bytes"] != 0) exit 1
      if ($at["io_read_bytes"] !~ /^(-1|[0-9]+)$/ || $at["io_written_bytes"] !~ /^(-1|[0-9]+)$/) exit 1
      if ($at["wait_disk_read"] > 0.01 * $at["seconds"] || $at["wait_comm"] == "") exit 1 }' \
    "$folder/run/steps.csv" || fail "waits and bytes of steps.csv"
done_with app_trace
