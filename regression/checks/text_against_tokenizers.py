#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every kind against the tokenizers package, and a model of SentencePiece against its package: trained
here on 10 MB of documents, sources and random characters, ids and texts of all of it compared.

Of equal ways to cut a text SentencePiece's Unigram takes another one in 0.2.3 than in 0.1.97, so that is compared where
package and library are of one version. Needs a Python with the packages tokenizers and sentencepiece: the one that runs
this, or ZINF_PEERS_PYTHON. Words of the command line choose kinds, as gpt2, bpe or unigram.
Random characters are those of Unicode 3.2, since libraries know newer ones or not. ZINF_TEXT_MB: megabytes of texts.
"""
import glob
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

TOP = os.environ.get("abs_top_srcdir", ".")
BUILD = os.environ.get("abs_top_builddir", ".")
MEGABYTES = float(os.environ.get("ZINF_TEXT_MB", "10"))
BLOCKS = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff), (0x590, 0x6ff), (0x900, 0x97f),
          (0xe00, 0xe7f), (0x1100, 0x11ff), (0x1e00, 0x1fff), (0x2000, 0x22ff), (0x2460, 0x24ff), (0x3000, 0x30ff),
          (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xfb00, 0xfdff), (0xfe00, 0xffef), (0x10300, 0x1034f),
          (0x1d400, 0x1d7ff), (0x20000, 0x2a6df), (1, 0x1f), (0x80, 0x9f)]
BETWEEN = [" ", "  ", "\n", "\t", " \n", "\r\n", "   ", "'s", "'LL", "1234567", "a\u0301", "<s>", "\u2581"]


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def use_python():
    """Goes on in a Python that has the packages."""
    other = os.environ.pop("ZINF_PEERS_PYTHON", None)
    if other:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        os.execv(other, [other] + sys.argv)
    try:
        import sentencepiece
        import tokenizers
    except ImportError as error:
        skip(f"{error}; ZINF_PEERS_PYTHON names a Python with tokenizers and sentencepiece")
    print("tokenizers", tokenizers.__version__, "sentencepiece", sentencepiece.__version__)


def files(patterns, bytes_wanted, generator):
    names = sorted(name for pattern in patterns for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
    generator.shuffle(names)
    for name in names:
        if bytes_wanted <= 0:
            return
        with open(name, "rb") as file:
            text = file.read(200000).decode("utf-8", "replace").replace("\0", " ")
        bytes_wanted -= len(text)
        yield text


def random_text(generator):
    parts = []
    for _ in range(generator.randint(20, 400)):
        low, high = generator.choice(BLOCKS)
        drawn = (chr(generator.randint(low, high)) for _ in range(generator.randint(1, 8)))
        parts += [one for one in drawn if unicodedata.ucd_3_2_0.category(one) not in ("Cn", "Cs")]
        if generator.random() < 0.6:
            parts.append(generator.choice(BETWEEN))
    return "".join(parts)


def documents():
    generator = random.Random(1)
    share = MEGABYTES * 1e6
    texts = ["", " ", "\n", "a", " a", "a ", "'", " \n\n x", "<s> hello </s>"]
    texts += files(["/usr/share/doc/python3*/html/**/*.txt"], 0.4 * share, generator)
    texts += files(["/usr/share/doc/python3*/html/**/*.html"], 0.15 * share, generator)
    texts += files(["/usr/lib/python3*/**/*.py", "/usr/include/**/*.h", TOP + "/src/**/*.c"], 0.25 * share, generator)
    texts += files(["/usr/share/perl/**/*.p[lm]", "/usr/share/doc/**/copyright"], 0.1 * share, generator)
    while sum(map(len, texts)) < 0.93 * share:
        texts += [random_text(generator) for _ in range(100)]
    generator.shuffle(texts)
    return texts


class Zinf:
    """What zinf makes of the documents, a file each, by the library."""

    def __init__(self, folder, texts):
        self.folder, self.program = folder, os.path.join(BUILD, "regression", "text", "encode")
        self.texts = os.path.join(folder, "texts")
        with open(self.texts, "wb") as file:
            file.write(b"".join(len(text).to_bytes(8, "little") + text for text in (t.encode() for t in texts)))

    def run(self, tokenizer):
        """Of each text: ids with special tokens, and the text of those."""
        out = os.path.join(self.folder, "out")
        subprocess.run([self.program, tokenizer, self.texts, out], check=True, stdout=subprocess.DEVNULL)
        with open(out, "rb") as file:
            data = memoryview(file.read())
        at = 0
        while at < len(data):
            count = int.from_bytes(data[at:at + 8], "little")
            ids = data[at + 8:at + 8 + 4 * count].cast("i")
            at += 8 + 4 * count
            size = int.from_bytes(data[at:at + 8], "little")
            yield ids, bytes(data[at + 8:at + 8 + size])
            at += 8 + size


def compare(name, texts, made, encode, decode):
    """How many documents differ; says where the first ones do."""
    differ = 0
    for number, (text, (ids, own)) in enumerate(zip(texts, made, strict=True)):
        wanted = encode(text)
        ids = ids.tolist()
        if ids != wanted:
            at = next((k for k, (a, b) in enumerate(zip(ids, wanted)) if a != b), min(len(ids), len(wanted)))
            what = f"id {at}: {ids[at - 2:at + 4]} for {wanted[at - 2:at + 4]}"
        elif own.decode("utf-8", "replace") != decode(wanted):
            what = "the text of its ids"
        else:
            continue
        differ += 1
        if differ <= 3:
            print(f"{name}: document {number} of {len(text)} characters: {what}")
    print(f"{name}: {len(texts)} documents, {differ} differ", flush=True)
    return differ


def sentencepiece_kinds(version):
    """The kinds of models that can be compared with the package of this version."""
    with open(os.path.join(BUILD, "config.h"), encoding="utf-8") as file:
        if "#define HAVE_SENTENCEPIECE" not in file.read():
            print("SentencePiece: not compared, zinf is built without it")
            return []
    found = subprocess.run(["pkg-config", "--modversion", "sentencepiece"], capture_output=True, text=True, check=True)
    if found.stdout.strip() == version:
        return ["bpe", "unigram"]
    print(f"SentencePiece unigram: not compared, package {version} and library {found.stdout.strip()}")
    return ["bpe"]


def chosen(name):
    return len(sys.argv) < 2 or name in sys.argv[1:]


def main():
    use_python()
    sys.path.insert(0, os.path.join(TOP, "regression", "text"))
    import charsmap
    import kinds
    import sentencepiece
    import tokenizers
    texts = documents()
    lines = [line for text in random.Random(2).sample(texts, len(texts) // 8) for line in text.split("\n")][:20000]
    differ = 0
    print(f"{len(texts)} documents, {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        zinf = Zinf(folder, texts)
        table = charsmap.charsmap_of(charsmap.train(lines[:2000], 8000, character_coverage=0.98))
        makers = [(kind.__name__, lambda kind=kind: kind(5000, lines)) for kind in kinds.KINDS]
        makers.append(("t5_table", lambda: kinds.t5(3000, lines[:5000], table)))
        for name, make in makers:
            if not chosen(name):
                continue
            path = os.path.join(folder, "own.json")
            make().save(path)
            own = tokenizers.Tokenizer.from_file(path)  # scores in memory may differ by a last bit from those read
            differ += compare(name, texts, zinf.run(path), lambda text: own.encode(text).ids,
                              lambda ids: own.decode(ids, skip_special_tokens=False))
        for kind in filter(chosen, sentencepiece_kinds(sentencepiece.__version__)):
            model, path = charsmap.train(lines, 5000, kind, byte_fallback=True, character_coverage=0.995), \
                os.path.join(folder, "own.model")
            with open(path, "wb") as file:
                file.write(model)
            own = sentencepiece.SentencePieceProcessor(model_proto=model)
            differ += compare("SentencePiece " + kind, texts, zinf.run(path),
                              lambda text: [own.bos_id()] + own.encode(text), own.decode)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
