#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The documents that `zinf help` writes are those in the tree, and the manual page names every command and option.
# To write them anew: zinf help deck --markdown >doc/deck.md, and so on as below; a table inside a document stands
# between a comment that names its command and a comment "end".
set -eu
top=${top_srcdir:-.}
zinf=${ZINF:-${abs_top_builddir:-.}/zinf}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
while read -r option file; do
    "$zinf" help deck "$option" >"$folder/document"
    if ! cmp "$folder/document" "$top/$file"; then
        echo "failed: zinf help deck $option writes another $file"
        failed=1
    fi
done <<END
--markdown doc/deck.md
--reference inputs/reference.yaml
--schema inputs/zinf.schema.json
END

# Tables inside documents.
while read -r topic file; do
    "$zinf" help "$topic" --markdown >"$folder/table"
    sed -n "/^<!-- zinf help $topic --markdown -->$/,/^<!-- end -->$/p" "$top/$file" | sed '1d;$d' >"$folder/found"
    if ! [ -s "$folder/found" ] || ! cmp "$folder/table" "$folder/found"; then
        echo "failed: zinf help $topic --markdown writes another table than $file has"
        failed=1
    fi
done <<END
operations doc/design.md
states doc/design.md
END

# The manual page: dots and dashes of mdoc taken away.
sed 's/\\-/-/g' "$top/doc/zinf.1" >"$folder/manual"
commands=$("$zinf" help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
[ -n "$commands" ] || { echo "failed: zinf help names no command"; exit 1; }
for command in $commands; do
    if ! grep -q "^\.Ss .*\b$command\b" "$folder/manual"; then
        echo "failed: doc/zinf.1 does not describe the command $command"
        failed=1
    fi
    for option in $("$zinf" "$command" --help | sed -n 's/^  --\([a-z-]*\).*/\1/p'); do
        if ! awk -v command="$command" -v option="-$option" '
            /^\.Ss / { inside = index(" " $0 " ", " " command " ") }
            inside && /^\.It Fl / && $3 == option { found = 1 }
            END { exit !found }' "$folder/manual"; then
            echo "failed: doc/zinf.1 does not describe --$option of $command"
            failed=1
        fi
    done
done
if command -v mandoc >/dev/null; then
    mandoc -T lint -W warning "$top/doc/zinf.1" || { echo "failed: mandoc"; failed=1; }
fi
[ "$failed" -eq 0 ] && echo "documents: passed"
