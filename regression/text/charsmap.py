# SPDX-License-Identifier: Apache-2.0
"""Models of SentencePiece, trained here, and the table of replacements that one has in it."""
import os
import tempfile

import sentencepiece


def fields(message):
    """Number and value of each field of a message of protobuf; of length-delimited ones the bytes."""
    at = 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size = varint()
            yield tag >> 3, message[at:at + size]
            at += size


def charsmap_of(model):
    """precompiled_charsmap of normalizer_spec of a .model."""
    spec = dict(fields(model))[3]
    return dict(fields(spec)).get(2, b"")


def train(texts, size, kind="unigram", rule="nmt_nfkc", rules=None, **more):
    """Bytes of a .model; `rules`: lines of a table of replacements, in place of a rule by name."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "rules.tsv")
        if rules:
            with open(name, "w", encoding="utf-8") as file:
                file.write(rules)
            more["normalization_rule_tsv"] = name
        else:
            more["normalization_rule_name"] = rule
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=os.path.join(folder, "own"), vocab_size=size, model_type=kind,
            minloglevel=2, num_threads=1, hard_vocab_limit=False, **more)
        with open(os.path.join(folder, "own.model"), "rb") as file:
            return file.read()
