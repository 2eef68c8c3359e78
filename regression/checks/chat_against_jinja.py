#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates that are drawn at random, rendered by zinf and by jinja2 as transformers sets it up: the same text
and the same ranges, or both refuse. What zinf says is not done is counted, and has to be rare. Where the package trl is
installed, the templates of published models that it has are rendered too.

    chat_against_jinja.py [CASES [SEED]]        1000 cases by default

Skipped without jinja2; ZINF_PEERS_PYTHON names a Python that has it.
"""
import glob
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings

TOP = os.environ.get("abs_top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("abs_top_builddir", os.getcwd())
WORDS = ["a", "B c", " x ", "\n", "it's", "\u00e4\u00d6", "\u4e2d\u6587", "\U0001f600", "\u00a0", "1", "12.5", "-3",
         "</think>", "<|end|>", "\"q\"", "a,b", "\t|", "", "\u2028", "\x0b", "Zz-top", "\\"]
# What an expression may be, by kind: `leaves` where no depth is left, `rules` of others; <kind> stands for another one.
LEAVES = {
    "text": ["<string>", "<string>", "s", "bos_token", "ns.p", "messages[0].content", "messages[-1]['role']"],
    "number": ["0", "1", "2", "7", "-3", "2.5", "n", "n", "s | length", "l | length"],
    "list": ["l", "l", "[]", "[1, 'a', none]", "('a', 2)", "messages", "(1,)", "[[1], {'k': 2.5}]"],
    "dict": ["d", "messages[0]", "{}"],
    "truth": ["true", "false", "add_generation_prompt", "n == 3", "none_such", "s"],
    "any": ["none", "none_such", "a", "b", "x", "d.k", "d.none", "messages[9]", "<text>", "<text>", "<number>",
            "<list>"],
}
RULES = {
    "text": """
<text> ~ <any>
<text> + <text>
<text> if <truth> else <text>
(<text>)[<slice>]
(<text>)[<number>]
(<text>) * <number>
(<text>) | <text filter>
(<text>) | <text filter>
(<text>).<text method>
(<text>).<text method>
s.<text method>
(<list> | map('string') | join(<string>))
<string>.join(<list> | map('string'))
(messages | map(attribute='content') | join(<text>))
(<any>) | tojson
(<any>) | tojson(indent=2)
(<any>) | tojson(sort_keys=true, ensure_ascii=true, separators=(',', ':'))
(<any>) | string
f(<any>, y=<any>)
f(<any>)""",
    "number": """
<number> + <number>
<number> * <number>
<number> - (<number>)
(<number>) / <divisor>
(<number>) // <divisor>
(<number>) % <divisor>
(<number>) ** 2
-<number>
(<text>) | length
<list> | count
(<text>).find(<string>)
(<text>).count(<string>)
<list>.count(<any>)
(<text>) | int
(<number>) | int
(<text>) | float(1)""",
    "list": """
[<any>, <any>]
(<any>, <text>)
(<text>).split()
(<text>).split(<separator>, <number of cuts>)
(<text>).splitlines()
(<text>).splitlines(true)
(<text>) | list
<list>[<slice>]
[<any>] + (l | list)
l * 2
(<list> | <list filter>)
(<list> | <list filter>)
(messages | map(attribute='role') | list)
(messages | selectattr('role', 'eq', 'user') | list)
(messages | rejectattr('role', 'ne', 'user') | list)
(range(<bounds>) | list)
(<dict> | items | list)
(<dict>.keys() | list)
(<dict>.items() | list)""",
    "dict": """
{'k': <any>, 'role': <any>}
dict(k=<any>)
{1: <any>, none: 2, 2.5: 'x'}""",
    "truth": """
(<any>) is <test>
(<any>) is not <test>
<number> < <number>
<number> >= <number>
<number> < <number> <= <number>
<any> == <any>
<any> != <any>
not <any>
(<text>) in <text>
<any> in <list>
<any> not in <list>
<text> in <dict>
<any> and <any>
<any> or <any>
<text> < <text>
(<text>).startswith(<string>)
(<text>).endswith((s, bos_token))
(<number>) is gt 1
n is divisibleby 2""",
    "any": """
<text>
<text>
<number>
<list>
(<truth>)
<dict>
<dict>.get('k')
<dict>.get(none, 7)
<dict>[<text>]
<list>[-1]
<list>[5]
(<list> | first)
(<list> | last)""",
}
WORDS_OF = {
    "divisor": "2|3|-4|2.5",
    "separator": "none|'a'|','|' '|'\\n'",
    "number of cuts": "-1|0|1|2",
    "bounds": "0|3|5, 1, -2|1, 7, 2|n",
    "test": "defined|undefined|none|string|mapping|iterable|sequence|number|true|false|integer|float|"
            "boolean|callable|eq 1|equalto('a')|in [1, 'a', s]|ne none",
    "text method": "strip()|lstrip()|rstrip('a')|upper()|lower()|title()|capitalize()|"
                   "replace('b', 'c')|removeprefix('a')|removesuffix('c')|strip('\\n x')|replace('a', '', 1)|"
                   "split('a')[0]|split(',')[-1]",
}
FILTERS_OF = {
    "text filter": ["trim", "upper", "lower", "title", "string", "capitalize", "reverse", "default('z')",
                    "d('e', true)", "indent(2)", "indent(1, true, true)", "replace('a', 'bb')",
                    "replace('', '.', 2)", "tojson", "trim('a ')", "join('-')", "first"],
    "list filter": ["list", "reverse | list", "map('string') | list", "select('string') | list", "reject | list",
                    "reject('none') | list", "map('tojson') | list", "select('in', [1, 'a', s]) | list",
                    "map('default', 'q') | list", "select('ne', 1) | list"],
}
CHOICES = {kind: words.split("|") for kind, words in WORDS_OF.items()}
CHOICES.update(FILTERS_OF)

# What each template begins with.
BEGIN = "{% set a, b, x = 1, 'b', none %}{% set ns = namespace(p='') %}" \
    "{% macro f(x, y=1) %}<{{ x }}{{ y }}>{% endmacro %}" \
    "{% set s, n, l, d = messages[0].content, 3, [1, 'b', none], {'k': 'v', 'l': [1.5, true]} %}"


class Draw:
    """Templates of a small grammar. Now and then an expression is of another kind than it should be. `depth` is what is
    left of it."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def string(self):
        text, quote = self.one(*WORDS), self.one("'", '"')
        text = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
        return quote + text.replace("\n", self.one("\n", "\\n")) + quote

    def expand(self, kind, depth):
        if kind == "string":
            return self.string()
        if kind == "slice":
            return self.slice()
        if kind in CHOICES:
            return self.one(*CHOICES[kind])
        if self.random.random() < 0.01:
            kind = "any"
        depth -= 1
        rules = LEAVES[kind] if depth < 0 or self.random.random() < 0.2 else RULES[kind].split("\n")[1:]
        return re.sub(r"<([a-z ]+)>(?!')", lambda found: self.expand(found[1], depth), self.one(*rules))

    def any(self, depth):
        return self.expand("any", depth)

    def slice(self):
        return ":".join(self.one("", "1", "-1", "2", "-3", "0", "n") for _ in range(2)) + self.one("", "", ":-1",
                                                                                                   ":2", ":")

    def open(self):
        return self.one("{%", "{%", "{%-", "{%+")

    def close(self):
        return self.one("%}", "%}", "-%}", "+%}")

    def tag(self, text):
        return f"{self.open()} {text} {self.close()}"

    def gap(self):
        return self.one("", "", " ", "\n", "\n  ", " \n", "text", "\n\n", "\t", " x\n", "\r\n", "{# note #}",
                        "{#- note\n-#}")

    def printed(self, loops):
        loop = self.one("index", "first", "last", "index0", "length", "revindex", "previtem", "nextitem", "depth")
        shown = "loop." + loop if loops and self.random.random() < 0.2 else self.any(3)
        return self.one("{{", "{{-") + f" {shown} " + self.one("}}", "-}}")

    def branches(self, inside):
        parts = [self.tag("if " + self.expand("truth", 2)), self.body(*inside)]
        if self.random.random() < 0.4:
            parts += [self.tag("elif " + self.expand("truth", 2)), self.body(*inside)]
        if self.random.random() < 0.5:
            parts += [self.tag("else"), self.body(*inside)]
        return "".join(parts) + self.tag("endif")

    def loop(self, depth, loops, marks):
        over = self.one("m in messages", "m in messages", "x in l", "x in range(3)", "a, b in d.items()", "x in s",
                        "(a, b) in [(1, 2), s[:2]] if a", "m in " + self.expand("list", 2), "m in messages[::-1]",
                        "x in l if x")
        last = self.tag("else") + self.body(depth, loops, marks) if self.random.random() < 0.3 else ""
        return self.tag("for " + over) + self.body(depth, loops + 1, marks) + last + self.tag("endfor")

    def statement(self, depth, loops, marks):
        kind, inner = self.random.random(), depth - 1
        if depth <= 0 or kind < 0.35:
            return self.printed(loops)
        if kind < 0.5:
            return self.branches((inner, loops, marks))
        if kind < 0.7:
            return self.loop(inner, loops, marks)
        if kind < 0.85:
            return self.tag(f"set {self.one('a', 'b', 'x', 'ns.p', 'ns.p')} = {self.any(3)}")
        if kind < 0.9:
            target = self.one("a", "ns.p") + self.one("", " | trim")
            return self.tag("set " + target) + self.body(inner, 0, False) + self.tag("endset")
        if kind < 0.95 and marks:
            return self.tag("generation") + self.body(inner, 0, False) + self.tag("endgeneration")
        return self.tag(self.one("break", "continue")) if loops else self.gap()

    def body(self, depth, loops, marks):
        parts = [self.gap() + self.statement(depth, loops, marks) for _ in range(self.random.randint(1, 3))]
        return "".join(parts) + self.gap()

    def template(self):
        return BEGIN + self.body(4, 0, True)

    def messages(self):
        text = ["".join(self.one(*WORDS) for _ in range(self.random.randint(0, 5))) for _ in range(5)]
        roles = self.one(["user"], ["user", "assistant"], ["system", "user", "assistant", "user"], ["user"] * 3)
        return [{"role": role, "content": text[at]} for at, role in enumerate(roles)]

    def request(self):
        return {"template": self.template(), "messages": self.messages(), "tokens": {"bos_token": "<s>"},
                "mark": True, "add_generation_prompt": self.one(True, False)}


def published():
    """Requests with templates that trl has."""
    import make_goldens
    found = importlib.util.find_spec("trl")
    names = glob.glob(os.path.join(os.path.dirname(found.origin), "chat_templates", "*.jinja")) if found else []
    for name in sorted(names):
        with open(name, encoding="utf-8") as file:
            text = file.read()
        for messages in make_goldens.CONVERSATIONS[:6]:
            yield {"template": text, "tokens": make_goldens.TOKENS, "messages": messages, "mark": True,
                   "now": 1721995200}
    print(len(names), "templates of published models")


def use_python():
    other = os.environ.pop("ZINF_PEERS_PYTHON", None)
    if other:
        os.execv(other, [other, "-B"] + sys.argv)
    try:
        import jinja2
    except ImportError as error:
        print(f"skipped: {error}; ZINF_PEERS_PYTHON names a Python with jinja2")
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
    warnings.simplefilter("ignore", SyntaxWarning)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    draw = Draw(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    requests = [draw.request() for _ in range(count)]
    requests += published()
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
    print(f"{len(requests)} renders, {rendered} render, {not_done} are not done by zinf, {wrong} differ")
    if rendered < len(requests) // 3 or not_done > len(requests) // 8:
        sys.exit("the check is broken: too few templates are compared")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
