#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every deck in inputs/ and jobscripts/ is free of errors, and its step program compiles.
set -eu
top=${top_srcdir:-.}
zinf=${ZINF:-${abs_top_builddir:-.}/zinf}
count=0
for deck in "$top"/inputs/*.yaml; do
    case $deck in */machine.yaml | */h100-node.yaml | */dgx-2.yaml) continue ;; esac # no decks: app_plan.sh reads them
    set --
    case $deck in */finetune-smollm2.yaml) # what its model folder says
        set -- --set model.from= --set model.family=llama --set model.layers=30 --set model.hidden=576 --set model.heads=9 \
            --set model.key_heads=3 --set model.inner=1536 --set model.context=8192 --set model.vocabulary=49152 ;;
    esac
    "$zinf" check "$deck" "$@" >/dev/null
    case $deck in
    */reference.yaml) ;; # all keys with their defaults; its data and sizes are examples
    */infinity-4b.yaml) # a part of it, for which any disk has room
        "$zinf" program "$deck" --set model.layers=2 --set model.vocabulary=1024 >/dev/null
        ;;
    *) "$zinf" program "$deck" --set memory.device="64 GiB" "$@" >/dev/null ;;
    esac
    count=$((count + 1))
done
[ "$count" -gt 1 ]
echo "decks: $count passed"
