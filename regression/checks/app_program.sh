#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# zinf program: one process shows the program of any rank of any number, without data; a picture is
# an SVG file; what does not fit ends as a run would.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_deck
deck=$folder/deck.yaml
expect 0 "$zinf" program "$deck"
says "parameter"
says "budget"
says "backward"
says "adam"
if grep -q gather "$folder/out"; then fail "one rank gathers"; fi
expect 0 "$zinf" program "$deck" --ranks 4 --rank 3 --picture "$folder/lanes.svg"
says "gather"
says "reduce"
grep -q '<svg ' "$folder/lanes.svg" || fail "the picture is no SVG"
grep -q '</svg>' "$folder/lanes.svg" || fail "the picture is cut off"
expect 0 "$zinf" program "$deck" --name validate
if grep -q backward "$folder/out"; then fail "validation goes backward"; fi
expect 0 "$zinf" program "$deck" --name generate
says "logits"
expect 0 "$zinf" program "$deck" --ranks 4 --ranks-per-node 2
expect 2 "$zinf" program "$deck" --ranks 5
complains "5 ranks"
expect 3 "$zinf" program "$deck" --set "memory.device=100 KiB"
complains "does not fit"
expect 5 "$zinf" program "$deck" --picture "$folder/absent/lanes.svg"
done_with app_program
