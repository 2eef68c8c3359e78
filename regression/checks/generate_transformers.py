#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`zinf generate` and `zinf evaluate` against the installed version of transformers on small random models, whose
folders zinf reads itself: the likeliest continuations of prompts of different lengths that go side by side, past
windows and with tiers, the loss of a text, and the shares of questions answered rightly, by log-likelihoods as
lm-evaluation-harness makes them; there tokens are bytes. And answers to chats, by the tokenizer, template and
generation_config.json that transformers writes. Skipped where transformers is not; PYTHON names the interpreter
that has it.
"""
import json
import math
import os
import random
import subprocess
import sys
import tempfile

BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))

if "ZINF_PEERS_PYTHON" in os.environ:
    # A virtual environment's interpreter may be a link to this one.
    python = os.environ.pop("ZINF_PEERS_PYTHON")
    os.execvp(python, [python, *sys.argv])
try:
    import jinja2  # noqa: F401, which transformers renders templates by
    import tokenizers
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CONTEXT = 64
NEW = 24
PROMPTS = ((7, 1, 200, 30, 31), (9,), tuple(range(40, 57)), (3, 3, 3, 3, 250, 1, 2))
LLAMA = dict(vocab_size=256, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=CONTEXT, initializer_range=0.2, bos_token_id=None,
             eos_token_id=None, pad_token_id=None)
CONFIGS = {
    "gpt2": transformers.GPT2Config(vocab_size=256, n_embd=48, n_layer=3, n_head=4, n_positions=CONTEXT,
                                    initializer_range=0.2, bos_token_id=None, eos_token_id=None),
    "llama": transformers.LlamaConfig(**LLAMA),
    "mistral": transformers.MistralConfig(**LLAMA, sliding_window=7),
    "qwen3": transformers.Qwen3Config(**LLAMA, head_dim=10, use_sliding_window=True, sliding_window=6,
                                      max_window_layers=1),
}
random.seed(4)
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        print(f"failed: {what}")
        sys.exit(1)


def zinf(*words):
    done = subprocess.run([ZINF, *words], capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def continuations(model):
    made = []
    for prompt in PROMPTS:
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(NEW):
                ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
        made.append(ids)
    return made


def check_generation(folder, model):
    expected = continuations(model)
    prompts = [word for prompt in PROMPTS for word in ("--ids", ",".join(map(str, prompt)))]
    greedy = ["--tokens", str(NEW), "--temperature", "0", "--threads", "2"]
    for words in [], ["--batch", "3"], ["--set", "batch.tokens=5"], \
            ["--set", "placement.parameters=nvme", "--set", f"nvme.paths=[{folder}/store]", "--set", "tiling.mlp=1"]:
        lines = zinf("generate", folder, *prompts, *greedy, *words).splitlines()
        found = [json.loads(line)["ids"] for line in lines]
        check(found == expected, f"{folder} {words}: {found}, not {expected}")


def log_likelihoods(model, ids):
    """Of tokens 1 .. of a text, each given those before it."""
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
    return [logits[i, ids[i + 1]].item() for i in range(len(ids) - 1)]


def check_loss(folder, model):
    text = bytes(random.choice(b"the quick brown fox\n \xc3\xa9") for _ in range(333))
    sums, count = 0, 0
    for first in range(0, len(text) - 1, CONTEXT):
        values = log_likelihoods(model, list(text[first:first + CONTEXT + 1]))
        sums, count = sums - sum(values), count + len(values)
    with open(f"{folder}/text", "wb") as file:
        file.write(text)
    zinf("evaluate", folder, "--text", f"{folder}/text", "--batch", "3", "--output", f"{folder}/result.json")
    with open(f"{folder}/result.json") as file:
        found = json.load(file)
    check(found["tokens"] == count, f"{folder}: {found['tokens']} tokens, not {count}")
    check(abs(found["loss"] - sums / count) < 1e-5 * sums / count, f"{folder}: loss {found}, not {sums / count}")
    check(abs(found["perplexity"] / math.exp(sums / count) - 1) < 1e-4, f"{folder}: {found}")
    check(abs(found["bits_per_byte"] - sums / math.log(2) / len(text)) < 1e-4, f"{folder}: {found}")


def words(most):
    return "".join(random.choice("abc de\u00e9") for _ in range(random.randint(1, most))).strip() or "a"


def check_questions(folder, model):
    lines, right, right_norm = [], 0, 0
    for number in range(20):
        context = words(20) + random.choice(["", " ", "  "])
        answers = [" " + words(9) for _ in range(random.randint(2, 4))]
        target = random.randrange(len(answers))
        sums = []
        for answer in answers:
            whole, kept = (context + answer).encode(), len(context.rstrip().encode())
            sums.append(sum(log_likelihoods(model, list(whole))[kept - 1:]))
        norms = [value / len(answer[1:]) for value, answer in zip(sums, answers)]
        acc = float(max(range(len(sums)), key=sums.__getitem__) == target)
        right, right_norm = right + acc, right_norm + (max(range(len(norms)), key=norms.__getitem__) == target)
        pairs = [[context, answer] for answer in answers]
        if number % 2:
            pairs = {f"gen_args_{i}": {"arg_0": pair[0], "arg_1": pair[1]} for i, pair in enumerate(pairs)}
        lines.append({"doc_id": number, "target": str(target) if number % 3 else target, "arguments": pairs,
                      "filtered_resps": [[str(value), "False"] for value in sums], "acc": acc})
    with open(f"{folder}/samples.jsonl", "w") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    zinf("evaluate", folder, "--samples", f"{folder}/samples.jsonl", "--output", f"{folder}/result.json")
    with open(f"{folder}/result.json") as file:
        found = json.load(file)
    check(found["questions"] == 20 and abs(found["acc"] - right / 20) < 1e-9, f"{folder}: {found}, not {right / 20}")
    check(abs(found["acc_norm"] - right_norm / 20) < 1e-9, f"{folder}: {found}, not {right_norm / 20}")
    check(abs(found["acc_in_file"] - right / 20) < 1e-9, f"{folder}: {found}")
    spread = math.sqrt(sum((i < right) * (1 - right / 20) ** 2 + (i >= right) * (right / 20) ** 2
                           for i in range(20)) / 19)
    check(abs(found["acc_stderr"] - spread / math.sqrt(20)) < 1e-9, f"{folder}: {found}")


CHAT = """{{ bos_token }}{% for message in messages %}<|start|>{{ message.role }}
{{ message.content | trim }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|start|>assistant
{% endif %}"""
CONVERSATIONS = (
    [{"role": "user", "content": "Why is the sky blue? "}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A <|end|> in it"},
     {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
)


def make_tokenizer():
    """A token for each printable ASCII character and the end of a line, and three marks; it puts bos before texts."""
    vocabulary = {chr(code): code - 33 for code in range(33, 127)} | {"\u0120": 94, "\u010a": 95}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|begin|>", "<|start|>", "<|end|>"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", made.token_to_id("<|begin|>"))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|begin|>", eos_token="<|end|>",
                                                chat_template=CHAT, clean_up_tokenization_spaces=False)


def answers(tokenizer, model, ends):
    """Ids that the model adds to each conversation, up to one of `ends`, which stays."""
    made = []
    for messages in CONVERSATIONS:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            whole = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW,
                                   eos_token_id=ends, pad_token_id=0)
        made.append(whole[0, ids.shape[1]:].tolist())
    return made


def check_chat(folder):
    """Answers, cut by an id that generation_config.json has beside that of the tokenizer."""
    tokenizer = make_tokenizer()
    config = transformers.LlamaConfig(**LLAMA | {"vocab_size": len(tokenizer), "max_position_embeddings": 192})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    end = answers(tokenizer, model, None)[0][NEW // 2]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with open(f"{folder}/chats.jsonl", "w") as file:
        file.writelines(json.dumps({"messages": messages}) + "\n" for messages in CONVERSATIONS)
    lines = zinf("generate", folder, "--chat", "--prompts", f"{folder}/chats.jsonl", "--tokens", str(NEW),
                 "--temperature", "0").splitlines()
    for line, messages, ids in zip(lines, CONVERSATIONS, answers(tokenizer, model, [tokenizer.eos_token_id, end])):
        found = json.loads(line)
        kept = ids[:-1] if ids[-1] in (tokenizer.eos_token_id, end) else ids
        text = tokenizer.decode(kept, skip_special_tokens=True)
        check(found["messages"] == messages, f"{line}: not the messages {messages}")
        check(found["text"] == text and found["tokens"] == len(kept), f"{line}: not {len(kept)} tokens {text!r}")
    check(len(lines) == len(CONVERSATIONS) and json.loads(lines[0])["tokens"] < NEW, f"{lines}: none has ended")
    alone = zinf("generate", folder, "--chat", "--prompt", CONVERSATIONS[0][0]["content"], "--tokens", str(NEW),
                 "--temperature", "0")
    check(alone == json.loads(lines[0])["text"] + "\n", f"{alone!r}: not the answer of {lines[0]}")


def main():
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="zinf-check-") as top:
        for name, config in CONFIGS.items():
            torch.manual_seed(5)
            folder = os.path.join(top, name)
            model = transformers.AutoModelForCausalLM.from_config(config).eval()
            model.save_pretrained(folder)
            check_generation(folder, model)
            check_loss(folder, model)
            check_questions(folder, model)
        check_chat(os.path.join(top, "chat"))
    print(f"generate_transformers, transformers {transformers.__version__}: {checks} checks passed")


if __name__ == "__main__":
    main()
