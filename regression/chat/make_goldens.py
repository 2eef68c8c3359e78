#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes regression/chat/goldens.json: what jinja2 makes of the templates of regression/chat/templates.

    python3 make_goldens.py             with jinja2 3.1.6; with transformers 4.57.1 or 5.24.0 its function is asked too

The templates are written for this check, each in the manner of a family: lines ChatML, brackets Llama 2, headers
Llama 3, dated Llama 3.1, last_question Mistral, thinking Qwen 3, generation SmolLM 3, model_turns Gemma, branches
OLMo 2; constructs has what these leave out. A line of goldens.json is one case: the name of its template, what is
asked for (as regression/chat/render.c reads it), and text and ranges, or that it is refused.
"""
import json
import os

import jinja

FOLDER = os.path.dirname(os.path.abspath(__file__))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SYSTEM = {"role": "system", "content": "  Be kind. \n"}
USER = {"role": "user", "content": " What is \u00e4 \u201cbyte\u201d? \n"}
ASSISTANT = {"role": "assistant", "content": "Eight bits.\n"}
AGAIN = {"role": "user", "content": "And a\u00a0word?"}
THOUGHT = {"role": "assistant", "content": "<think>\nIt depends.\n</think>\n\nThat depends."}
ARGUMENTS = {"what": "a \"w\u00f6rd\"", "n": [1, 2.5, None]}
CALL = {"role": "assistant", "content": "I look.",
        "calls": [{"type": "function", "function": {"name": "find", "arguments": ARGUMENTS}}]}
RESULT = {"role": "tool", "content": "16 or 64"}
PARTS = {"role": "user", "content": [{"type": "text", "text": " Look: "}, {"type": "image"}]}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "required": ["what"]}}}
CONVERSATIONS = [[USER], [SYSTEM, USER], [USER, ASSISTANT], [SYSTEM, USER, ASSISTANT, AGAIN], [USER, ASSISTANT, AGAIN,
                                                                                               THOUGHT],
                 [SYSTEM, USER, THOUGHT, AGAIN, ASSISTANT], [SYSTEM, USER, THOUGHT, AGAIN, THOUGHT], [USER, CALL,
                                                                                                      RESULT,
                                                                                                      ASSISTANT],
                 [USER, USER], [PARTS, ASSISTANT], [dict(SYSTEM, content="Quick /fast"), USER, ASSISTANT, AGAIN,
                                                    ASSISTANT], [], [ASSISTANT],]


def transformers_text(request):
    """What transformers' own function gives; None without transformers."""
    try:
        from transformers.utils.chat_template_utils import render_jinja_template
    except ImportError:
        return None
    names = dict(request["tokens"], **(request.get("variables") or {}))
    rendered, _ = render_jinja_template([request["messages"]], chat_template=request["template"],
                                        tools=names.pop("tools", None),
                                        add_generation_prompt=request["add_generation_prompt"], **names)
    return rendered[0]


def cases(name, template):
    for messages in CONVERSATIONS:
        for prompt in (False, True):
            request = {"template": template, "tokens": TOKENS, "messages": messages, "add_generation_prompt": prompt,
                       "mark": not prompt}
            yield request
    yield dict(request, messages=[USER, ASSISTANT, AGAIN], now=1721995200)
    if name in ("dated", "thinking"):
        yield dict(request, messages=[SYSTEM, USER], variables={"tools": [TOOL, TOOL], "day": "noon"})
    if name in ("generation", "thinking"):
        yield dict(request, messages=[USER, ASSISTANT, AGAIN, ASSISTANT], variables={"enable_thinking": False},
                   mark=True)


def main():
    lines, agreed = [], 0
    for file in sorted(os.listdir(os.path.join(FOLDER, "templates"))):
        with open(os.path.join(FOLDER, "templates", file), encoding="utf-8") as opened:
            template = opened.read()
        name = file.removesuffix(".jinja")
        for request in cases(name, template):
            wanted = jinja.answer(request)
            if "text" in wanted and request.get("now") is None and "strftime_now" not in template:
                own = transformers_text(request)
                assert own is None or own == wanted["text"], (name, request["messages"])
                agreed += own is not None
            wanted.pop("why", None)
            request = {key: value for key, value in request.items() if key not in ("template", "tokens")}
            lines.append(json.dumps({"name": name, "request": request, "wanted": wanted}))
    with open(os.path.join(FOLDER, "goldens.json"), "w", encoding="utf-8") as opened:
        opened.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(lines)} cases; transformers was asked for {agreed} of them and agrees")


if __name__ == "__main__":
    main()
