#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What CUDA kernels and the module of them must keep to, seen from what the compiler made of them.

    registers, shared memory     of every kernel and GPU at most those in regression/cuda-registers.txt
    spilled registers, stacks    none
    PTX in the objects           plain text; no local memory, no calls, and fp64 only in kernels that are named below
    what the module needs        of CUDA, cuBLAS and NCCL only what the emulation of the tests has, under the same
                                 versions; else of zinf only what zinf exports; nothing of the C++ library, unless
                                 it was configured --with-cudnn-frontend

After a change that was meant to cost registers: `regression/checks/cuda_gates.py --renew`, run in the build folder,
writes the table anew. Numbers hold for one release of nvcc: with another the table is left aside, and said so.
"""
import os
import re
import subprocess
import sys

SOURCES = os.environ.get("srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
TABLE = os.path.join(SOURCES, "regression/cuda-registers.txt")
FOLDER = "src/device/cuda"
HEAD = """# Registers of a thread and bytes of shared memory of a block, for each kernel and GPU, as ptxas reports them.
# Written by regression/checks/cuda_gates.py --renew.
"""

# Kernels that may use fp64, by the start of their names, and why.
FP64 = {
    "norm_chunks": "squares of gradients are exact in fp64",
    "norm_spans": "their sums",
    "cross_entropy_kernel": "losses of rows are doubles, one logarithm each",
    "softmax_loss_kernel": "the same of rows whose columns came in parts",
    "loss_total_kernel": "sums of losses",
}

failures = []


def fail(text):
    failures.append(text)
    print("failed: " + text)


def output(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def plain_names(mangled):
    """The names of kernels without their parameters and the types that they return, by mangled name."""
    names = sorted(mangled)
    text = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True).stdout
    return {name: plain_name(line) for name, line in zip(names, text.splitlines())}


def plain_name(text):
    text = text.replace("(anonymous namespace)::", "")
    text = re.sub(r"\((?:zi_dtype|int|bool)\)", "", text)
    depth, start = 0, 0
    for i, letter in enumerate(text):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if depth == 0 and letter == " ":
            start = i + 1
        if depth == 0 and letter == "(":
            return text[start:i]
    return text[start:]


def reports(objects):
    """{(GPU, file, mangled name): (registers, shared, stack, spilled)} of what ptxas said."""
    found = {}
    for path in objects:
        key, numbers = None, []
        for line in open(path[:-2] + ".ptxas", encoding="utf-8"):
            entry = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
            stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
            used = re.search(r"Used (\d+) registers", line)
            if entry:
                key = (entry[2], os.path.basename(path)[:-2], entry[1])
            if stack:
                numbers = [int(stack[1]), int(stack[2]) + int(stack[3])]
            if used and key:
                shared = re.search(r"(\d+) bytes smem", line)
                found[key] = (int(used[1]), int(shared[1]) if shared else 0, *numbers)
                key = None
    return found


def table_lines(found, release):
    names = plain_names({name for _, _, name in found})
    lines = [f"{gpu} {file} {names[name]} {row[0]} {row[1]}" for (gpu, file, name), row in found.items()]
    return [f"nvcc {release}"] + sorted(lines)


def check_registers(found, release):
    names = plain_names({name for _, _, name in found})
    for (gpu, file, name), row in sorted(found.items()):
        if row[2] or row[3]:
            fail(f"{file}.cu: {names[name]} for {gpu}: a stack of {row[2]} bytes, {row[3]} bytes of spilled registers")
    rows = [line.split() for line in open(TABLE, encoding="utf-8") if line.strip() and not line.startswith("#")]
    if rows[0] != ["nvcc", release]:
        print(f"registers: not compared, the table is of nvcc {rows[0][1]}, and this is {release}")
        return
    table = {(gpu, file, " ".join(name)): (int(regs), int(shared)) for gpu, file, *name, regs, shared in rows[1:]}
    here = {(gpu, file, names[name]): row for (gpu, file, name), row in found.items()}
    before = len(failures)
    for key, row in sorted(here.items()):
        if not any(other[0] == key[0] for other in table):
            continue  # a GPU that configure was asked for
        if key not in table:
            fail(f"{key[1]}.cu: {key[2]} for {key[0]} is not in the table")
        elif row[0] > table[key][0] or row[1] > table[key][1]:
            fail(f"{key[1]}.cu: {key[2]} for {key[0]}: {row[0]} registers, {row[1]} bytes shared, "
                 f"and the table has {table[key][0]} and {table[key][1]}")
    for key in sorted(table):
        if key not in here and any(other[0] == key[0] for other in here):
            fail(f"{key[1]}.cu: {key[2]} for {key[0]} is in the table and not in the object")
    if len(failures) > before:
        print(f"if that is meant: regression/checks/cuda_gates.py --renew in the build folder, and commit {TABLE}")


def kernels_of(path):
    """(target, mangled name, body) of every kernel in the PTX of an object."""
    data = open(path, "rb").read()
    for text in re.findall(rb"\n\.version \d[^\0]*", data):
        text = text.decode()
        target = re.search(r"^\.target (\w+)", text, re.MULTILINE)[1]
        for part in re.split(r"^\.?(?:visible )?\.entry ", text, flags=re.MULTILINE)[1:]:
            yield target, re.match(r"\w+", part)[0], part.split("\n}\n")[0]


def check_ptx(objects):
    count, uses = 0, set()
    for path in objects:
        kernels = list(kernels_of(path))
        if not kernels and b".nv_fatbin" in open(path, "rb").read() and "__global__" in source_of(path):
            fail(f"{path}: no PTX to be read")
        names = plain_names({name for _, name, _ in kernels})
        for target, name, body in kernels:
            where = f"{os.path.basename(path)[:-2]}.cu: {names[name]} for {target}"
            count += 1
            allowed = [start for start in FP64 if names[name].startswith(start)]
            if re.search(r"\.f64\b", body):
                uses.update(allowed)
                if not allowed:
                    fail(f"{where} uses fp64: name it in FP64 with the reason, or do without")
            if re.search(r"\.local\b", body):
                fail(f"{where} uses local memory")
            if re.search(r"^\s*(?:@!?%\w+ )?call\b", body, re.MULTILINE):
                fail(f"{where} calls a function: the emulation knows none, and calls spill registers")
    for start in FP64.keys() - uses:
        fail(f"FP64 names {start}, and no kernel of that name uses fp64")
    if count == 0:
        fail("the check is broken: there is no kernel")
    return count


def source_of(path):
    return open(os.path.join(SOURCES, path[:-2] + ".cu"), encoding="utf-8").read()


def symbols(path, kind):
    """Dynamic symbols of a file, those that it needs or those that it has, with their versions."""
    text = output("nm", "-D", "--undefined-only" if kind == "needs" else "--defined-only", path)
    return {line.split()[-1].replace("@@", "@") for line in text.splitlines() if line.split()[-2] not in "AwN"}


def check_symbols(cudnn):
    needs, has, ours = symbols("zinf-cuda.so", "needs"), set(), symbols("zinf", "has")
    for name in sorted(os.listdir("emulator")):
        if ".so" in name:
            has |= symbols(os.path.join("emulator", name), "has")
    cuda = {name for name in needs if re.match(r"_*(cuda|cublas|nccl)", name)}
    for name in sorted(cuda - has):
        fail(f"the module calls {name}, and the emulation has no such function of that version")
    for name in sorted(needs - cuda):
        bare = name.split("@")[0]
        if not cudnn and re.match(r"_Z|__cxa_(?!finalize|atexit)|__gxx|_Unwind", bare):
            fail(f"the module needs {bare} of the C++ library")
        if "@" not in name and bare not in ours and not re.match(r"MPI_|PMPI_", bare):
            fail(f"the module needs {bare}, and zinf does not export it: see `needed` in src/device/module.c")
    if not cuda:
        fail("the check is broken: the module calls nothing of CUDA")
    return len(cuda)


def main():
    if not os.path.exists("zinf-cuda.so"):
        print("skipped: no CUDA toolkit, so nothing of CUDA was built")
        return 77
    makefile = open("Makefile", encoding="utf-8").read()
    settings = dict(re.findall(r"^(NVCC|CUDNN_CPPFLAGS) = ?(.*)$", makefile, re.MULTILINE))
    nvcc = settings["NVCC"]
    release = re.search(r"release ([\d.]+)", output(nvcc, "--version"))[1]
    names = sorted(name for name in os.listdir(os.path.join(SOURCES, FOLDER)) if name.endswith(".cu"))
    objects = [os.path.join(FOLDER, name[:-3] + ".o") for name in names]
    found = reports(objects)
    if "--renew" in sys.argv[1:]:
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write(HEAD + "\n".join(table_lines(found, release)) + "\n")
    check_registers(found, release)
    kernels = check_ptx(objects)
    calls = check_symbols(bool(settings["CUDNN_CPPFLAGS"]))
    if not failures:
        print(f"cuda_gates: {len(found)} kernels of GPUs, {kernels} in PTX, {calls} functions of CUDA")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
