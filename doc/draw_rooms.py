#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws doc/rooms.svg: the rooms of src/ and which uses which, from src/LAYERS.

    doc/draw_rooms.py            writes the picture
    doc/draw_rooms.py --check    fails where the picture is another, or where the table of rooms in
                                 doc/architecture.md names other rooms than LAYERS

A room stands above all that it uses. Of the uses only those are drawn that do not follow from others (the transitive
reduction). The words in a box are the second column of that table; in grey are the libraries that a room calls.
"""
import os
import re
import sys

import svg

BOX, HEIGHT, GAP, RISE, MARGIN, PASS = 270, 56, 26, 104, 24, 14
BORDER, LINE, FILL, QUIET = "#44546a", "#7f8fa6", "#eef3f8", "#5a6675"


def read_layers(path):
    """Uses of each room, in the order of the file, and the libraries that each room owns."""
    uses, libraries = {}, {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split("#")[0].split()
            if words[:1] == ["room"]:
                uses[words[1]] = set(words[3:])
            elif words[:1] == ["library"]:
                for owner in words[words.index("in") + 1:]:
                    libraries.setdefault(owner.split("/")[0], []).append(words[1])
    if not uses:
        sys.exit(f"{path}: no rooms")
    return uses, libraries


def read_table(path):
    """What the document says of each room: the second column."""
    with open(path, encoding="utf-8") as file:
        text = file.read().partition("\n## Rooms\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", text, re.MULTILINE))


def reduce(uses):
    """Direct uses that are not uses of a use as well."""
    return {room: sorted(other for other in used if not any(other in uses[third] for third in used - {other}))
            for room, used in uses.items()}


def layer(direct):
    """Rooms by height above base; a line that passes a height has a place in it: (user, used, height)."""
    height = {}
    for room, used in direct.items():
        height[room] = 1 + max((height[other] for other in used), default=-1)
    rows = [[] for _ in range(1 + max(height.values()))]
    for room in direct:
        rows[height[room]].append(room)
    lines = []
    for room, used in direct.items():
        for other in used:
            inner = [(room, other, level) for level in range(height[other] + 1, height[room])]
            for place in inner:
                rows[place[2]].append(place)
            lines.append([other] + inner + [room])
    return rows, lines


def crossings(rows, below):
    """Pairs of lines that cross between neighbouring heights."""
    count = 0
    for lower, upper in zip(rows, rows[1:]):
        at = {node: i for i, node in enumerate(lower)}
        ends = [(i, at[other]) for i, node in enumerate(upper) for other in below[node]]
        count += sum(1 for i, one in enumerate(ends) for two in ends[:i] if (one[0] - two[0]) * (one[1] - two[1]) < 0)
    return count


def order(rows, lines):
    """Orders each height so that few lines cross: swaps of any two places in a height, while one helps."""
    below = {node: [] for row in rows for node in row}
    for line in lines:
        for lower, upper in zip(line, line[1:]):
            below[upper].append(lower)
    best = crossings(rows, below)
    helped = True
    while helped and best:
        helped = False
        for row in rows:
            for i in range(len(row)):
                for j in range(i):
                    row[i], row[j] = row[j], row[i]
                    now = crossings(rows, below)
                    if now < best:
                        best, helped = now, True
                    else:
                        row[i], row[j] = row[j], row[i]
    return below


def half(node):
    return BOX / 2 if isinstance(node, str) else PASS / 2


def settle(row, wanted):
    """Places of a row near what is wanted, in order and apart. Those that would overlap become one group, whose shift
    is the mean of theirs; a group is its members, each with its offset from the first, and where that is."""
    groups = []
    for node in row:
        groups.append(([(node, 0.0)], wanted[node]))
        while len(groups) > 1:
            (left, left_at), (right, right_at) = groups[-2:]
            (last, offset), first = left[-1], right[0][0]
            step = offset + half(last) + GAP + half(first)
            if right_at - left_at >= step:
                break
            at = (left_at * len(left) + (right_at - step) * len(right)) / (len(left) + len(right))
            groups[-2:] = [(left + [(member, more + step) for member, more in right], at)]
    return {node: at + offset for members, at in groups for node, offset in members}


def spread(rows, below):
    """Across: every place near the middle of its neighbours above and below."""
    above = {node: [] for row in rows for node in row}
    for upper, lowers in below.items():
        for lower in lowers:
            above[lower].append(upper)
    x = {}
    for row in rows:
        x.update(settle(row, {node: float(i) for i, node in enumerate(row)}))
    for _ in range(60):
        for row in rows + rows[::-1]:
            wanted = {}
            for node in row:
                near = [x[other] for other in below[node] + above[node]]
                wanted[node] = sum(near) / len(near) if near else x[node]
            x.update(settle(row, wanted))
    return x


def draw(uses, libraries, words):
    rows, lines = layer(reduce(uses))
    below = order(rows, lines)
    x = spread(rows, below)
    left = min(x[node] - half(node) for node in x)
    width = max(x[node] + half(node) for node in x) - left + 2 * MARGIN
    height = (len(rows) - 1) * RISE + HEIGHT + 2 * MARGIN
    across = {node: round(at - left + MARGIN, 1) for node, at in x.items()}
    top = {node: height - MARGIN - HEIGHT - level * RISE for level, row in enumerate(rows) for node in row}
    picture = svg.Picture(width, height, "Rooms of src/ and which uses which")
    for line in lines:
        draw_line(picture, line, across, top)
    for room in uses:
        draw_room(picture, room, across[room], top[room], (words[room], libraries.get(room, [])))
    return picture.written()


def draw_line(picture, line, across, top):
    """From the user above down to what it uses, straight past the boxes of the heights between."""
    upper = line[-1]
    commands = [f"M {across[upper]:g} {top[upper] + HEIGHT:g}"]
    y = top[upper] + HEIGHT
    for node in line[-2::-1]:
        end = top[node]
        reach = (end - y) / 2
        commands.append(f"C {across[upper]:g} {y + reach:g} {across[node]:g} {end - reach:g} {across[node]:g} {end:g}")
        y, upper = end, node
        if not isinstance(node, str):
            y = end + HEIGHT
            commands.append(f"L {across[node]:g} {y:g}")
    picture.path(" ".join(commands), LINE)
    tip = across[upper]
    picture.path(f"M {tip:g} {y:g} l -4.5 -9 l 9 0 Z", "none", fill=LINE)


def draw_room(picture, room, middle, top, says):
    words, libraries = says
    grey = ", ".join(libraries)
    if max(svg.wide(words, 12), svg.wide(grey, 10.5)) > BOX - 8:
        sys.exit(f"{room}: its words or libraries are too wide for a box of {BOX} pixels")
    picture.rectangle(middle - BOX / 2, top, BOX, HEIGHT, FILL, BORDER, radius=4)
    picture.text(middle, top + 20, room, size=15, anchor="middle", weight="bold")
    picture.text(middle, top + (35 if libraries else 40), words, size=12, anchor="middle")
    if libraries:
        picture.text(middle, top + 49, grey, size=10.5, anchor="middle", fill=QUIET)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    uses, libraries = read_layers(os.path.join(here, "../src/LAYERS"))
    document = os.path.join(here, "architecture.md")
    words = read_table(document)
    if set(words) != set(uses):
        print(f"{document}: its table of rooms lacks {sorted(set(uses) - set(words))} "
              f"and has {sorted(set(words) - set(uses))}, which LAYERS has not")
        return 1
    return svg.write_or_check(os.path.join(here, "rooms.svg"), draw(uses, libraries, words))


if __name__ == "__main__":
    sys.exit(main())
