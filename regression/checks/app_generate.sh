#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Texts that go side by side are those that go alone, in every tier and by parts; prompts from files, stop strings,
# the end of the context; and what `zinf evaluate` says and refuses.
. "${srcdir:-.}/regression/checks/app_common.sh"

# 61 tokens, context 40: prompts of bytes below 61 are text.
model=${abs_top_srcdir:-$(cd "${srcdir:-.}" && pwd)}/regression/goldens/hf_gpt2
greedy="--temperature 0 --tokens 12 --threads 1"

# shellcheck disable=SC2086
generate() { expect 0 "$zinf" generate "$model" $greedy "$@"; }

alone() {
    generate --ids "$1"
    printf '%s\n' "$(cat "$folder/out")" >>"$folder/alone"
}
alone 1,2,3,4,5,6,7
alone 9
alone 60,60,2,40
together() {
    generate --ids 1,2,3,4,5,6,7 --ids 9 --ids 60,60,2,40 "$@"
    sed 's/.*"ids": \[\(.*\)\]}/\1/' "$folder/out" >"$folder/together"
    same "$folder/together" "$folder/alone"
}
together
together --batch 2
together --set batch.tokens=3
together --set placement.parameters=nvme --set nvme.paths="[$folder/store]" --set tiling.attention=3
together --set memory.device=1MiB --set memory.host=2MiB

# Past the context a text goes on with its last half.
expect 0 "$zinf" generate "$model" --ids 1,2,3 --tokens 100 --temperature 0
[ "$(tr ',' '\n' <"$folder/out" | wc -l)" -eq 103 ] || fail "number of ids past the context"
cut -d, -f22-41 "$folder/out" >"$folder/half"
cut -d, -f42 "$folder/out" >"$folder/next"
expect 0 "$zinf" generate "$model" --ids "$(cat "$folder/half")" --tokens 1 --temperature 0
[ "$(cut -d, -f21 "$folder/out")" = "$(cat "$folder/next")" ] || fail "the token behind the context"

# Prompts of a file; a line that is JSON says them.
printf '%s\n' '12 34' '"1\u00202"' '{"prompt": "7,7,7"}' >"$folder/prompts"
generate --prompts "$folder/prompts"
says '"number": 2, "tokens": 12, "prompt": "7,7,7", "text": "'
says '"prompt": "1 2", "text"'
cp "$folder/out" "$folder/several"
generate --prompt '12 34' --prompt '1 2' --prompt '7,7,7'
same "$folder/out" "$folder/several"

# A text ends before a stop string, whether it is written as it comes or whole.
generate --prompt '12 34'
cut -c 6-17 "$folder/out" | head -n 1 >"$folder/added"
stop=$(cut -c 3-5 "$folder/added")
generate --prompt '12 34' --stop absent --stop "$stop"
rest=$(wc -c <"$folder/out")
[ "$rest" -lt 18 ] || fail "the text does not stop before $stop"
printf '%s\n' '{"prompt": 3}' >"$folder/prompts"
expect 2 "$zinf" generate "$model" --prompts "$folder/prompts"
complains "line 1"
: >"$folder/prompts"
expect 2 "$zinf" generate "$model" --prompts "$folder/prompts"
complains "has no prompts"
expect 2 "$zinf" generate "$model" --prompt 1 --stop ''
expect 2 "$zinf" generate "$model" --ids 1 --stop x
complains "--stop has no effect with --ids"
expect 2 "$zinf" generate "$model" --prompt 1 --temperature 0 --top-p 0.5

# Evaluation: batches change nothing; the sum over questions is what lines say.
i=0
while [ $i -lt 30 ]; do
    printf '%d + 7,' $((i * 37 % 53))
    i=$((i + 1))
done >"$folder/numbers"
expect 0 "$zinf" evaluate "$model" --text "$folder/numbers" --threads 1
says "bits per byte"
cp "$folder/out" "$folder/first"
expect 0 "$zinf" evaluate "$model" --text "$folder/numbers" --batch 1 --output "$folder/result.json"
same "$folder/out" "$folder/first"
grep -q '"perplexity": ' "$folder/result.json" || fail "no perplexity in the result"
expect 0 "$zinf" tokenize "$folder/numbers" --output "$folder/tokens.h5"
expect 0 "$zinf" evaluate "$model" --data "$folder/tokens.h5" --threads 1
grep -v "bits per byte" "$folder/first" >"$folder/kept"
same "$folder/out" "$folder/kept"
expect 2 "$zinf" evaluate "$model"
complains "say on what to evaluate"
echo 'abc' >"$folder/letters"
expect 2 "$zinf" evaluate "$model" --text "$folder/letters"
complains "is not in the model's vocabulary"
printf '%s\n' '{"target": "1", "arguments": [["1+1:", " 2"], ["1+1:", " 3"]], "acc": 0.0}' >"$folder/questions"
expect 0 "$zinf" evaluate "$model" --samples "$folder/questions"
says "questions      1"
says "acc in file    0.0000"
printf '%s\n' '{"target": "4", "arguments": [["1+1:", " 2"], ["1+1:", " 3"]]}' >"$folder/questions"
expect 2 "$zinf" evaluate "$model" --samples "$folder/questions"
complains "line 1: target is not the number of an answer"
printf '%s\n' '{"target": "0", "arguments": [["1+1:", ""], ["1+1:", " 3"]]}' >"$folder/questions"
expect 2 "$zinf" evaluate "$model" --samples "$folder/questions"
complains "has no tokens of its own"

echo "app_generate: $passed checks passed"
