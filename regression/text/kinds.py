# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every kind that zinf reads, trained by the tokenizers package on given texts: shaped as those of
GPT-2, Llama 3, Qwen 2, Llama 2, Gemma, T5, XLM-R, BERT and CLIP, but small."""
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

NEWER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
         r"\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(size, texts, specials, pattern=None, normalizer=None, ignore_merges=False, prefix=False):
    """BPE of bytes, cut by the pattern, or by that of GPT-2."""
    own = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        own.normalizer = normalizer
    if pattern:
        own.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    own.decoder = decoders.ByteLevel()
    own.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return own


def gpt2(size, texts):
    own = byte_level(size, texts, ["<|endoftext|>"])
    own.post_processor = processors.ByteLevel(trim_offsets=False)
    return own


def roberta(size, texts):
    own = byte_level(size, texts, ["<s>", "<pad>", "</s>", "<unk>"], prefix=True)
    own.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return own


def llama3(size, texts):
    own = byte_level(size, texts, ["<|begin_of_text|>", "<|end_of_text|>"], NEWER % "{1,3}", ignore_merges=True)
    own.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing("<|begin_of_text|> $A", None, [("<|begin_of_text|>", 0)])])
    return own


def qwen2(size, texts):
    own = byte_level(size, texts, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], NEWER % "",
                     normalizers.NFC())
    own.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("quasi", single_word=True),
                    AddedToken(" both ", normalized=True, rstrip=True)])
    return own


def o200k(size, texts):
    return byte_level(size, texts, ["<|endoftext|>"], O200K)


def of_characters(size, texts, normalizer, decoder):
    """BPE of characters with byte fallback, without words: trained on lines."""
    own = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    own.normalizer = normalizer
    own.decoder = decoder
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    own.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    own.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, limit_alphabet=300, show_progress=False))
    return own


def without_bytes(own):
    """The same with tokens of bytes that are the model's only, as in published files."""
    import json
    document = json.loads(own.to_str())
    document["added_tokens"] = [token for token in document["added_tokens"] if not token["content"].startswith("<0x")]
    document["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(document))


def llama2(size, texts):
    own = of_characters(size, texts,
                        normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
                        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)]))
    own = without_bytes(own)
    own.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return own


def gemma(size, texts):
    own = of_characters(size, texts, normalizers.Replace(" ", "\u2581"),
                        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]))
    own = without_bytes(own)
    own.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    own.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\u2581\u2581", normalized=False)])
    own.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 1), ("</s>", 2)])
    return own


def mistral(size, texts):
    """As Llama 2, with Metaspace for the normalizers."""
    own = llama2(size, texts)
    own.normalizer = normalizers.Sequence([])
    own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return own


def unigram(size, texts, normalizer, scheme="always"):
    """Of lines in Latin and Greek letters: the vocabulary has all characters that it was trained on."""
    texts = [text for text in texts if all(ord(character) < 0x400 for character in text)]
    own = Tokenizer(models.Unigram())
    own.normalizer = normalizer
    own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    own.decoder = decoders.Metaspace(prepend_scheme=scheme)
    own.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    own.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    return own


def t5(size, texts, charsmap=None):
    """With the table that SentencePiece made of nmt_nfkc, where it is given."""
    first = [normalizers.Precompiled(charsmap)] if charsmap else [normalizers.Nmt(), normalizers.NFKC()]
    return unigram(size, texts, normalizers.Sequence(
        first + [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]))


def albert(size, texts):
    return unigram(size, texts, normalizers.Sequence([
        normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
        normalizers.Strip()]), "first")


def bert(size, texts, lowercase=True):
    own = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    own.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own.decoder = decoders.WordPiece()
    own.train_from_iterator(texts, trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=400,
        show_progress=False))
    own.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return own


def bert_cased(size, texts):
    return bert(size, texts, False)


def clip(size, texts):
    own = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    own.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                           normalizers.Lowercase()])
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True),
                                                 pre_tokenizers.Punctuation("contiguous")])
    own.decoder = decoders.BPEDecoder("</w>")
    own.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=200,
        show_progress=False))
    return own


def words(size, texts):
    own = Tokenizer(models.WordLevel(unk_token="<unk>"))
    own.normalizer = normalizers.NFD()
    own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                 pre_tokenizers.CharDelimiterSplit("-")])
    own.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=size, special_tokens=["<unk>"],
                                                             show_progress=False))
    return own


KINDS = [gpt2, roberta, llama3, qwen2, o200k, llama2, gemma, mistral, t5, albert, bert, bert_cased, clip, words]
