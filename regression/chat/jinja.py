# SPDX-License-Identifier: Apache-2.0
"""Templates rendered by jinja2 as transformers does: what the checks of the room chat compare with.

transformers' own function (render_jinja_template of 4.57.1 and 5.24.0) makes the environment out of the same
parts: the immutable sandbox, trim_blocks, lstrip_blocks, loopcontrols, json.dumps for tojson, raise_exception,
strftime_now, and a block `generation`.
"""
import datetime
import functools
import json
import re

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

# Between marks of the ranges of `generation`, which no text of a check has.
BEGIN, END = "\ue000", "\ue001"


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller):
        return BEGIN + caller() + END


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment(now):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    env.globals["raise_exception"] = raise_exception
    if now is not None:
        time = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        env.globals["strftime_now"] = time.strftime
    return env


@functools.lru_cache(maxsize=4)
def compiled(text, now):
    return environment(now).from_string(text)


def render(request):
    """The text of a request (as regression/chat/render.c reads them) and its ranges."""
    template = compiled(request["template"], request.get("now"))
    names = dict(request.get("tokens") or {}, tools=None, documents=None)
    names.update(request.get("variables") or {})
    text = template.render(messages=request["messages"],
                           add_generation_prompt=request.get("add_generation_prompt", False), **names)
    return mark(text)


def mark(text):
    """The text without marks, and the ranges between them, in bytes; empty ones are left out."""
    ranges, out, begun, size = [], [], 0, 0
    for letter in text:
        if letter == BEGIN:
            begun = size
        elif letter == END:
            if size > begun:
                ranges.append([begun, size])
        else:
            out.append(letter)
            size += len(letter.encode())
    return "".join(out), ranges


def words_of(message):
    content = message.get("content")
    return content.split("</think>")[-1].strip() if isinstance(content, str) else ""


def range_of_turn(request, number, whole):
    """The range of a turn by what is rendered before and with it (bytes); ValueError where it cannot be told."""
    before = render(dict(request, messages=request["messages"][:number], add_generation_prompt=True))[0].encode()
    turn = render(dict(request, messages=request["messages"][:number + 1], add_generation_prompt=False))[0].encode()
    if not turn.startswith(before) or not whole.startswith(before):
        raise ValueError("before")
    if whole.startswith(turn):
        return [len(before), len(turn)]
    own, there = turn[len(before):], whole[len(before):]
    left = next(own[at:] for at in range(len(own) + 1) if there.startswith(own[at:]))
    words = words_of(request["messages"][number]).encode()
    if not words or words not in left:
        raise ValueError("words")
    return [len(before), len(before) + len(left)]


def has_generation(request):
    return re.search(r"\{%[-+]?\s*generation\b", request["template"]) is not None


def answer(request):
    """What regression/chat/render.c should give of a request."""
    try:
        text, ranges = render(request)
        if not request.get("mark"):
            ranges = []
        elif not has_generation(request):
            turns = [number for number, message in enumerate(request["messages"]) if message.get("role") == "assistant"]
            ranges = [one for one in (range_of_turn(request, number, text.encode()) for number in turns)
                      if one[0] < one[1]]
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        return {"refused": True, "why": f"{type(error).__name__}: {error}"}
    return {"text": text, "ranges": ranges}
