#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rooms of src/ use only what src/LAYERS lets them: headers by #include, and what those include; functions and
variables by the symbols of the compiled objects (so a prototype written by hand does not slip through).

Then the check checks itself: a copy of LAYERS beside sources and objects with one fault each must be
refused, or the check is broken. Run in the build folder, by `make check`.
"""
import collections
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
GENERATED = {"config.h", "base/revision.h"}


class Layers:
    """The table, read."""

    def __init__(self, path):
        self.uses, self.public, self.libraries = {}, {}, []
        with open(path) as file:
            for number, line in enumerate(file, 1):
                words = line.split("#")[0].split()
                if words:
                    self.take(words, f"{path}:{number}")

    def take(self, words, place):
        kind, name, rest = words[0], words[1], words[2:]
        if kind == "room" and rest[:1] == ["uses"]:
            unknown = [room for room in rest[1:] if room not in self.uses]
            if unknown:
                sys.exit(f"{place}: {name} uses {unknown[0]}, which is not listed before it")
            self.uses[name] = set(rest[1:]) | {name}
        elif kind == "public" and name in self.uses:
            self.public[name] = set(rest)
        elif kind == "library" and {"headers", "symbols", "in"} <= set(rest):
            symbols, last = rest.index("symbols"), rest.index("in")
            self.libraries.append((name, rest[1:symbols], rest[symbols + 1:last], rest[last + 1:]))
        else:
            sys.exit(f"{place}: cannot be read: {' '.join(words)}")


def allowed_in(folder, owners):
    """folder: the one of a file, relative to src, as device/cpu."""
    return any(folder == owner or folder.startswith(owner + "/") for owner in owners)


def check_include(layers, folder, quote, header):
    """What is wrong with it, or None."""
    room = folder.split("/")[0]
    for name, headers, _, owners in layers.libraries:
        if any(fnmatch.fnmatchcase(header, pattern) for pattern in headers):
            return None if allowed_in(folder, owners) else f"{name} belongs to {' '.join(owners)}"
    if quote == "<" or header in GENERATED:
        return None
    other, _, rest = header.partition("/")
    if other not in layers.uses:
        return "is not written as \"room/file.h\""
    if other not in layers.uses[room]:
        return f"{room} may not use {other}"
    if other != room and rest not in layers.public.get(other, set()):
        return f"is private to {other}"
    return None


def includes_of(path):
    with open(path) as file:
        text = file.read()
    return [(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in INCLUDE.finditer(text)]


def seen_through(layers, source, room, header):
    """What a room that includes a header of ours comes to see behind it and may not: (header, room)."""
    forbidden, done, todo = [], {header}, [header]
    while todo:
        path = os.path.join(source, todo.pop())
        if not os.path.exists(path):
            continue
        for quote, behind, _ in includes_of(path):
            other = behind.partition("/")[0]
            if quote == "<" or other not in layers.uses or behind in done:
                continue
            done.add(behind)
            todo.append(behind)
            if other not in layers.uses[room]:
                forbidden.append((behind, other))
    return forbidden


def check_sources(layers, source):
    """Complaints about includes, and how many includes there are."""
    complaints, count = [], 0
    for path, folders, files in os.walk(source):
        folders.sort()
        folder = os.path.relpath(path, source)
        if folder == ".":
            stray = [name for name in folders if name not in layers.uses]
            complaints += [f"src/{name} is no room of LAYERS" for name in stray]
            continue
        for name in sorted(files):
            if not name.endswith((".c", ".h", ".cu", ".cpp")):
                continue
            for quote, header, line in includes_of(os.path.join(path, name)):
                count += 1
                place = f"src/{folder}/{name}:{line}: {header}"
                wrong = check_include(layers, folder, quote, header)
                if wrong:
                    complaints.append(f"{place}: {wrong}")
                elif quote == '"':
                    room = folder.split("/")[0]
                    complaints += [f"{place}: shows {behind}; {room} may not use {other}"
                                   for behind, other in seen_through(layers, source, room, header)]
    return complaints, count


def symbols_of(objects):
    """Per object: names it defines for others, names it needs."""
    defined, needed = {path: set() for path in objects}, {path: set() for path in objects}
    listed = subprocess.run([os.environ.get("NM", "nm"), "-A", "-g", "-P"] + objects, check=True,
                            capture_output=True, text=True).stdout
    for line in listed.splitlines():
        path, _, fields = line.rpartition(": ")
        name, kind = fields.split()[:2]
        (needed if kind in "Uvw" else defined)[path].add(name)
    return defined, needed


def check_objects(layers, build):
    """Complaints about symbols of build/src, and how many references there are."""
    objects = [os.path.join(path, name) for path, _, files in os.walk(build) for name in sorted(files)
               if name.endswith((".o", ".obj"))]
    folders = {path: os.path.relpath(os.path.dirname(path), build) for path in objects}
    # A build folder keeps the objects of rooms that are no more.
    objects = [path for path in objects if folders[path].split("/")[0] in layers.uses]
    defined, needed = symbols_of(objects)
    homes = collections.defaultdict(set)
    for path, names in defined.items():
        for name in names:
            homes[name].add(folders[path].split("/")[0])
    complaints = [f"{name} is defined by {' and '.join(sorted(rooms))}"
                  for name, rooms in homes.items() if len(rooms) > 1]
    count = 0
    for path, names in needed.items():
        room = folders[path].split("/")[0]
        for name in sorted(names):
            count += 1
            home = homes.get(name, set())
            if home and not home & layers.uses.get(room, set()):
                complaints.append(f"{path}: calls {name} of {min(home)}; {room} may not use it")
            for library, _, prefixes, owners in layers.libraries:
                if not home and name.startswith(tuple(prefixes)) and \
                        not allowed_in(folders[path], owners):
                    complaints.append(f"{path}: calls {name}; {library} belongs to {' '.join(owners)}")
    return complaints, count


PLANTED_INCLUDES = [
    ("base", '#include "program/program.h"', True),
    ("device", '#include <mpi.h>', True),
    ("tier", '#  include <yaml.h>', True),
    ("app", '#include "device/cpu/cpu.h"', True),
    ("comm", '#include "log.h"', True),
    ("engine", '#include "comm/transport.h"', True),
    ("device/cuda", '#include <dnnl.h>', True),
    ("device/cpu", '#include <dnnl.h>', False),
    ("device/cpu", '#include "device/cpu/cpu.h"', False),
    ("engine", '#include "comm/comm.h"', False),
    ("checkpoint", '#include <hdf5.h>', False),
    ("plan", '#include "program/program.h"', False),
    ("plan", '#include "engine/engine.h"', True),
]
PLANTED_HEADERS = [
    # A public header of a room, what it includes, who includes it, and whether that is forbidden.
    ("compiler/compiler.h", "comm/comm.h", "plan", True),
    ("compiler/compiler.h", "program/program.h", "plan", False),
]
PLANTED_CALLS = [
    ("base", "engine_planted", True),
    ("model", "MPI_Send", True),
    ("app", "engine_planted", False),
    ("comm", "MPI_Send", False),
]


def self_test(layers):
    """Complaints about the check itself."""
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (room, line, forbidden) in enumerate(PLANTED_INCLUDES):
            source = f"{folder}/source{number}"
            os.makedirs(f"{source}/{room}")
            with open(f"{source}/{room}/planted.c", "w") as file:
                file.write(line + "\n")
            if bool(check_sources(layers, source)[0]) != forbidden:
                complaints.append(f"the check is broken: in {room}, {line}")
        for number, (header, behind, room, forbidden) in enumerate(PLANTED_HEADERS):
            source = f"{folder}/behind{number}"
            for path, text in ((header, behind), (f"{room}/planted.c", header)):
                os.makedirs(os.path.dirname(f"{source}/{path}"), exist_ok=True)
                with open(f"{source}/{path}", "w") as file:
                    file.write(f'#include "{text}"\n')
            os.makedirs(os.path.dirname(f"{source}/{behind}"), exist_ok=True)
            with open(f"{source}/{behind}", "w"):
                pass
            if bool(check_sources(layers, source)[0]) != forbidden:
                complaints.append(f"the check is broken: in {room}, {behind} behind {header}")
        for number, (room, name, forbidden) in enumerate(PLANTED_CALLS):
            build = f"{folder}/build{number}"
            compile_planted(build, "engine", "int engine_planted(void);int engine_planted(void){return 1;}")
            compile_planted(build, room, f"int {name}(void);int planted_{number}(void);"
                                         f"int planted_{number}(void){{return {name}();}}")
            if bool(check_objects(layers, build)[0]) != forbidden:
                complaints.append(f"the check is broken: in {room}, a call of {name}")
    return complaints


def compile_planted(build, room, text):
    os.makedirs(f"{build}/{room}", exist_ok=True)
    path = f"{build}/{room}/planted{len(os.listdir(f'{build}/{room}'))}"
    with open(path + ".c", "w") as file:
        file.write(text)
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(compiler + ["-c", path + ".c", "-o", path + ".o"], check=True)


def main():
    top = os.environ.get("top_srcdir", ".")
    layers = Layers(f"{top}/src/LAYERS")
    complaints, includes = check_sources(layers, f"{top}/src")
    more, references = check_objects(layers, os.environ.get("abs_top_builddir", ".") + "/src")
    complaints += more + self_test(layers)
    if includes == 0 or references == 0:
        complaints.append(f"{includes} includes and {references} symbols: nothing was looked at")
    for line in complaints:
        print(line)
    print(f"layers: {includes} includes, {references} references, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
