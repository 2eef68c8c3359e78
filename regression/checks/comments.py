#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Comments stand above what they are about: in headers each function has one of its own, which says what it
does (not one for several, and none for the ones behind the first), and no field of a struct has one behind it,
where it grows out of the line. The sources are formatted by clang-format, so a declaration outside of all
brackets starts in column 0, and a field ends its line or is followed by its comment.
"""
import os
import re
import sys

FUNCTION = re.compile(r"(?:__attribute__\(\(unused\)\) )?"
                      r"(?!__attribute__|typedef\b|struct \w+ \{|return\b|_Static_assert\b)[A-Za-z_][\w \*]*\(")
STRUCT = re.compile(r"\b(?:struct|union)(?: \w+)? *$")
COMMENT_BEHIND = re.compile(r"[;,}] */\*")


def without_strings(line):
    return re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'', "0", line)


def check_headers(path, lines):
    """Functions of a header whose line above is no comment's end."""
    for number, line in enumerate(lines, 1):
        if FUNCTION.match(line) and not (number > 1 and lines[number - 2].endswith("*/")):
            yield f"{path}:{number}: a function without a comment above it: {line[:60]}"


def check_fields(path, lines):
    """Lines of structs that have a comment behind a field."""
    inside, blocks = False, []
    for number, line in enumerate(lines, 1):
        line = without_strings(line)
        if not inside and blocks and blocks[-1] and COMMENT_BEHIND.search(line):
            yield f"{path}:{number}: a comment behind a field: put it above: {line.strip()[:60]}"
        code = re.sub(r"/\*.*?\*/", "", line)
        if inside:
            inside, code = "*/" not in code, code.partition("*/")[2]
        elif "/*" in code:
            inside, code = True, code.partition("/*")[0]
        for found in re.finditer(r"[{}]", code):
            if found[0] == "{":
                blocks.append(bool(STRUCT.search(code[:found.start()])))
            elif blocks:
                blocks.pop()


def check_text(path, text):
    lines = text.split("\n")
    yield from check_fields(path, lines)
    if path.endswith(".h"):
        yield from check_headers(path, lines)


def self_test():
    tests = [
        ("a.h", "/* What. */\nint f(void);\n", 0), ("a.h", "/* What. */\nint f(void);\nint g(void);\n", 1),
        ("a.h", "/* What. */\nstatic inline int f(void)\n{\n    return g();\n}\n", 0),
        ("a.h", "__attribute__((unused)) static int f(void);\n", 1),
        ("a.h", "__attribute__((unused)) static int a;\n", 0),
        ("a.h", "_Static_assert(1 < 2, \"\");\n", 0),
        ("a.h", "struct a *f(int b,\n            int c);\n", 1), ("a.c", "int f(void);\n", 0),
        ("a.c", "struct a {\n    /* What. */\n    int b;\n};\n", 0),
        ("a.c", "struct a {\n    int b; /* what */\n};\n", 1),
        ("a.c", "struct a {\n    struct {\n        int b;\n    } c; /* what\n             */\n};\n", 1),
        ("a.c", "struct a {\n    /* { */\n    int b;\n};\nint c; /* what */\n", 0),
        ("a.c", "int f(void)\n{\n    g(); /* what */\n    h(\"struct a {\"); /* what */\n}\n", 0),
        ("a.c", "static struct {\n    char b[2]; /* what */\n} c;\n", 1),
    ]
    for number, (path, text, wanted) in enumerate(tests):
        found = list(check_text(path, text))
        if len(found) != wanted:
            yield f"the check is broken: text {number}: {found}"


def main():
    top = os.environ.get("top_srcdir", ".")
    complaints, files = list(self_test()), 0
    for root in ("src", "regression/unit"):
        for folder, folders, names in os.walk(os.path.join(top, root)):
            folders.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        complaints += check_text(os.path.relpath(path, top), file.read())
                    files += 1
    if files == 0:
        complaints.append("no source was looked at")
    for line in complaints:
        print(line)
    print(f"comments: {files} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
