#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What runs that were killed left is shown by zinf clean and goes with --remove: the store on nvme, half written
# checkpoints, the lock. What lives, is kept, is somebody else's or lies behind a link stays.
. "${srcdir:-.}/regression/checks/app_common.sh"

job=
living=
trap '[ -z "$job$living" ] || kill -s KILL $job $living 2>/dev/null || :; rm -rf "$folder"' EXIT
make_data
make_nvme_deck
deck=$folder/deck.yaml
runs=$folder/runs

# start NAME: a run without end in the background, $job, in its steps.
start() {
    "$zinf" run "$deck" --set run.directory="$runs/$1" --set run.name="$1" --set run.steps=1000000 \
        --set data.validation= --set data.validation_every=never >"$folder/$1.out" 2>"$folder/$1.err" </dev/null &
    job=$!
    tries=0
    while [ "$(cat "$runs/$1/steps.csv" 2>/dev/null | wc -l)" -lt 4 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "the run does not start: $(cat "$folder/$1.err")"
        sleep 0.1
    done
    mkdir -p "$runs/$1/checkpoints"
    half_write "$runs/$1/checkpoints"
}

# What a run that is killed while it writes a checkpoint has in its folder.
half_write() {
    head -c 20000 "$folder/train.h5" >"$1/step-00000007.h5.tmp"
    ln -s step-00000007.h5 "$1/latest.tmp"
}

end() {
    kill -s KILL $job
    wait $job || :
    job=
}

# all FILE: what is there now, in every detail but times.
all() { find "$folder/runs" "$disk" -printf '%p %y %i %s %l\n' | grep -v 'steps.csv\|timings.csv\|run.h5' | sort >"$1"; }

# unchanged: and nothing of it is said either.
unchanged() {
    all "$folder/after"
    cmp -s "$folder/before" "$folder/after" || fail "changed: $(diff "$folder/before" "$folder/after")"
    passed=$((passed + 1))
}

expect 2 "$zinf" clean
expect 2 "$zinf" clean "$folder/absent"
complains "$folder/absent: cannot be looked at: No such file"
expect 2 "$zinf" clean "$folder/text"
complains "zinf clean takes folders"

# Living: nothing is said of it, nothing goes.
start alive
find "$runs/alive" "$disk" | sort >"$folder/before"
for option in "" --remove; do
    expect 0 "$zinf" clean $option "$runs" "$disk" "$runs/alive/checkpoints"
    [ "$(wc -l <"$folder/out")" -eq 1 ] || fail "something of a living run is listed"
    find "$runs/alive" "$disk" | sort | cmp -s - "$folder/before" || fail "something of a living run is gone"
done
says "nothing to remove that dead runs left"
living=$job

# Dead beside it: shown first, and everything is still there.
start dead
end
stale=$(basename "$(find "$disk" -maxdepth 1 -name "zinf-dead-*")")
pid=$(sed -n 's/^process \([0-9]*\) .*/\1/p' "$runs/dead/run.lock")
all "$folder/before"
expect 0 "$zinf" clean "$runs" "$disk"
for line in "store .* dead .*$disk/$stale; run dead on $(uname -n)" \
    "checkpoint .* 20.* KiB .* dead .*$runs/dead/checkpoints/step-00000007.h5.tmp; process $pid on host" \
    "checkpoint .* dead .*$runs/dead/checkpoints/latest.tmp; process $pid on host" \
    "lock .* dead .*$runs/dead/run.lock; process $pid on host $(uname -n) since 2"; do
    grep -q "^$line" "$folder/out" || fail "no line $line"
done
says "4 left by dead runs, "
unchanged
expect 0 "$zinf" clean "$runs/dead/checkpoints/"
says "2 left by dead runs, "

# Removed, and only that; the living one goes on and ends well.
expect 0 "$zinf" clean --remove "$runs" "$disk"
says "4 removed, "
grep -v "$runs/dead/run.lock\|h5.tmp\|latest.tmp\|$stale" "$folder/before" >"$folder/wanted"
grep "$runs/alive/.*tmp" "$folder/before" >>"$folder/wanted"
sort "$folder/wanted" >"$folder/before"
unchanged
expect 0 "$zinf" clean --remove "$runs" "$disk"
says "nothing to remove"
expect 0 "$zinf" run "$deck" --set run.directory="$runs/dead" --overwrite
kill -s TERM $living
result=0
wait $living || result=$?
living=
[ $result -eq 4 ] || fail "exit code $result, not 4, of a run that was cleaned beside"
empty "$disk"

# An ended run has no lock, but its end. Without either its checkpoints stay, and that is said.
half_write "$runs/dead/checkpoints"
expect 0 "$zinf" clean --remove "$runs/dead"
says "2 removed, "
[ ! -e "$runs/dead/run.lock" ] || fail "the lock that the command took is left behind"
half_write "$runs/dead/checkpoints"
mv "$runs/dead/end.yaml" "$folder/end.yaml"
all "$folder/before"
expect 0 "$zinf" clean --remove "$runs"
says "$runs/dead/checkpoints/step-00000007.h5.tmp; whether its run lives cannot be told here"
says "2 stay"
unchanged
mv "$folder/end.yaml" "$runs/dead/end.yaml"

# Kept stores, things of others under the very names, and what lies behind links.
expect 0 "$zinf" run "$deck" --overwrite --set nvme.keep=yes
rm -r "$runs/dead/checkpoints"
mkdir "$disk/zinf-mine-0123456789abcdef" "$disk/zinf-data" "$runs/checkpoints" "$runs/other" "$runs/dead/checkpoints" \
    "$runs/empty" "$runs/fifo" "$runs/linked" "$folder/far"
echo mine >"$disk/zinf-mine-0123456789abcdef/rank-0.h5"
echo mine >"$disk/zinf-data/rank-0.h5"
echo mine >"$runs/other/run.lock"
echo mine >"$runs/other/step-00000007.h5.tmp"
echo mine >"$runs/dead/checkpoints/step-7.h5.tmp"
mkdir "$runs/dead/checkpoints/step-00000008.h5.tmp"
echo mine >"$runs/dead/checkpoints/latest.tmp"
: >"$runs/empty/run.lock"
mkfifo "$runs/fifo/run.lock"
lock="process 1 on host $(uname -n) since 2020-01-01T00:00:00Z"
echo "$lock" >"$folder/far/run.lock"
mkdir "$folder/far/checkpoints"
half_write "$folder/far/checkpoints"
ln -s "$folder/far" "$runs/far"
ln -s "$folder/far/run.lock" "$runs/linked/run.lock"
ln -s "$folder/far/checkpoints" "$runs/linked/checkpoints"
find "$folder/far" | sort >"$folder/far.before"
all "$folder/before"
expect 0 "$zinf" clean --remove "$runs" "$disk"
[ "$(cat "$folder/out")" = "nothing to remove that dead runs left" ] || fail "things of others are listed"
unchanged
find "$folder/far" | sort | cmp -s - "$folder/far.before" || fail "a link was followed"

# A folder that is named by a link is that folder.
expect 0 "$zinf" clean --remove "$runs/far"
says "3 removed, "
[ "$(find "$folder/far" -type f -o -type l | wc -l)" -eq 0 ] || fail "left: $(find "$folder/far")"

# In a dead store, what others have put there stays.
start mixed
end
stale=$(find "$disk" -maxdepth 1 -name 'zinf-mixed-*')
echo mine >"$stale/notes.txt"
expect 0 "$zinf" clean --remove "$disk"
says "stays"
says "its files are removed, but zinf has not made notes.txt in it"
[ "$(find "$stale" -type f)" = "$stale/notes.txt" ] || fail "left: $(ls -A "$stale")"

# What cannot be removed makes the command fail. Root can remove everything, so it becomes somebody else.
rm -r "$runs"
mkdir -p "$runs/locked/checkpoints"
echo "$lock" >"$runs/locked/run.lock"
half_write "$runs/locked/checkpoints"
chmod 755 "$folder"
chmod 555 "$runs/locked" "$runs/locked/checkpoints"
user=
if [ "$(id -u)" -eq 0 ]; then
    user="setpriv --reuid=65534 --regid=65534 --clear-groups"
    chown -hR 65534 "$runs"
fi
# shellcheck disable=SC2086 # words on purpose
if $user "$zinf" --version >/dev/null 2>&1; then
    expect 5 $user "$zinf" clean --remove "$runs"
    says "run.lock; $lock; cannot be removed: Permission denied"
    says "step-00000007.h5.tmp; $lock; cannot be removed: Permission denied"
    says "3 stay"
    [ -z "$user" ] || chown -hR 0 "$runs"
    all "$folder/before"
    if [ -n "$user" ]; then # of others nothing is said
        expect 0 $user "$zinf" clean --remove "$runs"
        [ "$(cat "$folder/out")" = "nothing to remove that dead runs left" ] || fail "another user's run is listed"
        unchanged
    fi
else
    echo "without what another user may not remove: he cannot start $zinf"
fi
chmod -R u+w "$runs"
done_with app_clean
