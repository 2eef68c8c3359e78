#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What must not be in the sources: paths of somebody's machine, notes of unfinished work, tabs in C, blanks at
the end of a line, code over 120 columns, pointers compared with NULL (they are true or false); and what must:
the licence line at the top of each source file, and the files that documents link to or name
(`src/program/kinds.c`; capitals stand for a name of the reader's).
"""
import os
import re
import subprocess
import sys

FOLDERS = ["src", "regression", "analysis", "jobscripts", "inputs", "doc", "findings", "m4"]
FILES = ["configure.ac", "Makefile.am", "README.md", "CONTRIBUTING.md", "quickstart", "run-tests"]
SOURCES = (".c", ".h", ".cu", ".cpp", ".py", ".sh", ".sbatch", ".m4", ".inc")
# "." in brackets, so that this file does not complain of itself.
FORBIDDEN = [
    (r"(?<![\w.$}])/(?:work|root/\.\w+|home/\w+)/", "a path of one machine"),
    (r"\b(?:TO[D]O|FI[X]ME|XX[X]|HA[C]K)\b", "a note of unfinished work"),
    (r"[ \t]+$", "blanks at the end of the line"),
]
# A comparison may be broken over two lines.
NULL_COMPARED = re.compile(r"[!=]=\s*NULL\b|\bNULL\s*[!=]=")


def check_text(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, what in FORBIDDEN:
            if re.search(pattern, line):
                yield f"{path}:{number}: {what}: {line.strip()[:60]}"
        if len(line) > 120 and path.endswith((".c", ".h", ".py")):
            yield f"{path}:{number}: {len(line)} columns"
        if "\t" in line and path.endswith((".c", ".h", ".py")):
            yield f"{path}:{number}: a tab"
    if path.endswith((".c", ".h", ".cu", ".cpp")):
        for found in NULL_COMPARED.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path}:{line}: compared with NULL; a pointer is true or false: write p, or !p"
    if path.endswith(SOURCES) and os.path.basename(path) != "Makefile.inc" and \
            "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:3]):
        yield f"{path}: no licence line at the top"


def check_links(top, path, text):
    """Of a document: links to files that are not there, and names of such."""
    for number, line in enumerate(text.split("\n"), 1):
        for target in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[a-z0-9_./-]+)`", line):
            if not os.path.exists(os.path.join(top, target)):
                yield f"{path}:{number}: names {target}, which is not there"
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", line):
            if not os.path.exists(os.path.join(top, os.path.dirname(path), target)):
                yield f"{path}:{number}: links to {target}, which is not there"


def self_test(top):
    licence = "/* SPDX-License-Identifier: Apache-2.0 */\n"
    tests = [
        ("a.c", licence, 0), ("a.c", "int x;\n", 1), ("a.c", licence + "/" + "work/x\n", 1),
        ("a.c", licence + "/* TO" + "DO */\n", 1), ("a.c", licence + "x \n", 1),
        ("a.c", licence + "\tx\n", 1), ("a.c", licence + "/" + "home/me/x\n", 1),
        ("a.c", licence + "if (p ==\n    NULL)\n", 1), ("a.h", licence + "x = NULL != p;\n", 1),
        ("a.c", licence + "p = NULL; f(NULL, !p);\n", 0), ("a.py", licence + "p == NULL\n", 0),
        ("a.md", "build/" + "work/x\n", 0), ("a.c", licence + "x" * 121 + "\n", 1),
    ]
    for number, (path, text, wanted) in enumerate(tests):
        found = list(check_text(path, text))
        if len(found) != wanted:
            yield f"the check is broken: text {number}: {found}"
    if len(list(check_places(["src/a.c", "[a,b]/bench", "COPYING", "notes.txt"]))) != 2:
        yield "the check is broken: it takes files from anywhere"
    links = "[a](building.md#options) [b](absent.md) [c](https://example.org/absent.md) [d](../README.md)"
    if len(list(check_links(top, "doc/a.md", links))) != 1:
        yield "the check is broken: links"
    names = "`src/base/status.h` `src/base/absent.h` `src/base/NAME.h` `src/base/*.h` `doc`"
    if len(list(check_links(top, "doc/a.md", names))) != 1:
        yield "the check is broken: names of files"


def check_places(names):
    """Of tracked files: those outside the top folders and files that a checkout has."""
    known = set(FOLDERS) | set(FILES) | {"COPYING", ".ci", ".clang-format", ".gitignore"}
    for name in names:
        if name.split("/")[0] not in known:
            yield f"{name}: tracked, but in none of the folders of the tree"


def tracked(top):
    """The files that git knows; none in a tarball."""
    if not os.path.exists(os.path.join(top, ".git")):
        return []
    listed = subprocess.run(["git", "-C", top, "ls-files", "-z"], capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def texts(top):
    for name in FILES:
        yield name
    for root in FOLDERS:
        for folder, folders, names in os.walk(os.path.join(top, root)):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.endswith((".h5", ".o", ".lo", ".pyc", ".trs", ".log", ".bin", ".png")):
                    yield os.path.relpath(os.path.join(folder, name), top)


def main():
    top = os.environ.get("top_srcdir", ".")
    complaints, files = list(self_test(top)), 0
    complaints += check_places(tracked(top))
    for path in texts(top):
        try:
            with open(os.path.join(top, path), encoding="utf-8") as file:
                text = file.read()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        files += 1
        complaints += check_text(path, text)
        if path.endswith(".md"):
            complaints += check_links(top, path, text)
    if files < 10:
        complaints.append(f"only {files} files were looked at")
    for line in complaints:
        print(line)
    print(f"text: {files} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
