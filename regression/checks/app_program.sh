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
expect 0 "$zinf" program "$deck" --ranks 4 --picture "$folder/lanes.svg"
says "gather"
says "reduce"
grep -q '<svg ' "$folder/lanes.svg" || fail "the picture is no SVG"
grep -q '</svg>' "$folder/lanes.svg" || fail "the picture is cut off"
# Picture, trace and table have one colour per kind.
grep -o 'fill="#[0-9a-f]*"/><text [^>]*>[a-z]*<' "$folder/lanes.svg" |
    sed 's/^fill="\(#[0-9a-f]*\)".*>\([a-z]*\)<$/\2 \1/' | sort >"$folder/picture"
"$zinf" help operations --markdown | sed -n 's/^| `\([a-z]*\)` .* \(#[0-9a-f]*\) |$/\1 \2/p' | sort >"$folder/table"
expect 0 "$zinf" plan "$deck" --trace "$folder/trace.json"
sed -n 's/^"kinds":{//p' "$folder/trace.json" | tr ',' '\n' |
    sed -n 's/^"\([a-z]*\)":"\(#[0-9a-f]*\)".*/\1 \2/p' | sort >"$folder/traced"
[ "$(wc -l <"$folder/picture")" -gt 5 ] || fail "the picture has no legend"
comm -13 "$folder/table" "$folder/picture" | grep . && fail "the picture has other colours than the table"
cmp "$folder/table" "$folder/traced" || fail "a trace has other colours than the table"
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
