#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What tells a running job to stop or to write a checkpoint: the files `stop` and `checkpoint` in the
# run directory, of whatever kind; the end of the job's time; SIGTERM again and again.
. "${srcdir:-.}/regression/checks/app_memory.sh"

make_data
make_deck
deck=$folder/deck.yaml
run=$folder/run
short="--set run.steps=2 --set data.validation= --set data.validation_every=never --overwrite"
endless="--set run.steps=10000000 --set data.validation= --set data.validation_every=never
         --set checkpoint.final=no --set run.report_every=1000000 --overwrite"

# begin RANKS [NAME=VALUE]...: starts the run that has no end, in the background; waits for steps of it.
begin() {
    ranks=$1
    shift
    rm -rf "$run"
    if [ "$ranks" -gt 1 ]; then
        set -- "$@" "$launcher" -n "$ranks"
    fi
    # shellcheck disable=SC2086 # words on purpose
    env "$@" "$zinf" run "$deck" $endless >"$folder/out" 2>"$folder/err" </dev/null &
    job=$!
    until_true "steps of the run" has_rows 4
}

rows() { cat "$run/steps.csv" 2>/dev/null | wc -l; }
has_rows() { [ "$(rows)" -ge "$1" ]; }
absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
end_says() { sed -n "s/^$1: //p" "$run/end.yaml"; }

# until_true WHAT COMMAND...: waits until the command is true, while the run $job goes on.
until_true() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 1200 ] || fail "$what: did not come"
        kill -0 $job 2>/dev/null || fail "$what: the run ended before"
        sleep 0.05
    done
    passed=$((passed + 1))
}

# stopped REASON: the run ended in good order, with a checkpoint of its last step, and says why.
stopped() {
    result=0
    wait $job || result=$?
    [ $result -eq 4 ] || fail "exit code $result, not 4, after: $1"
    [ "$(end_says code)" = 4 ] || fail "end.yaml: $(cat "$run/end.yaml")"
    end_says reason | grep -qF -e "$1" || fail "end.yaml does not name $1: $(cat "$run/end.yaml")"
    [ "$(end_says checkpoint)" = "$(end_says step)" ] || fail "no checkpoint: $(cat "$run/end.yaml")"
    says "$1"
    expect 0 "$zinf" inspect "$run/checkpoints/latest" --verify
    passed=$((passed + 4))
}

# The file `stop`, of any kind. None is opened: a fifo would hang, and what a link leads to stays.
begin 2
: >"$run/stop"
stopped "the file stop in the run directory"
absent "$run/stop" || fail "the file stop is still there"
expect 0 "$zinf" run "$deck" $short
begin 1
mkfifo "$run/stop"
stopped "the file stop in the run directory"
absent "$run/stop" || fail "the fifo stop is still there"
begin 1
echo "not to be touched" >"$folder/foreign"
ln -s "$folder/foreign" "$run/stop"
stopped "the file stop in the run directory"
absent "$run/stop" || fail "the link stop is still there"
[ "$(cat "$folder/foreign")" = "not to be touched" ] || fail "what a link named stop leads to"

# The file `checkpoint`: one of the step at hand, and the run goes on. Folders of these names are no requests.
for ranks in 1 2; do
    begin $ranks
    mkdir "$run/stop"
    for kind in file fifo; do
        rm -rf "$run/checkpoints"
        case $kind in
        file) ln -s "$folder/nowhere" "$run/checkpoint" ;;
        fifo) mkfifo "$run/checkpoint" ;;
        esac
        until_true "a checkpoint" test -s "$run/checkpoints/latest"
        until_true "the end of the request" absent "$run/checkpoint"
        [ "$(find "$run/checkpoints/" -name 'step-*.h5' | wc -l)" -eq 1 ] ||
            fail "one request, and: $(ls "$run/checkpoints")"
        expect 0 "$zinf" inspect "$run/checkpoints/latest" --verify
        until_true "further steps" has_rows $(($(rows) + 100))
    done
    [ -d "$run/stop" ] || fail "a folder named stop was removed"
    rmdir "$run/stop"
    : >"$run/stop"
    stopped "the file stop in the run directory"
done

# What an earlier run has left is removed, and said.
rm -rf "$run"
mkdir "$run"
: >"$run/stop"
: >"$run/checkpoint"
expect 0 "$zinf" run "$deck" $short --set checkpoint.final=no
complains "$run/stop was left by an earlier run"
complains "$run/checkpoint was left by an earlier run"
absent "$run/stop" && absent "$run/checkpoint" || fail "files of an earlier run stay"
[ ! -d "$run/checkpoints" ] || fail "a request to an earlier run was answered"

# The end of the job's time: 30 s of it are kept, so this run has some 4 s.
for ranks in 1 2; do
    end=$(($(date +%s) + 35))
    begin $ranks SLURM_JOB_END_TIME=$end
    stopped "the job's time ends at $(date -u -d "@$end" +%Y-%m-%dT%H:%M:%SZ)"
    [ "$(date +%s)" -lt $end ] || fail "the run ended after its time"
    [ "$(end_says step)" -ge 4 ] || fail "no steps"
done
expect 4 env SLURM_JOB_END_TIME=1000000000 "$zinf" run "$deck" $short
says "stopped after step 0 of 2: the job's time ends at 2001-09-09T01:46:40Z"
expect 0 env SLURM_JOB_END_TIME=$(($(date +%s) + 3600)) "$zinf" run "$deck" $short
says "the job's time ends at"
expect 0 env SLURM_JOB_END_TIME=tomorrow "$zinf" run "$deck" $short
complains 'SLURM_JOB_END_TIME is "tomorrow"'

# At a time limit SIGTERM comes more than once, and must not break off the checkpoint.
begin 1
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -s TERM $job 2>/dev/null || break
    sleep 0.02
done
stopped SIGTERM
done_with app_control
