#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From JSON lines to a token file of documents with masks, and through runs that pack them: ranks, micro-batches,
# placements and restarts change nothing; what is refused.
. "${srcdir:-.}/regression/checks/app_common.sh"

goldens=${abs_top_srcdir:-$(cd "${srcdir:-.}" && pwd)}/regression/text/goldens
mkdir "$folder/own" "$folder/bare"
cp "$goldens/gpt2.json" "$folder/own/tokenizer.json"
cp "$goldens/gpt2.json" "$folder/bare/tokenizer.json"
echo '{"eos_token": "<|endoftext|>"}' >"$folder/own/tokenizer_config.json"

# What is between the bars of the tokens that inspect shows, of the last command.
texts() { sed -n 's/^ *[0-9]*  |\(.*\)|\(  masked\)\{0,1\}$/\1/p' "$folder/out" | tr -d '\n'; }

# Three documents, an empty line, no newline at the end.
printf '{"text": "The step"}\r\n\n{"prompt": "What is", "completion": " a step", "id": 7}\n%s' \
    '{"completion": "Only this", "prompt": ""}' >"$folder/few.jsonl"
expect 0 "$zinf" tokenize "$folder/few.jsonl" --tokenizer "$folder/own" --output "$folder/few.h5"
says "tokens in 3 documents from 1 file"
expect 0 "$zinf" inspect "$folder/few.h5" --tokenizer "$folder/own"
says "/documents                                        int64  3 "
says "/mask                                             uint8 "
[ "$(texts)" = "The step<|endoftext|>What is a step<|endoftext|>Only this<|endoftext|>" ] || fail "texts: $(texts)"
[ "$(grep masked "$folder/out" | sed 's/[^|]*|\(.*\)|.*/\1/' | tr -d '\n')" = "What is" ] || fail "what is masked"
[ "$(grep -A 1 '^document 3$' "$folder/out" | tail -n 1 | cut -d '|' -f 2)" = "O" ] || fail "where document 3 begins"

# One line that is wrong, after one that is right.
refused() {
    printf '{"text": "ok"}\n%s\n' "$1" >"$folder/bad.jsonl"
    expect 2 "$zinf" tokenize "$folder/bad.jsonl" --tokenizer "$folder/own" --output "$folder/x.h5"
    complains "$folder/bad.jsonl line 2"
    complains "$2"
}
refused '{"text": 1}' "text is an integer and should be a string"
refused '[1]' "no object"
refused '{"text": "a"' "line 2 is no JSON that can be read: '}' expected near end of file (column 12)"
refused '{"prompt": "a"}' 'a "prompt" without "completion"'
refused '{"text": "a", "completion": "b"}' "several kinds of text"
refused '{"completion": "b"}' 'a "completion" without "prompt"'
refused '{"title": "a"}' "neither text nor prompt nor messages"
refused '{"text": "a\u0000b"}' 'has the character \u0000'
refused '{"prompt": "a", "completion": "b\u0000"}' 'has the character \u0000'
refused '{"messages": []}' "has no chat template"
refused '{"messages": 1}' "messages is an integer and should be a list"
refused '{"messages": [], "text": "a"}' "several kinds of text"
{
    printf '{"text": "ok"}\n{"text": "'
    head -c 17000000 /dev/zero | tr '\0' a
    printf '"}\n'
} >"$folder/bad.jsonl"
expect 2 "$zinf" tokenize "$folder/bad.jsonl" --tokenizer "$folder/own" --output "$folder/x.h5"
complains "bad.jsonl line 2 has more than 16 MiB"
expect 2 "$zinf" tokenize "$folder/few.jsonl" "$folder/own" --tokenizer "$folder/own" --output "$folder/x.h5"
complains "are not made one token file"
expect 0 "$zinf" tokenize "$folder/few.jsonl" --tokenizer "$folder/bare" --output "$folder/bare.h5"
complains "documents end without a token that says so"
mkdir "$folder/within"
cp "$folder/few.jsonl" "$folder/within"
expect 2 "$zinf" tokenize "$folder/within" --tokenizer "$folder/own" --output "$folder/x.h5"
complains "has files of JSON lines: give --suffix .jsonl"
expect 2 "$zinf" tokenize "$folder/few.jsonl" --output "$folder/x.h5"
complains "has JSON lines, which need --tokenizer FOLDER"
[ ! -e "$folder/x.h5" ] || fail "a refused command has made a file"

# Messages, by the chat template of the folder: what the assistant wrote counts, with the end of its turn.
mkdir "$folder/talk"
cp "$goldens/gpt2.json" "$folder/talk/tokenizer.json"
printf '%s' '{"eos_token": "<|endoftext|>", "chat_template":' \
    '"{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}' \
    '{% if add_generation_prompt %}assistant: {% endif %}"}' >"$folder/talk/tokenizer_config.json"
echo '{"messages": [{"role": "user", "content": "A step?"}, {"role": "assistant", "content": "One batch."},' \
    '{"role": "user", "content": "And a run?"}, {"role": "assistant", "content": "Steps."}]}' >"$folder/talk.jsonl"
expect 0 "$zinf" tokenize "$folder/talk.jsonl" --tokenizer "$folder/talk" --output "$folder/talk.h5"
expect 0 "$zinf" inspect "$folder/talk.h5" --tokenizer "$folder/talk" --tokens 99
[ "$(sed -n 's/^ *[0-9]*  |\(.*\)|$/\1/p' "$folder/out" | tr -d '\n')" = "One batch.<|endoftext|>Steps.<|endoftext|>" ] ||
    fail "what the assistant wrote: $(cat "$folder/out")"
[ "$(texts | sed 's/<|endoftext|>/#/g')" = \
    "user: A step?#assistant: One batch.#user: And a run?#assistant: Steps.#" ] || fail "messages: $(texts)"

# Lines that a run has made tokens of are made anew where the template is another.
made() { find "$folder/said/data" -name '*.h5' | wc -l; }
said() {
    expect 0 "$zinf" run "$folder/said.yaml" --overwrite --set run.directory="$folder/said" --set data.train="$folder/talk.jsonl" \
        --set data.tokenizer="$folder/talk"
}
printf '%s\n' 'run: {steps: 1}' 'model: {family: gpt2, layers: 1, hidden: 16, heads: 2, context: 64, vocabulary: 60000}' \
    'data: {train: x}' 'batch: {global: 1}' 'optimizer: {learning_rate: 1.0e-3}' 'device: {threads: 1}' >"$folder/said.yaml"
said
said
[ "$(made)" -eq 1 ] || fail "tokens of the same lines were made twice"
sed -i 's/^{/{"note": 1, /' "$folder/talk/tokenizer_config.json"
said
[ "$(made)" -eq 2 ] || fail "tokens of another template were taken"
echo '{"messages": [{"role": "user", "content": "A step?"}]}' >"$folder/talk.jsonl"
expect 2 "$zinf" tokenize "$folder/talk.jsonl" --tokenizer "$folder/talk" --output "$folder/x.h5"
complains "no message is the assistant's"
complains "talk.jsonl line 1 is not encoded"

# Lines of this suite, every third as a pair; the same tokens whatever the threads.
cat "${srcdir:-.}"/regression/checks/app_*.sh | sed 's/[\\"]/\\&/g; s/	/ /g' | awk 'length > 8 {
    if (++n % 3) print "{\"text\": \"" $0 "\"}"
    else print "{\"prompt\": \"" last "\", \"completion\": \" " $0 "\"}"
    last = $0 }' >"$folder/all.jsonl"
expect 0 "$zinf" tokenize "$folder/all.jsonl" --tokenizer "$folder/own" --output "$folder/train.h5" \
    --validation "$folder/validation.h5" --share 0.2
documents=$(sed -n 's/.* tokens in \([0-9]*\) document.*/\1/p' "$folder/out" | awk '{ n += $1 } END { print n }')
[ "$documents" -eq "$(wc -l <"$folder/all.jsonl")" ] || fail "$documents documents"
OMP_NUM_THREADS=4 expect 0 "$zinf" tokenize "$folder/all.jsonl" --tokenizer "$folder/own" \
    --output "$folder/again.h5" --validation "$folder/again2.h5" --share 0.2
same "$folder/again.h5" "$folder/train.h5"
same "$folder/again2.h5" "$folder/validation.h5"

make_deck
deck="$folder/deck.yaml --set model.vocabulary=384"
run=$folder/run
# near DIRECTORY: its losses are those of the first run but for the order of sums.
near() {
    paste -d, "$run/steps.csv" "$1/steps.csv" | awk -F, 'NR > 1 { d = $3 - $29; v = $10 - $36
        if (d * d > 1e-8 || v * v > 1e-8 || $24 != $50) exit 1 } END { exit NR != 7 }' ||
        fail "other losses in $1: $(cat "$1/steps.csv")"
    passed=$((passed + 1))
}
# shellcheck disable=SC2086 # a deck and its sets
expect 0 "$zinf" run $deck
says "documents packed into"
# Ends of sequences and prompts do not count.
awk -F, 'NR > 1 { if ($24 > 128) exit 1; n += $24 } END { exit !(n > 300 && n < 6 * 128) }' "$run/steps.csv" ||
    fail "targets of steps: $(cut -d, -f 1,3,24 "$run/steps.csv")"
for more in "--set batch.micro=4" "--set zero.stage=1 --set activations.recompute=always"; do
    # shellcheck disable=SC2086
    expect 0 "$zinf" run $deck $more --set run.directory="$folder/other" --overwrite
    near "$folder/other"
done
# shellcheck disable=SC2086
expect 0 "$launcher" -n 2 "$zinf" run $deck --set run.directory="$folder/two"
near "$folder/two"
# A run that stops after three steps and goes on has the same bits.
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set run.directory="$folder/half" --set run.steps=3 --set optimizer.schedule=constant
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set run.directory="$folder/half" --resume auto --set optimizer.schedule=constant
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set run.directory="$folder/whole" --set optimizer.schedule=constant
[ "$(cut -d, -f 1-3,9,24 "$folder/half/steps.csv")" = "$(cut -d, -f 1-3,9,24 "$folder/whole/steps.csv")" ] ||
    fail "a run that went on is another: $(cat "$folder/half/steps.csv")"
passed=$((passed + 1))

# The same file as a stream: masks hold, and sequences are full.
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set data.packing=none --set run.directory="$folder/stream"
if grep -q "packed into" "$folder/out"; then fail "a stream is packed"; fi
awk -F, 'NR > 1 && $24 < 128 { found = 1 } END { exit !found }' "$folder/stream/steps.csv" || fail "no target is masked"

# Nothing to learn from: said in training, an error of a validation.
printf '{"prompt": "The step of a run is what it is", "completion": ""}\n' >"$folder/none.jsonl"
expect 0 "$zinf" tokenize "$folder/none.jsonl" --tokenizer "$folder/bare" --output "$folder/none.h5"
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set data.train="$folder/none.h5" --set run.directory="$folder/none" --set run.steps=2
complains "no target of step 1 counts"
[ "$(cut -d, -f 3,24 "$folder/none/steps.csv" | tail -n 1)" = "0,0" ] || fail "loss of nothing"
# shellcheck disable=SC2086
expect 2 "$launcher" -n 2 "$zinf" run $deck --set data.validation="$folder/none.h5" --overwrite
complains_once "no target of the"

# Lines named by the deck are made token files once, and found again; the run is that of the token file.
lines="$deck --set data.train=$folder/all.jsonl --set run.directory=$folder/lines"
# shellcheck disable=SC2086
expect 2 "$zinf" run $lines
complains "files of JSON lines need data.tokenizer"
lines="$lines --set data.tokenizer=$folder/own"
expect 0 "$zinf" tokenize "$folder/all.jsonl" --tokenizer "$folder/own" --output "$folder/all.h5"
# shellcheck disable=SC2086
expect 0 "$zinf" run $deck --set data.train="$folder/all.h5" --overwrite
# shellcheck disable=SC2086
expect 0 "$launcher" -n 2 "$zinf" run $lines --set run.steps=3 --set optimizer.schedule=constant
says "tokens in $(wc -l <"$folder/all.jsonl") documents"
same "$folder/lines/data/"all-*.h5 "$folder/all.h5"
# shellcheck disable=SC2086
expect 0 "$zinf" run $lines --resume auto --set optimizer.schedule=constant
if grep -q "tokens in" "$folder/out"; then fail "made again"; fi
# shellcheck disable=SC2086
expect 0 "$zinf" run $lines --overwrite
[ "$(cut -d, -f 1-3,9,24 "$folder/lines/steps.csv")" = "$(cut -d, -f 1-3,9,24 "$run/steps.csv")" ] ||
    fail "a run of lines is another than that of their token file"
head -n 2000 "$folder/all.jsonl" >"$folder/lines.tmp" && cp "$folder/lines.tmp" "$folder/all.jsonl"
mkdir "$folder/both"
cp "$folder/few.jsonl" "$folder/train.h5" "$folder/both"
# shellcheck disable=SC2086
expect 0 "$zinf" run $lines --overwrite --set data.train="[{path: $folder/all.jsonl, weight: 3}, {path: $folder/both, weight: 1}]"
[ "$(find "$folder/lines/data" -name '*.h5' | wc -l)" -eq 3 ] || fail "files: $(ls "$folder/lines/data")"
# What a killed run has left unfinished goes; a file named twice, empty, or whose token file is damaged is refused.
touch "$folder/lines/data/all-0123456789abcdef.h5.tmp-aB3dE6"
ln -s all.jsonl "$folder/again.jsonl"
# shellcheck disable=SC2086
expect 2 "$zinf" run $lines --overwrite --set data.train="[$folder/all.jsonl, $folder/again.jsonl]"
complains "data.train names one file twice, as $folder/a"
# shellcheck disable=SC2086
expect 0 "$zinf" run $lines --overwrite
says "all-0123456789abcdef.h5.tmp-aB3dE6, which a killed program has left unfinished"
[ -z "$(find "$folder/lines/data" -name '*.tmp-*')" ] || fail "left: $(ls "$folder/lines/data")"
for made in "$folder/lines/data"/all-*.h5; do
    truncate -s 1000 "$made"
done
# shellcheck disable=SC2086
expect 2 "$zinf" run $lines --overwrite
complains "was made of $folder/all.jsonl: if it is damaged, remove it, and the next run makes it again"
: >"$folder/empty.jsonl"
# shellcheck disable=SC2086
expect 2 "$zinf" run $lines --overwrite --set data.train="$folder/empty.jsonl"
complains "input $folder/empty.jsonl is empty"

# evaluate predicts what the mask lets count: all the text less its beginning.
printf '{"prompt": "What is", "completion": " a step of the run"}\n' >"$folder/mask.jsonl"
printf '{"text": "What is a step of the run"}\n' >"$folder/plain.jsonl"
for name in mask plain; do
    expect 0 "$zinf" tokenize "$folder/$name.jsonl" --tokenizer "$folder/own" --output "$folder/$name.h5"
done
evaluate() { expect 0 "$zinf" evaluate "$run" --data "$folder/$1.h5" --output "$folder/$2.json" --length 16 ${3:+--limit $3}; }
evaluate mask masked
evaluate plain all
evaluate plain first 3 # the tokens of the prompt
python3 - "$folder" <<'END' || fail "the loss of a masked file"
import json, sys
masked, whole, first = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("masked", "all", "first"))
assert masked["tokens"] == whole["tokens"] - first["tokens"] > 3, (masked, whole, first)
wanted = (whole["loss"] * whole["tokens"] - first["loss"] * first["tokens"]) / masked["tokens"]
assert abs(masked["loss"] - wanted) < 1e-6, (masked, wanted)
END
expect 2 "$zinf" evaluate "$run" --data "$folder/mask.h5" --limit 2
complains "none is a target, by its /mask"
echo "app_documents: $passed checks passed"
