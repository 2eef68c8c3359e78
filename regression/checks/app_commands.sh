#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Command lines: every command explains itself, and every mistake in a command line is found before
# anything else happens, ends with exit code 2, and says what was probably meant.
. "${srcdir:-.}/regression/checks/app_common.sh"

commands="run check plan program tokenize generate evaluate inspect bench report watch help"

expect 0 "$zinf" --version
grep -Eq '^zinf [0-9]+\.[0-9]+\.[0-9]+ ' "$folder/out" || fail "--version"
for word in help --help -h; do
    expect 0 "$zinf" $word
    for command in $commands; do says "  $command "; done
done
for command in $commands; do
    expect 0 "$zinf" help "$command"
    says "usage: zinf $command"
    cp "$folder/out" "$folder/help"
    expect 0 "$zinf" "$command" --help
    same "$folder/out" "$folder/help"
    expect 0 "$zinf" "$command" word -h
    same "$folder/out" "$folder/help"
done

expect 2 "$zinf"
complains "usage: zinf COMMAND"
expect 2 "$zinf" rum
complains "nearest: run"
expect 2 "$zinf" xyzzy
complains "no command xyzzy;"
expect 2 "$zinf" help tokenise
complains "nearest: tokenize"
for command in run check plan program tokenize generate evaluate inspect bench report watch; do
    expect 2 "$zinf" "$command"
    complains "usage: zinf $command"
    expect 2 "$zinf" "$command" word --nonsense=1
    complains "no option --nonsense;"
done
expect 2 "$zinf" check one two
complains "two is one word too many"
expect 2 "$zinf" generate file --promt text
complains "nearest: --prompt"
expect 2 "$zinf" generate file --prompt
complains "--prompt TEXT"
expect 2 "$zinf" run deck.yaml --overwrite=yes
complains "takes no value"
expect 2 "$zinf" program deck.yaml --ranks 0
complains "--ranks 0: expected a whole number from 1"
expect 2 "$zinf" program deck.yaml --ranks 2 --ranks-per-node 3
complains "--ranks-per-node 3: expected a whole number from 1 to 2"
expect 2 "$zinf" program deck.yaml --ranks 2x
expect 2 "$zinf" program deck.yaml --name trane
complains "nearest: train"
expect 2 "$zinf" generate file --prompt text --temperature nan
expect 2 "$zinf" generate file
complains "--prompt TEXT, --prompts FILE or --ids LIST"
expect 2 "$zinf" generate file --prompt a --ids 1
expect 2 "$zinf" generate file --prompt ""
complains "the prompt is empty"
expect 2 "$zinf" generate "$folder/absent" --prompt a
expect 2 "$zinf" inspect "$folder/absent"
expect 2 "$zinf" check "$folder/absent"
complains "No such file"
expect 2 "$zinf" check "$folder"
complains "is a folder"
expect 2 "$zinf" tokenize "$folder"
complains "--output FILE"
expect 2 "$zinf" bench network
complains "cannot measure network"
expect 2 "$zinf" bench device --set run.steps=2
expect 2 "$zinf" bench device --set device.type=cpuu

# Help about decks, and the generated documents.
expect 0 "$zinf" help deck
says "optimizer"
expect 0 "$zinf" help deck batch.micro
says "micro"
expect 2 "$zinf" help deck batch.mikro
complains "micro"
for document in --markdown --reference --schema; do
    expect 0 "$zinf" help deck $document
    says "learning_rate"
done
expect 0 "$zinf" help operations
says "adam: "
expect 0 "$zinf" help operations --markdown
says "| \`adam\` |"
expect 0 "$zinf" help states
says "saved as  master"
expect 2 "$zinf" help operations --schema
expect 2 "$zinf" help operations adam
expect 2 "$zinf" help deck --markdown --schema
expect 2 "$zinf" help deck run --schema
expect 2 "$zinf" help run --schema

# Words after -- are no options; a full disk behind stdout is an error.
expect 2 "$zinf" check -- --help
complains "cannot open --help"
if [ -w /dev/full ]; then
    result=0
    "$zinf" help >/dev/full 2>"$folder/err" || result=$?
    [ $result -eq 5 ] || fail "help into a full disk ended with $result, not 5"
fi

# A mistake under several ranks is said once, and all of them leave.
expect 2 "$launcher" -n 2 "$zinf" run
complains_once "usage: zinf run DECK"
expect 2 "$launcher" -n 2 "$zinf" run "$folder/absent"
complains_once "No such file"
done_with app_commands
