#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates that are drawn at random, rendered by zinf and by jinja2 as transformers sets it up: the same text
and the same ranges, or both refuse. What zinf says is not done is counted, and has to be rare.

    chat_against_jinja.py [CASES [SEED]]        3000 cases by default

Skipped without jinja2; ZINF_JINJA_PYTHON names a Python that has it.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

TOP = os.environ.get("abs_top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("abs_top_builddir", os.getcwd())
WORDS = ["a", "B c", " x ", "\n", "it's", "\u00e4\u00d6", "\u4e2d\u6587", "\U0001f600", "\u00a0", "1", "12.5", "-3", "</think>",
         "<|end|>", "\"q\"", "a,b", "\t|", "", "\u2028", "\x0b", "Zz-top", "\\"]
NAMES = ["a", "b", "ns.p", "m", "messages", "bos_token", "none_such", "d", "s", "n", "l", "x"]


class Draw:
    """Templates of a small grammar; depth is what is left of it."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def string(self):
        text = self.one(*WORDS)
        quote = self.one("'", '"')
        return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", self.one("\n", "\\n")) + quote

    def atom(self):
        return self.one(self.string(), self.string(), str(self.random.randint(0, 9)), "2.5", "none", "true", "false",
                        *NAMES, *NAMES, "m.role", "m['content']", "messages[0]", "loop.index", "[]", "d.k", "s", "s", "l", "n")

    def filter(self, depth):
        return self.one("trim", "upper", "lower", "title", "length", "first", "last", "list", "string", "tojson", "int",
                        "default('z')", "join(', ')", "reverse | list", "capitalize", "float", "d('e', true)", "count",
                        "replace('a', " + self.string() + ")", "tojson(indent=2)", "indent(2)", "indent(1, true, true)",
                        "map('string') | list", "select('string') | list", "map('upper') | join", "items | list",
                        "selectattr('role', 'eq', 'user') | list", "map(attribute='role') | list", "reject | list",
                        "rejectattr('content') | list | length", f"default({self.expression(depth - 1)})",
                        "tojson(sort_keys=true, ensure_ascii=true)", "map(attribute='k', default=1) | join('+')")

    def method(self, depth):
        return self.one("strip()", "lstrip()", "rstrip('a')", "split()", "split(',')", "split(' ', 1)", "startswith('a')",
                        "endswith(('c', 'x'))", "upper()", "lower()", "title()", "capitalize()", "splitlines()", "find('b')",
                        "replace('b', 'c')", "get('k', 0)", "get('role')", "items() | list", "keys() | list", "count('a')",
                        "values() | list", "role", "k", "removeprefix('a')", "splitlines(true)", "replace('', '.', 2)",
                        f"join({self.expression(depth - 1)})", f"strip({self.expression(depth - 1)})", "split('a', 0)")

    def test(self):
        return self.one("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "true", "false",
                        "integer", "float", "boolean", "odd", "even", "divisibleby 2", "eq 1", "equalto('a')", "in [1, 'a', s]",
                        "gt 1", "lt 'b'", "ne none", "callable")

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        sub = [self.expression(depth - self.random.randint(1, 2)) for _ in range(3)]
        operator = self.one("+", "-", "*", "/", "//", "%", "~", "~", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in")
        return self.one(
            self.atom(), f"{sub[0]} {operator} {sub[1]}", f"({sub[0]}) {operator} {sub[1]}", f"{sub[0]} ~ ({sub[1]})",
            f"{sub[0]} if {sub[1]} else {sub[2]}", f"({sub[0]}) | {self.filter(depth)}", f"{sub[0]} | {self.filter(depth)}",
            f"({sub[0]}).{self.method(depth)}", f"s.{self.method(depth)}", f"d.{self.method(depth)}", f"not {sub[0]}",
            f"({sub[0]}) is {self.one('', 'not ')}{self.test()}", f"[{sub[0]}, {sub[1]}]", f"({sub[0]}, {sub[1]})",
            f"{{'k': {sub[0]}, 'role': {sub[1]}}}", f"({sub[0]})[{sub[1]}]", f"({sub[0]})[{self.slice()}]", f"-{sub[0]}",
            f"s[{self.slice()}]", f"l[{self.slice()}]", f"range({sub[0]})", f"f({sub[0]}, y={sub[1]})", f"f({sub[0]})",
            f"{sub[0]} < {sub[1]} <= {sub[2]}", f"dict(k={sub[0]})", "loop." + self.one(
                "first", "last", "index0", "length", "revindex", "previtem", "nextitem", "depth"))

    def slice(self):
        return ":".join(self.one("", "1", "-1", "2", "-3", "0", "n") for _ in range(2)) + self.one("", "", ":-1", ":2", ":")

    def open(self):
        return self.one("{%", "{%", "{%-", "{%+")

    def close(self):
        return self.one("%}", "%}", "-%}", "+%}")

    def tag(self, text):
        return f"{self.open()} {text} {self.close()}"

    def gap(self):
        return self.one("", "", " ", "\n", "\n  ", " \n", "text", "\n\n", "\t", " x\n", "\r\n", "{# note #}", "{#- note\n-#}")

    def statement(self, depth, loops, marks):
        kind = self.random.random()
        inner = depth - 1
        if depth <= 0 or kind < 0.35:
            return self.one("{{", "{{-") + f" {self.expression(3)} " + self.one("}}", "-}}")
        if kind < 0.5:
            parts = [self.tag(f"if {self.expression(2)}"), self.body(inner, loops, marks)]
            if self.random.random() < 0.4:
                parts += [self.tag(f"elif {self.expression(2)}"), self.body(inner, loops, marks)]
            if self.random.random() < 0.5:
                parts += [self.tag("else"), self.body(inner, loops, marks)]
            return "".join(parts) + self.tag("endif")
        if kind < 0.7:
            over = self.one("m in messages", "m in messages", "x in l", "x in range(3)", "a, b in d.items()", "x in s",
                            f"m in {self.expression(2)}", "m in messages[::-1]", "x in l if x")
            last = self.tag("else") + self.body(inner, loops, marks) if self.random.random() < 0.3 else ""
            return self.tag("for " + over) + self.body(inner, loops + 1, marks) + last + self.tag("endfor")
        if kind < 0.85:
            return self.tag(f"set {self.one('a', 'b', 'x', 'ns.p', 'ns.p')} = {self.expression(3)}")
        if kind < 0.9:
            return self.tag(f"set {self.one('a', 'ns.p')}{self.one('', ' | trim')}") + self.body(inner, 0, False) + \
                self.tag("endset")
        if kind < 0.95 and marks:
            return self.tag("generation") + self.body(inner, 0, False) + self.tag("endgeneration")
        return self.tag(self.one("break", "continue")) if loops else self.gap()

    def body(self, depth, loops, marks):
        return "".join(self.gap() + self.statement(depth, loops, marks) for _ in range(self.random.randint(1, 3))) + self.gap()

    def template(self):
        begin = "{% set ns = namespace(p='') %}{% macro f(x, y=1) %}<{{ x }}{{ y }}>{% endmacro %}" + \
            "{% set s, n, l, d = messages[0].content, 3, [1, 'b', none], {'k': 'v', 'l': [1.5, true]} %}"
        return begin + self.body(4, 0, True)

    def messages(self):
        text = ["".join(self.one(*WORDS) for _ in range(self.random.randint(0, 5))) for _ in range(5)]
        roles = self.one(["user"], ["user", "assistant"], ["system", "user", "assistant", "user"], ["user"] * 3)
        return [{"role": role, "content": text[at]} for at, role in enumerate(roles)]

    def request(self):
        return {"template": self.template(), "messages": self.messages(), "tokens": {"bos_token": "<s>"}, "mark": True,
                "add_generation_prompt": self.one(True, False)}


def use_python():
    other = os.environ.pop("ZINF_JINJA_PYTHON", None)
    if other:
        os.execv(other, [other, "-B"] + sys.argv)
    try:
        import jinja2
    except ImportError as error:
        print(f"skipped: {error}; ZINF_JINJA_PYTHON names a Python with jinja2")
        sys.exit(77)
    print("jinja2", jinja2.__version__)


def zinf_answers(folder, requests):
    """What zinf gives, and what it says, of each request."""
    asked, given, said = (os.path.join(folder, name) for name in ("asked", "given", "said"))
    with open(asked, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(request) + "\n" for request in requests)
    with open(said, "w", encoding="utf-8") as errors:
        subprocess.run([os.path.join(BUILD, "regression", "chat", "render"), asked, given], check=True, stderr=errors)
    messages = [""] * len(requests)
    with open(said, encoding="utf-8", errors="replace") as file:
        at = 0
        for line in file:
            if line.startswith("#") and line[1:].strip().isdigit():
                at = int(line[1:])
            else:
                messages[at] += line
    with open(given, encoding="utf-8") as file:
        return [(json.loads(line), messages[at]) for at, line in enumerate(file)]


def main():
    use_python()
    sys.path.insert(0, os.path.join(TOP, "regression", "chat"))
    import jinja
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    draw = Draw(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    requests = [draw.request() for _ in range(count)]
    wrong, rendered, not_done = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for request, (own, said) in zip(requests, zinf_answers(folder, requests), strict=True):
            wanted = jinja.answer(request)
            rendered += "text" in wanted
            if own["status"] < 0 and "not done" in said:
                not_done += 1
            elif "text" in wanted:
                same = own["status"] == 0 and own["text"] == wanted["text"] and own["ranges"] == wanted["ranges"]
                wrong += not same
                if not same and wrong < 4:
                    print("differs:", json.dumps(request), "\n  wanted", wanted, "\n  has   ", own, said)
            elif own["status"] == 0:
                wrong += 1
                if wrong < 4:
                    print("not refused:", json.dumps(request), "\n  ", wanted, "\n  has   ", own)
    print(f"{count} templates, {rendered} render, {not_done} are not done by zinf, {wrong} differ")
    if rendered < count // 5 or not_done > count // 4:
        sys.exit("the check is broken: too few templates are compared")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
