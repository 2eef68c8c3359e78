#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Files, functions, headers and parameter lists stay small enough to read.

    a .c file                 800 lines
    a function                100 lines, 6 parameters
    a header                  150 lines, 15 functions (a test's fixture is code: as a .c file)

Exceptions are named below, with the reason. The sources are formatted by clang-format, so a function starts
in column 0, its body opens by "{" alone and ends by "}" in column 0; that is all this needs to know of C.
"""
import os
import re
import sys

FILE_LINES, FUNCTION_LINES, PARAMETERS, HEADER_LINES, HEADER_FUNCTIONS = 800, 100, 6, 150, 15

ROW = "a row of the table of operations (device/operations.h) fixes its parameters"
KERNEL = "vector code that kernels include and the compiler inlines"
# (path, what): reason. What: lines, functions, or the name of a function.
EXCEPTIONS = {
    ("src/device/cpu/vector.h", "lines"): KERNEL,
    ("src/device/cpu/attention.h", "lines"): KERNEL,
    ("src/device/cpu/tiles.h", "lines"): KERNEL,
    ("src/device/cpu/blocks.h", "lines"): KERNEL,
    ("src/device/cpu/k_embedding.c", "bias_backward"): ROW,
    ("src/device/apart/calls.c", "apart_bias_backward"): ROW,
    ("src/device/operations.h", "lines"): "the table of operations and what each is told, in one place",
    ("src/model/model.h", "lines"): "the tables of a model and what its operations do, in one place",
    ("src/comm/comm.h", "functions"): "five are one-line getters of a communicator",
    ("src/comm/comm.h", "comm_reduce_scatter"): "as MPI_Reduce_scatter, and the stream and the scratch it uses",
    ("src/comm/comm.c", "comm_reduce_scatter"): "as MPI_Reduce_scatter, and the stream and the scratch it uses",
    ("src/text/tokenizer.h", "functions"): "a tokenizer, its work areas, lists of ids and streams are one seam",
    ("src/device/device.h", "functions"): "a device, its streams and its events are one seam",
    ("src/device/device.h", "lines"): "of that seam, each call with what it promises",
    ("src/device/cuda/calls.h", "functions"): "the functions of a device's table, one for each call of its seam",
    ("src/program/program.h", "lines"): "the operation record and what all its fields mean, in one place",
    ("src/engine/engine.h", "functions"): "an engine's life, its runs, its states and what it measured are one seam",
    ("src/app/commands.h", "functions"): "a function per command",
    ("src/deck/deck.h", "functions"): "how a deck is read, checked, told and described, which is one seam",
    ("src/app/setup.h", "setup_parse"): "text and length, name for messages, overrides and their count, ranks",
    ("src/app/setup.c", "setup_parse"): "text and length, name for messages, overrides and their count, ranks",
    ("src/checkpoint/checkpoint.h", "functions"): "a checkpoint's life, what it holds, and names of a folder",
    ("src/checkpoint/checkpoint.h", "checkpoint_read"): "state, tensor and its size, range, destination",
    ("src/checkpoint/read.c", "checkpoint_read"): "state, tensor and its size, range, destination",
    ("regression/unit/checkpoint_fixture.h", "values_fill"): "state, tensor, range and destination",
    ("regression/unit/optimizer_adamw_test.c", "reference_step"): "the parameters of Adam as the paper names them",
}

HEAD = re.compile(r"^(?!typedef|struct \w+ \{|enum|union|#|/|\*| |\})[A-Za-z_][^;{}=]*\(", re.DOTALL)


def without_comments(text):
    """The same lines, comments and strings emptied."""
    def empty(found):
        return re.sub(r"[^\n]", " ", found[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', empty, text, flags=re.DOTALL)


def parameter_count(head):
    """Of a function's head, up to the closing bracket of its parameter list."""
    depth, count, start = 0, 1, head.index("(")
    for at in range(start, len(head)):
        depth += {"(": 1, ")": -1}.get(head[at], 0)
        if head[at] == "," and depth == 1:
            count += 1
        if depth == 0:
            return 0 if head[start + 1:at].strip() in ("", "void") else count
    return count


def functions(text):
    """Of each definition: name, first line, lines, parameters."""
    lines = without_comments(text).split("\n")
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            first = number - 1
            while first > 0 and lines[first - 1][:1] == " " and lines[first][:1] == " ":
                first -= 1
            if lines[first][:1] == " ":
                first -= 1
            start = first
        elif line == "}" and start is not None:
            head = "\n".join(lines[start:number]).split("\n{")[0]
            name = re.search(r"(\w+)\(", head)
            if name:
                yield name[1], start + 1, number - start + 1, parameter_count(head)
            start = None


def prototypes(text):
    """Of each declaration of a function in a header: name, line, parameters."""
    clean = without_comments(text)
    body = re.sub(r"^#.*(?:\\\n.*)*$", lambda found: "\n" * found[0].count("\n"), clean, flags=re.MULTILINE)
    depth, statement, start = 0, "", 0
    for at, letter in enumerate(body):
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                statement = ""
            continue
        if depth > 0:
            continue
        if letter == ";":
            head = statement.strip()
            if re.match(r"^[A-Za-z_][\w\s\*]*?\b\w+\(", head) and not head.startswith("typedef"):
                name = re.search(r"(\w+)\(", head)[1]
                yield name, body.count("\n", 0, start) + 1, parameter_count(head)
            statement = ""
        else:
            if not statement.strip():
                start = at
            statement += letter


def check_text(path, text):
    """Complaints of one file as (what, message)."""
    lines = text.count("\n")
    header = path.endswith(".h") and not path.startswith("regression/")
    if lines > (HEADER_LINES if header else FILE_LINES):
        yield "lines", f"{path}: {lines} lines"
    for name, line, length, parameters in functions(text):
        if length > FUNCTION_LINES:
            yield name, f"{path}:{line}: {name} has {length} lines"
        if parameters > PARAMETERS:
            yield name, f"{path}:{line}: {name} has {parameters} parameters"
    if header:
        declared = list(prototypes(text))
        if len(declared) > HEADER_FUNCTIONS:
            yield "functions", f"{path}: declares {len(declared)} functions"
        for name, line, parameters in declared:
            if parameters > PARAMETERS:
                yield name, f"{path}:{line}: {name} has {parameters} parameters"


def self_test():
    """Texts that are one too large, and just not."""
    body = "static int f(int a, int (*b)(int, int), int c, int d, int e, int g%s)\n{\n%s}\n"
    header = "int f%d(void);\n"
    tests = [
        (body % ("", "    a++;\n" * 97), "x.c", 0), (body % ("", "    a++;\n" * 98), "x.c", 1),
        (body % (", int h", ""), "x.c", 1), ("int x;\n" * 800, "x.c", 0), ("int x;\n" * 801, "x.c", 1),
        ("".join(header % i for i in range(15)), "x.h", 0),
        ("".join(header % i for i in range(16)), "x.h", 1),
        ("struct s {\n    int (*call)(int a, int b, int c, int d, int e, int f, int g);\n};\n", "x.h", 0),
        ("int f(int a, int b, int c, int d, int e,\n      int g, int h);\n", "x.h", 1),
    ]
    for number, (text, path, wanted) in enumerate(tests):
        found = len(list(check_text(path, text)))
        if found != wanted:
            yield f"the check is broken: text {number}: {found} complaints, not {wanted}"


def main():
    top = os.environ.get("top_srcdir", ".")
    complaints, files, functions_seen, used = list(self_test()), 0, 0, set()
    for root in ("src", "regression/unit"):
        for folder, _, names in sorted(os.walk(os.path.join(top, root))):
            for name in sorted(names):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), top)
                with open(os.path.join(top, path)) as file:
                    text = file.read()
                files += 1
                functions_seen += len(list(functions(text)))
                for what, message in check_text(path, text):
                    if (path, what) in EXCEPTIONS:
                        used.add((path, what))
                    else:
                        complaints.append(message)
    complaints += [f"exception {key} is needed no more" for key in EXCEPTIONS if key not in used]
    if files == 0 or functions_seen == 0:
        complaints.append("no source was looked at")
    for line in complaints:
        print(line)
    print(f"sizes: {files} files, {functions_seen} functions, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
