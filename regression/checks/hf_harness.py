#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`zinf evaluate --samples` against lm-evaluation-harness: a task of its own, of questions about nothing, is run by the
harness with a small random Llama and a tokenizer made here, and its log of samples given to zinf with the same model.
Both have to say the same acc and acc_norm and the same standard errors. Skipped where the package is not.
"""
import glob
import json
import os
import random
import subprocess
import sys
import tempfile

BUILD = os.environ.get("abs_top_builddir", os.getcwd())
ZINF = os.environ.get("ZINF", os.path.join(BUILD, "zinf"))
QUESTIONS = 60

if "ZINF_PEERS_PYTHON" in os.environ:
    # A virtual environment's interpreter may be a link to this one.
    python = os.environ.pop("ZINF_PEERS_PYTHON")
    os.execvp(python, [python, *sys.argv])
# Nothing is fetched; the harness asks its hub for nothing then.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", DS_ACCELERATOR="cpu")
try:
    import lm_eval
    import tokenizers
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TASK = """task: own_questions
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WORDS = "when the last of nine small rivers is dry who reads what was written on its stones far behind us".split()


def write_questions(path):
    """Two to five answers of one to five words each."""
    draw = random.Random(5)

    def words(most):
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    with open(path, "w", encoding="utf-8") as file:
        for _ in range(QUESTIONS):
            choices = [words(5) for _ in range(draw.randint(2, 5))]
            file.write(json.dumps({"question": words(12), "choices": choices,
                                   "answer": draw.randrange(len(choices))}) + "\n")


def write_model(folder):
    """Random, with weights so large that answers are far apart; byte-level BPE of few merges."""
    coder = tokenizers.ByteLevelBPETokenizer()
    coder.train_from_iterator([" ".join(WORDS)] * 8, vocab_size=300, special_tokens=["<|end|>"], show_progress=False)
    coder = transformers.PreTrainedTokenizerFast(tokenizer_object=coder, eos_token="<|end|>")
    coder.save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=len(coder), hidden_size=32, intermediate_size=48,
                                      num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
                                      initializer_range=0.2)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def run(work, *command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=500,
                          env=dict(os.environ, HF_HOME=f"{work}/cache"))
    if done.returncode != 0:
        print(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
        sys.exit(1)


def harness_results(work):
    """Its names and numbers, and the file of samples."""
    run(work, sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args",
        f"pretrained={work}/model,dtype=float32", "--tasks", "own_questions", "--include_path", work, "--log_samples",
        "--output_path", f"{work}/out", "--device", "cpu", "--batch_size", "4")
    with open(glob.glob(f"{work}/out/*/results*.json")[0], encoding="utf-8") as file:
        results = json.load(file)["results"]["own_questions"]
    numbers = {name.split(",")[0]: value for name, value in results.items()}
    return numbers, glob.glob(f"{work}/out/*/samples*.jsonl")[0]


def main():
    with tempfile.TemporaryDirectory() as work:
        write_questions(f"{work}/questions.jsonl")
        write_model(f"{work}/model")
        with open(f"{work}/own.yaml", "w", encoding="utf-8") as file:
            file.write(TASK.format(questions=f"{work}/questions.jsonl"))
        theirs, samples = harness_results(work)
        run(work, ZINF, "evaluate", f"{work}/model", "--samples", samples, "--output", f"{work}/own.json")
        with open(f"{work}/own.json", encoding="utf-8") as file:
            ours = json.load(file)
    names = ["acc", "acc_stderr", "acc_norm", "acc_norm_stderr"]
    wrong = [f"{name}: zinf {ours[name]}, the harness {theirs[name]}" for name in names
             if abs(ours[name] - theirs[name]) > 1e-9]
    if wrong or not 0 < theirs["acc"] < 1:
        print("failed: " + "; ".join(wrong or ["all answers alike"]))
        sys.exit(1)
    print(f"hf_harness: {QUESTIONS} questions, acc {ours['acc']:.4f}, acc_norm {ours['acc_norm']:.4f} as "
          f"lm-evaluation-harness {getattr(lm_eval, '__version__', '')} has them")


if __name__ == "__main__":
    main()
