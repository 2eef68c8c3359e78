# SPDX-License-Identifier: Apache-2.0
"""A memory cgroup of Linux, version 1 or 2, for one command: what the kernel allows it and counts for it.

Needs root. The proof figures are the kernel's: the peak with page cache
(memory.max_usage_in_bytes, memory.peak) and the anonymous memory of all its processes, sampled (total_rss, anon).
"""
import os
import time

ROOT = "/sys/fs/cgroup"


class NoCgroup(Exception):
    """Says why no group can be made here."""


def read_number(path):
    with open(path) as file:
        return int(file.read())


def write_text(path, text):
    with open(path, "w") as file:
        file.write(text)


class MemoryGroup:
    """with MemoryGroup(bytes) as group: run(group.prefix() + command). Gone at the end."""

    def __init__(self, limit_bytes):
        self.limit, self.anonymous_peak = limit_bytes, 0
        name = f"zinf-bench-{os.getpid()}"
        try:
            if os.path.exists(f"{ROOT}/memory/memory.limit_in_bytes"):
                self.version, self.path = 1, f"{ROOT}/memory/{name}"
                os.mkdir(self.path)
                write_text(f"{self.path}/memory.limit_in_bytes", str(limit_bytes))
            elif os.path.exists(f"{ROOT}/cgroup.controllers"):
                self.version, self.path = 2, f"{ROOT}/{name}"
                self.make_second()
            else:
                raise NoCgroup(f"no memory cgroup under {ROOT}")
        except OSError as error:
            self.remove()
            raise NoCgroup(f"no memory cgroup can be made ({error}); this needs root") from error

    def make_second(self):
        with open(f"{ROOT}/cgroup.controllers") as file:
            if "memory" not in file.read().split():
                raise NoCgroup("cgroup 2 has no memory controller here")
        write_text(f"{ROOT}/cgroup.subtree_control", "+memory")
        os.mkdir(self.path)
        write_text(f"{self.path}/memory.max", str(self.limit))
        if os.path.exists(f"{self.path}/memory.swap.max"):
            write_text(f"{self.path}/memory.swap.max", "0")

    def prefix(self):
        """What to put before a command so that it and its children live in the group."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self.path]

    def sample(self, _=None):
        """To be called now and then while the command runs."""
        key = "total_rss" if self.version == 1 else "anon"
        with open(f"{self.path}/memory.stat") as file:
            for line in file:
                word, number = line.split()
                if word == key:
                    self.anonymous_peak = max(self.anonymous_peak, int(number))

    def peak(self):
        """The most bytes at any time, page cache included; None where the kernel does not tell."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        path = f"{self.path}/{name}"
        return read_number(path) if os.path.exists(path) else None

    def remove(self):
        for _ in range(50):
            if not os.path.isdir(getattr(self, "path", "")):
                return
            try:
                os.rmdir(self.path)
            except OSError:  # the last process is still on its way out
                time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
