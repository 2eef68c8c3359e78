#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes questions and answers, as chat messages in JSON lines, of a dictionary of computing.

    analysis/foldoc_chat.py --train train.jsonl --validation validation.jsonl [--dictionary FILE]

The dictionary is FOLDOC, the Free On-line Dictionary of Computing, http://www.foldoc.org/, editor
Denis Howe, as Debian's package dict-foldoc has it (GNU Free Documentation License). A headword
becomes a question, the first paragraph of its entry the answer; every 20th entry is kept apart for
validation. Entries that only point to others, or are longer than 600 characters, are left out.
"""
import argparse
import gzip
import json
import re
import sys
import textwrap

DICTIONARY = "/usr/share/dictd/foldoc.dict.dz"
LONGEST = 600
QUESTIONS = ["What is {}?", "What does {} mean in computing?", "Explain {}.", "Define {}."]


def entries(text):
    """Headwords stand at the left edge, what they mean is indented."""
    headword, lines = None, []
    for line in text.split("\n"):
        if line and not line[0].isspace() and line[0] != "{":  # which begins a link in an entry
            if lines:
                yield headword, "\n".join(lines)
                headword, lines = None, []
            headword = headword or line.strip()  # of several names the first
        elif headword:
            if line.strip() or lines:
                lines.append(line)
    if headword and lines:
        yield headword, "\n".join(lines)


def answer(meaning):
    """The first paragraph that is prose, without marks of fields and links; None: there is none."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(meaning)):
        text = re.sub(r"\s+", " ", paragraph).strip()
        text = re.sub(r"^(?:<[^>]*>\s*)+", "", text)
        text = re.sub(r"^(?:\([^)]*\)\s*)+", "", text)
        text = re.sub(r"\{([^{}]*)\}", lambda link: link.group(1).split(" (http")[0], text)
        if re.match(r"^\d+\.", text) or text.startswith(("[", "See ")) or text.count(" ") < 5:
            continue
        if len(text) > LONGEST or not text.endswith("."):
            return None
        return text
    return None


def conversation(number, headword, text):
    question = QUESTIONS[number % len(QUESTIONS)].format(headword)
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": text}]}


def main():
    parser = argparse.ArgumentParser(description="Makes chat messages of a dictionary.")
    parser.add_argument("--dictionary", default=DICTIONARY)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", required=True)
    given = parser.parse_args()
    try:
        with gzip.open(given.dictionary, "rt", encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        sys.exit(f"foldoc_chat.py: {error}; apt-get install dict-foldoc brings it")
    found = [(headword, answer(meaning)) for headword, meaning in entries(text)]
    kept = [(headword, text) for headword, text in found if text and not headword.startswith("00-")]
    with open(given.train, "w", encoding="utf-8") as train, \
            open(given.validation, "w", encoding="utf-8") as validation:
        for number, (headword, text) in enumerate(kept):
            file = validation if number % 20 == 19 else train
            file.write(json.dumps(conversation(number // 20 + number, headword, text),
                                  ensure_ascii=False) + "\n")
    print(f"{len(kept)} of {len(found)} entries")


if __name__ == "__main__":
    main()
