#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes regression/text/goldens: small tokenizers of every kind, and what the tokenizers package makes of some texts.

    python3 make_goldens.py TREE        with tokenizers 0.23.3 and sentencepiece 0.2.3

KIND.json is the tokenizer, KIND.cases.json a list of {text, ids, special, decoded, plain}: the ids without and with
what the post-processor adds, and the text of the latter with and without special tokens. small.model is a model of
SentencePiece. Trained on the documents of TREE.
"""
import glob
import json
import os
import sys

import sentencepiece
from tokenizers import normalizers

import charsmap
import kinds

SIZE = {"words": 500, "t5": 400, "albert": 400, "bert": 450, "bert_cased": 450, "clip": 400, "replaced": 400}
TEXTS = [
    "", " ", "  ", "\n", "a", " a", "a ", "Hello world!", "The state of a step is where the plan has put it.",
    "it's we're I'll HE'LL they'd I'm don't 'S'T''", "1 12 123 1234 12345678 3.14e-10 x86_64",
    "int main(void)\n{\n    return x->y + z[3];  /* why */\n}\n\n\n\ttab\r\n  \r\n end  ",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m A\u030angstro\u0308m \ufb01ne \u2460 \u00bd",
    "\u0130stanbul STRASSE \u00df \u017f's '\u017f",
    "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8 \ud55c\uad6d\uc5b4 "
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22",
    "\u00a0\u2003\u3000\u180e\u200b\u2028\u0085 x", "a\u2581b \u2581\u2581 c", "\x01\x7f\ufeff\ufffd\u00ad!",
    "<s> hello </s> <|endoftext|> [CLS] [MASK] x<mask> <tool_call> quasi quasis both them ",
    "\U0001f600\U0001f469\u200d\U0001f680 \U00020000\U0001d400", "-" * 70 + " " * 40 + "=" * 33 + "x" * 130,
    "punctuation: \u201cquoted\u201d \u2014 \u2026 \u00bf\u00a1 #$%&()*+,-./:;<=>?@[\\]^_`{|}~ ``x''",
]


def training_texts(tree):
    names = sorted(glob.glob(os.path.join(tree, "doc", "*.md")) + glob.glob(os.path.join(tree, "src", "base", "*.c")))
    for name in names:
        with open(name, encoding="utf-8") as file:
            yield from file.read().split("\n")


def write(folder, name, own):
    """A tokenizer and its cases."""
    with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
        file.write(own.to_str(pretty=False) + "\n")
    cases = []
    for text in TEXTS:
        special = own.encode(text).ids
        cases.append({"text": text, "ids": own.encode(text, add_special_tokens=False).ids, "special": special,
                      "decoded": own.decode(special, skip_special_tokens=False), "plain": own.decode(special)})
    dump(folder, name, cases)


def dump(folder, name, cases):
    with open(os.path.join(folder, name + ".cases.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def replaced(size, texts):
    """Unigram behind a small table of SentencePiece's form."""
    rules = "41 42\t43\n61 301\tE1\n65 301\tE9\nFB01\t66 69\nA0\t20\n200B\t\n"
    table = charsmap.charsmap_of(charsmap.train(texts, size, rules=rules, character_coverage=0.99))
    return kinds.unigram(size, texts, normalizers.Precompiled(table), "first")


def write_model(folder, texts):
    """A model of SentencePiece itself, with its own normalization switched off, which is small so."""
    model = charsmap.train(texts, 350, "bpe", "identity", byte_fallback=True, character_coverage=0.99)
    with open(os.path.join(folder, "small.model"), "wb") as file:
        file.write(model)
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    cases = []
    for text in TEXTS:
        ids = own.encode(text)
        cases.append({"text": text, "ids": ids, "special": [own.bos_id()] + ids, "decoded": own.decode(ids),
                      "plain": own.decode(ids)})
    dump(folder, "small", cases)


def main():
    tree = sys.argv[1]
    folder = os.path.join(tree, "regression", "text", "goldens")
    os.makedirs(folder, exist_ok=True)
    texts = list(training_texts(tree))
    for kind in kinds.KINDS + [replaced]:
        write(folder, kind.__name__, kind(SIZE.get(kind.__name__, 560 if kind.__name__ in ("llama2", "gemma", "mistral")
                                                   else 380), texts))
    write_model(folder, texts)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
