#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From texts by a tokenizer to a token file, through a run, to a text of the same tokenizer; and what is refused.
. "${srcdir:-.}/regression/checks/app_common.sh"

goldens=${abs_top_srcdir:-$(cd "${srcdir:-.}" && pwd)}/regression/text/goldens
mkdir "$folder/own" "$folder/texts" "$folder/none"
cp "$goldens/gpt2.json" "$folder/own/tokenizer.json"
for part in deck kill run; do cp "${srcdir:-.}/regression/checks/app_$part.sh" "$folder/texts/$part.txt"; done
printf 'The step of a run' >"$folder/texts/a.txt"

expect 0 "$zinf" tokenize "$folder/texts" --tokenizer "$folder/own" --output "$folder/train.h5" \
    --separator '<|endoftext|>' --validation "$folder/validation.h5" --share 0.2
expect 0 "$zinf" inspect "$folder/train.h5" --tokenizer "$folder/own" --tokens 9
says "first 9 tokens by BPE 380 "
says "       0  |<|endoftext|>|"
sed -n 's/^ *[0-9]*  |\(.*\)|$/\1/p' "$folder/out" | tr -d '\n' | grep -q '^The step of a run<|endoftext|>' ||
    fail "the first tokens are not the first text"
# The same by the file's name, and by as many threads as there are.
OMP_NUM_THREADS=4 expect 0 "$zinf" tokenize "$folder/texts" --tokenizer "$goldens/gpt2.json" \
    --output "$folder/again.h5" --separator '<|endoftext|>'
expect 0 "$zinf" tokenize "$folder/texts" --tokenizer "$goldens/gpt2.json" \
    --output "$folder/alone.h5" --separator '<|endoftext|>'
same "$folder/again.h5" "$folder/alone.h5"

make_deck
expect 0 "$zinf" run "$folder/deck.yaml" --set model.vocabulary=384
expect 2 "$zinf" generate "$folder/run" --prompt "The step" --tokens 20 --tokenizer "$folder/none"
complains "has no tokenizer.json"
expect 0 "$zinf" generate "$folder/run" --prompt "The step of" --tokens 20 --tokenizer "$folder/own"
says "The step of"
cp "$folder/out" "$folder/first"
expect 0 "$zinf" generate "$folder/run" --prompt "The step of" --tokens 20 --tokenizer "$folder/own"
same "$folder/first" "$folder/out"
expect 2 "$zinf" generate "$folder/run" --ids 1,2 --tokens 2 --tokenizer "$folder/own"
complains "--tokenizer has no effect with --ids"

expect 2 "$zinf" tokenize "$folder/texts" --tokenizer "$folder/own" --output "$folder/x.h5" --separator eos
complains "no tokenizer_config.json beside the tokenizer names an eos_token"
echo '{"eos_token": "<|endoftext|>"}' >"$folder/own/tokenizer_config.json"
expect 0 "$zinf" tokenize "$folder/texts" --tokenizer "$folder/own" --output "$folder/eos.h5" --separator eos
expect 2 "$zinf" tokenize "$folder/texts" --tokenizer "$folder/own" --output "$folder/x.h5" --separator '<s>'
complains "the tokenizer has no such token"
expect 2 "$zinf" tokenize "$folder/texts" --output "$folder/x.h5" --separator eos
complains "--separator needs --tokenizer FOLDER"
expect 2 "$zinf" inspect "$folder/eos.h5" --tokens 3
complains "--tokens has no effect without --tokenizer"
expect 2 "$zinf" inspect "$folder/eos.h5" --tokenizer "$goldens/absent.json"
[ ! -e "$folder/x.h5" ] || fail "a refused command has made a file"
echo "app_tokenizer: $passed checks passed"
