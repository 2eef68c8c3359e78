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

# A prompt that is longer than the context is refused; one as long is not.
expect 0 "$zinf" generate "$model" --ids "$(seq -s , 1 40)" --tokens 1
expect 2 "$zinf" generate "$model" --ids "$(seq -s , 1 41)" --tokens 1
complains "prompt 0 has 41 tokens, and the model's context is 40: leave out part of it"
mkdir "$folder/nothing"
expect 2 "$zinf" generate "$folder/nothing" --ids 1
complains "$folder/nothing has no config.json and no checkpoints; name a model folder"

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

# The model's own tokenizer: ids 0 to 56 are letters and digits, 57 to 60 marks; a prompt gets <s>.
talks=$folder/talks
mkdir "$talks"
cp "$model/config.json" "$model/model.safetensors" "$talks"
awk 'BEGIN {
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
    split("<s> <|user|> <|assistant|> <|end|>", marks, " ")
    printf "{\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {"
    for (i = 0; i < 57; i++) printf "\"%s\": %d, ", substr(letters, i + 1, 1), i
    printf "\"<s>\": 57}}, \"added_tokens\": ["
    for (i = 1; i <= 4; i++)
        printf "%s{\"id\": %d, \"content\": \"%s\", \"special\": true, \"single_word\": false, \"lstrip\": false," \
               " \"rstrip\": false, \"normalized\": false}", (i > 1 ? ", " : ""), 56 + i, marks[i]
    printf "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
    printf "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\","
    printf "\"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], \"special_tokens\":"
    printf "{\"<s>\": {\"id\": \"<s>\", \"ids\": [57], \"tokens\": [\"<s>\"]}}}, \"decoder\": {\"type\": \"ByteLevel\"}}"
}' >"$talks/tokenizer.json"
# texts LIST: what ids stand for, marks left out.
texts() {
    echo "$1" | awk '{
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
        count = split($0, ids, ",")
        for (i = 1; i <= count; i++) if (ids[i] < 57) printf "%s", substr(letters, ids[i] + 1, 1)
        print ""
    }'
}
own() { expect 0 "$zinf" generate "$talks" --temperature 0 --tokens 12 --threads 1 "$@"; }
own --ids 57,0,1
texts "$(cat "$folder/out")" >"$folder/expected"
own --prompt ab
same "$folder/out" "$folder/expected"
own --prompt ab --tokenizer "$talks/tokenizer.json"
same "$folder/out" "$folder/expected"
echo abcdefgABCDEFG >"$folder/letters"
expect 0 "$zinf" evaluate "$talks" --text "$folder/letters" --threads 1
says "tokens         13"
cp "$folder/out" "$folder/first"
expect 0 "$zinf" evaluate "$talks" --text "$folder/letters" --threads 1 --tokenizer "$talks"
same "$folder/out" "$folder/first"

# An imported model's is in the folder beside it.
expect 0 "$zinf" import "$talks" --output "$folder/talks.h5"
expect 0 "$zinf" generate "$folder/talks.h5" --temperature 0 --tokens 12 --threads 1 --prompt ab
same "$folder/out" "$folder/expected"
rm -r "$folder/talks.files"
expect 0 "$zinf" generate "$folder/talks.h5" --tokens 2 --prompt 12

# Chats: what the template makes of messages, without a second <s>, and the answer alone is written.
expect 2 "$zinf" generate "$talks" --chat --prompt ab
complains "has no chat template"
expect 2 "$zinf" generate "$folder/talks.h5" --chat --prompt ab
complains "--chat needs a tokenizer"
expect 2 "$zinf" generate "$talks" --chat --ids 1
complains "--chat has no effect with --ids"
printf '%s' '{"bos_token": "<s>", "model_max_length": 1000000000000000019884624838656, "chat_template": "{{ bos_token }}{% for m in messages %}{% if m.role == ' \
    "'system'" ' %}{{ raise_exception(m.content) }}{% endif %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}' \
    '{% if add_generation_prompt %}<|assistant|>{% endif %}"}' >"$talks/tokenizer_config.json"
own --ids 57,58,0,1,60,59
answer=$(cut -d, -f7- "$folder/out")
texts "$answer" >"$folder/expected"
own --chat --prompt ab
same "$folder/out" "$folder/expected"
complains "says what ends one"
cat >"$folder/prompts" <<'END'
ab
{"prompt": "ab"}
{"messages": [{"role": "user", "content": "ab"}]}
{"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}, {"role": "user", "content": "e"}]}
END
own --chat --prompts "$folder/prompts"
for i in 0 1 2; do
    says "{\"number\": $i, \"tokens\": 12, \"messages\": [{\"role\": \"user\", \"content\": \"ab\"}], \"text\": \"$(
        cat "$folder/expected"
    )\"}"
done
cp "$folder/out" "$folder/several"
own --ids 57,58,2,60,59,3,60,58,4,60,59
grep -qF "\"e\"}], \"text\": \"$(texts "$(cut -d, -f12- "$folder/out")")\"}" "$folder/several" ||
    fail "the answer to a conversation"

# An answer ends by the tokens of generation_config.json, as by eos_token.
third=$(echo "$answer" | cut -d, -f3)
case ",$(echo "$answer" | cut -d, -f-2)," in *",$third,"*) fail "token 3 of the answer is not new" ;; esac
texts "$(echo "$answer" | cut -d, -f-2)" >"$folder/expected"
printf '{"eos_token_id": [60, %s]}\n' "$third" >"$talks/generation_config.json"
own --chat --prompt ab
same "$folder/out" "$folder/expected"
printf '{"eos_token_id": "<|end|>"}\n' >"$talks/generation_config.json"
expect 2 "$zinf" generate "$talks" --chat --prompt ab
complains "eos_token_id should be a token id or a list of them"
printf '{"eos_token_id": null}\n' >"$talks/generation_config.json"
sed "s/\"bos_token\"/\"eos_token\": \"$(texts "$third")\", &/" "$talks/tokenizer_config.json" >"$folder/named"
cp "$folder/named" "$talks/tokenizer_config.json"
own --chat --prompt ab
same "$folder/out" "$folder/expected"

# What of a line of messages is refused.
chat_refused() {
    echo "$1" >"$folder/prompts"
    expect 2 "$zinf" generate "$talks" --prompts "$folder/prompts" ${3:+"$3"}
    complains "$2"
}
chat_refused '{"messages": []}' "line 1 has \"messages\", which are a chat; give --chat"
chat_refused '{"messages": [], "prompt": "a"}' "give one of them" --chat
chat_refused '{"messages": 3}' "messages is an integer and should be a list" --chat
chat_refused '{"messages": ["a"]}' "message 0 (from 0) is no object" --chat
printf '%s\n' ab '{"messages": [{"role": "system", "content": "no rules"}]}' >"$folder/prompts"
expect 2 "$zinf" generate "$talks" --prompts "$folder/prompts" --chat
complains "no rules"
complains "this was text 1 (from 0)"

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
expect 2 "$zinf" evaluate "$model" --text "$folder/numbers" --length 100000
complains "is more than the model's context"
for key in model.layers=3 adapter.rank=3 data.train=x; do
    expect 2 "$zinf" evaluate "$model" --text "$folder/numbers" --set "$key"
    complains "--set $key: of a deck this command takes keys of placement"
done
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
