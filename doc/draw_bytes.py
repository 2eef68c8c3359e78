#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws doc/bytes.svg: the way of one unit's bytes through a step, from what `zinf program` prints.

    doc/draw_bytes.py ZINF            writes the picture
    doc/draw_bytes.py ZINF --check    fails where the picture is another, or where the table of doc/architecture.md
                                      has other operations than its rows

ZINF is the program (build/zinf). A column is a buffer, a row an operation on the unit, in program order. Kinds, lanes,
buffers and waits are those of the listing; types and colours those of `zinf help operations` and `zinf help states`.
A buffer that has neither a column nor a place among those left out is an error: a picture that leaves out what it does
not know would look right.
"""
import os
import re
import subprocess
import sys

import svg

UNIT, RANKS = "blocks.1.mlp", "2"
# Columns from left to right: a heading in two lines, where it is, and the names of the buffers, which end in U, the
# unit, or in N, a number.
COLUMNS = [
    ("parameter", "", "nvme", ["parameter U"]),
    ("remainder,", "moments", "nvme", ["remainder U", "moment1 U", "moment2 U"]),
    ("gradient", "", "nvme", ["gradient U"]),
    ("kept", "gradient", "memory", ["gradient N"]),
    ("loaded", "gradient", "memory", ["loaded gradient N"]),
    ("loaded rem.,", "moments", "memory", ["loaded remainder N", "loaded moment1 N", "loaded moment2 N"]),
    ("shard", "of the unit", "memory", ["shard of unit N"]),
    ("whole", "unit", "memory", ["unit N"]),
    ("accumu-", "lator", "memory", ["accumulator N"]),
    ("reduced", "gradient", "memory", ["reduced N"]),
    ("the other", "rank", "network", []),
]
# Activations and small values: not this unit's bytes.
LEFT_OUT = ["stream N", "stream gradient N", "input N", "input of layer N", "saved N", "scratch", "reduce scratch",
            "norm", "checksum", "loss"]
BANDS = {"nvme": ("nvme: files of this rank", "#fdf3e1"), "memory": ("memory of this rank", "#e9f1fa"),
         "network": ("network", "#efefef")}
LEFT, STEP, TOP, ROW, FOOT = 336, 84, 106, 44, 44
INK, QUIET, LIFE, IDLE = "#222222", "#5a6675", "#44546a", "#c3ccd6"

OPERATION = re.compile(r"\s*(\d+) (\w+) +(\w+) +([\w.]*) *(?:m\d+ ?)?((?: *@\d+)*) *\|(.*)")
OPERAND = re.compile(r"(\w+)([<>=])\[([^]]+)\]")


def asked(zinf, *arguments):
    """What the program answers."""
    answer = subprocess.run([zinf, *arguments], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        sys.exit(f"{zinf} {' '.join(arguments)}: {answer.stderr.strip()}")
    return answer.stdout


def table(text):
    """Rows of a table in Markdown as lists of cells."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    return [row for row in rows[2:] if row]


def read_operations(text):
    """By number: kind, lane, subject, numbers waited for, operands as (name, access, buffer)."""
    operations = {}
    for line in text.partition("\n# operation")[2].splitlines()[1:]:
        found = OPERATION.fullmatch(line)
        if not found:
            sys.exit(f"zinf program prints what cannot be read: {line}")
        number, lane, kind, subject, waits, operands = found.groups()
        operations[int(number)] = (kind, lane, subject, [int(wait) for wait in re.findall(r"\d+", waits)],
                                   OPERAND.findall(operands))
    return operations


def is_named(buffer, patterns):
    """Whether a buffer's name is one of these, with the unit for U and digits for N."""
    return any(re.fullmatch(re.escape(pattern).replace("U", re.escape(UNIT)).replace("N", r"[\d.]+"), buffer)
               for pattern in patterns)


def column_of(buffer):
    """Its column, or None for what is left out."""
    for number, (_, _, _, patterns) in enumerate(COLUMNS):
        if is_named(buffer, patterns):
            return number
    if not is_named(buffer, LEFT_OUT):
        sys.exit(f"{UNIT} passes through [{buffer}], for which draw_bytes.py has no column")
    return None


def rows_of(operations):
    """Of the unit, in order: numbers, kind, lane, waits, and by column what is done to it (<, >, =). Operations of a
    kind that follow one another and touch the same columns are one row."""
    rows = []
    for number, (kind, lane, subject, waits, operands) in operations.items():
        if subject != UNIT:
            continue
        touched = {}
        for _, access, buffer in operands:
            column = column_of(buffer)
            if column is not None:
                touched[column] = "=" if touched.get(column, access) != access else access
        if lane == "comm":
            touched[len(COLUMNS) - 1] = "="
        if rows and rows[-1][1] == kind and rows[-1][4] == touched and rows[-1][0][-1] == number - 1:
            rows[-1][0].append(number)
            rows[-1][3].extend(wait for wait in waits if wait not in rows[-1][3])
        else:
            rows.append(([number], kind, lane, list(waits), touched))
    if not rows:
        sys.exit(f"the program has no operation on {UNIT}")
    return rows


def types_of(operations, kinds, states, deck):
    """By column the types of its elements, as the tables say them; compute and gradient are the deck's, and of
    moments the first that a table names, since the deck asks for no other."""
    said = {name: re.findall(rf"\b{name}: *(\w+)", deck)[0] for name in ("compute", "gradient")}
    if "moments:" in deck:
        sys.exit("the deck says how moments are kept: say so in types_of")
    by_state = {row[0].strip("`"): row[2].partition(",")[0] for row in states}
    by_operand = {row[0].strip("`"): dict(re.findall(r"(\w+)(?:\.\.\.)?[<>=+~](?:\.\.\.)? (\w+)", row[3]))
                  for row in kinds}
    found = [{} for _ in COLUMNS]
    for kind, _, subject, _, operands in operations.values():
        for name, _, buffer in operands if subject == UNIT else []:
            column = column_of(buffer)
            state = buffer.removeprefix("loaded ").split()[0]
            kept = by_operand[kind].get(name, "bytes")
            if kept == "bytes":
                kept = by_state.get(state, kept)
            if column is not None and kept != "bytes":
                found[column][said.get(kept, kept)] = True
    for (first, second, _, buffers), types in zip(COLUMNS, found):
        if buffers and not types:
            sys.exit(f"no table says the type of {first} {second}")
    return [" ".join(types) for types in found]


def lives(rows, column):
    """Stretches of rows, as (from, to), in which a buffer in memory holds what somebody will read."""
    touches = [(i, row[4][column]) for i, row in enumerate(rows) if column in row[4]]
    stretches = []
    for at, access in touches:
        if access == ">":
            stretches.append([at, at])
        elif stretches:
            stretches[-1][1] = at
        else:
            stretches.append([-0.5, at])  # since the step before
    if touches and touches[-1][1] == ">":
        stretches[-1][1] = len(rows) - 0.5  # until the next step
    return stretches


def waits_text(waits, operations):
    """"20 adam, 24 store of embedding.position; 9 load": what is waited for, by subject."""
    by_subject = {}
    for wait in sorted(waits):
        by_subject.setdefault(operations[wait][2], []).append(f"{wait} {operations[wait][0]}")
    parts = []
    for subject in sorted(by_subject, key=lambda name: name != UNIT):
        of = "" if subject == UNIT or not subject else f" of {subject}"
        parts.append(", ".join(by_subject[subject]) + of)
    return "; ".join(parts)


def draw(operations, rows, types, colours):
    bottom = TOP + ROW * len(rows)
    picture = svg.Picture(LEFT + STEP * len(COLUMNS) + 16, bottom + FOOT, f"The way of {UNIT} through a step")
    across = [LEFT + STEP * (i + 0.5) for i in range(len(COLUMNS))]
    draw_columns(picture, across, bottom, types)
    for column, (_, _, place, _) in enumerate(COLUMNS):
        picture.path(f"M {across[column]:g} {TOP:g} V {bottom:g}", IDLE, 1.2, dashes="2 4")
        always = [(-0.5, len(rows) - 0.5)] if place == "nvme" else []
        for begun, ended in lives(rows, column) if place == "memory" else always:
            picture.path(f"M {across[column]:g} {TOP + ROW * (begun + 0.5):g} V {TOP + ROW * (ended + 0.5):g}",
                         LIFE, 4)
    for i, row in enumerate(rows):
        draw_row(picture, row, (TOP + ROW * (i + 0.5), across), (operations, colours))
    draw_legend(picture, bottom + 26)
    return picture.written()


def draw_columns(picture, across, bottom, types):
    for place, (words, colour) in BANDS.items():
        inside = [x for x, column in zip(across, COLUMNS) if column[2] == place]
        left, right = inside[0] - STEP / 2 + 2, inside[-1] + STEP / 2 - 2
        picture.rectangle(left, 14, right - left, bottom - 8, colour, radius=4)
        picture.text((left + right) / 2, 34, words, size=13, anchor="middle", weight="bold")
    picture.text(14, 34, f"{UNIT}, rank 0 of {RANKS}", size=15, weight="bold")
    picture.text(14, 56, "number, kind (lane); below, what it waits for", size=11.5, fill=QUIET)
    picture.text(14, 72, "beside its turn in its lane", size=11.5, fill=QUIET)
    for x, (first, second, _, _), words in zip(across, COLUMNS, types):
        for y, line, size, fill in ((58, first, 12, INK), (73, second, 12, INK), (92, words, 11, QUIET)):
            if svg.wide(line, size) > STEP:
                sys.exit(f"{line}: too wide for a column of {STEP} pixels")
            picture.text(x, y, line, size=size, anchor="middle", fill=fill)


def draw_row(picture, row, where, tables):
    numbers, kind, lane, waits, touched = row
    (y, across), (operations, colours) = where, tables
    colour = colours[kind]
    picture.rectangle(14, y - 15, 8, 30, colour)
    name = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
    picture.text(30, y - 2, f"{name}  {kind}", size=13, weight="bold")
    picture.text(150, y - 2, f"({lane})", size=12, fill=QUIET)
    picture.text(30, y + 13, waits_text(waits, operations), size=10.5, fill=QUIET)
    left, right = min(touched), max(touched)
    if left != right:
        picture.path(f"M {across[left]:g} {y:g} H {across[right]:g}", colour, 3)
    sources = [column for column, access in touched.items() if access != ">"]
    for column, access in sorted(touched.items()):
        x = across[column]
        if access == "<":
            picture.circle(x, y, 5, "#ffffff", colour)
        elif access == "=":
            picture.circle(x, y, 6, colour, LIFE)
        else:
            towards = 1 if not sources or min(sources) < column else -1
            picture.path(f"M {x + 2 * towards:g} {y:g} l {-13 * towards:g} -7 v 14 Z", LIFE, 1, fill=colour)


def draw_legend(picture, y):
    x = LEFT + 16
    for draw_sign, words in (
            (lambda at: picture.circle(at, y - 4, 5, "#ffffff", LIFE), "reads"),
            (lambda at: picture.path(f"M {at + 6:g} {y - 4:g} l -13 -7 v 14 Z", LIFE, 1, fill="#9aa8b8"), "fills"),
            (lambda at: picture.circle(at, y - 4, 6, "#9aa8b8", LIFE), "reads and changes, or exchanges"),
            (lambda at: picture.path(f"M {at:g} {y - 14:g} V {y + 5:g}", LIFE, 4), "holds this unit's bytes")):
        draw_sign(x)
        picture.text(x + 14, y, words, size=12)
        x += 40 + 7.2 * len(words)


def check_table(path, rows):
    """1 where the document goes through other operations than the picture."""
    with open(path, encoding="utf-8") as file:
        text = file.read().partition("\n## The way of one parameter's bytes\n")[2].partition("\n\nThe step ends")[0]
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    drawn = [row[1] for row in rows]
    if named != drawn:
        print(f"{path}: its table goes through {' '.join(named)}; the program has {' '.join(drawn)}")
        return 1
    return 0


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if len(words) != 1:
        sys.exit("usage: doc/draw_bytes.py ZINF [--check]")
    zinf, deck = words[0], os.path.join(here, "bytes.yaml")
    operations = read_operations(asked(zinf, "program", deck, "--ranks", RANKS, "--name", "train-update"))
    kinds, states = table(asked(zinf, "help", "operations", "--markdown")), \
        table(asked(zinf, "help", "states", "--markdown"))
    with open(deck, encoding="utf-8") as file:
        types = types_of(operations, kinds, states, file.read())
    colours = {row[0].strip("`"): row[-1] for row in kinds}
    rows = rows_of(operations)
    return check_table(os.path.join(here, "architecture.md"), rows) | \
        svg.write_or_check(os.path.join(here, "bytes.svg"), draw(operations, rows, types, colours))


if __name__ == "__main__":
    sys.exit(main())
