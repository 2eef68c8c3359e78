# SPDX-License-Identifier: Apache-2.0
# What the app_*.sh checks share: the program, a folder that goes away, a tiny deck with its data,
# and ways to say what a command must do. Sourced; runs in the build folder.
set -eu

top=${abs_top_builddir:-$(pwd)}
zinf=${ZINF:-$top/zinf}
# The same program, in which device.type: cuda is the apart device of the tests (device/apart).
# shellcheck disable=SC2034
zinf_apart=$top/regression/zinf_apart
launcher=${MPIEXEC:-mpiexec}
export OMP_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0

fail() {
    echo "failed: $1"
    echo "--- stdout:"
    tail -n 40 "$folder/out" 2>/dev/null || :
    echo "--- stderr:"
    tail -n 40 "$folder/err" 2>/dev/null || :
    echo "failed: $1" # the end is what is kept of a long log
    exit 1
}

# expect CODE COMMAND...: runs it; its exit code must be CODE.
expect() {
    wanted=$1
    shift
    result=0
    timeout 120 "$@" >"$folder/out" 2>"$folder/err" </dev/null || result=$?
    [ "$result" -eq "$wanted" ] || fail "exit code $result, not $wanted: $*"
    passed=$((passed + 1))
}

# says TEXT / complains TEXT: stdout / stderr of the last command has this fixed text.
says() {
    grep -qF -e "$1" "$folder/out" || fail "stdout does not say: $1"
    passed=$((passed + 1))
}
complains() {
    grep -qF -e "$1" "$folder/err" || fail "stderr does not say: $1"
    passed=$((passed + 1))
}

# complains_once TEXT: one line of stderr has it, however many ranks there are.
complains_once() {
    complains "$1"
    [ "$(grep -cF -e "$1" "$folder/err")" -eq 1 ] || fail "stderr says more than once: $1"
}

# same FILE FILE
same() {
    cmp -s "$1" "$2" || fail "$1 and $2 differ"
    passed=$((passed + 1))
}

# A text of real words to learn from: this very suite, in a fixed order.
make_data() {
    cat "${srcdir:-.}"/regression/checks/app_*.sh >"$folder/text"
    expect 0 "$zinf" tokenize "$folder/text" --output "$folder/train.h5" \
        --validation "$folder/validation.h5" --share 0.2
}

make_deck() {
    cat >"$folder/deck.yaml" <<END
run: {name: tiny, directory: $folder/run, steps: 6, report_every: 2 steps}
model: {family: gpt2, layers: 2, hidden: 32, heads: 2, context: 32, vocabulary: 256}
data: {train: $folder/train.h5, validation: $folder/validation.h5, validation_every: 3 steps,
       validation_sequences: 8}
batch: {global: 4, micro: 1}
optimizer: {learning_rate: 3.0e-3, warmup: 2 steps}
device: {threads: 1}
END
}

# All states of the deck on disk, in the folder $disk; what a run with other places has is the same.
disk=$folder/disk
make_nvme_deck() {
    make_deck
    cat >>"$folder/deck.yaml" <<END
precision: {compute: bf16}
placement: {parameters: nvme, gradients: nvme, optimizer: nvme, activations: nvme}
nvme: {paths: $disk}
checkpoint: {final: no}
END
}

# bits DIRECTORY: what the placement of states must not change of a run's steps.
bits() { cut -d, -f 1-5,8-10 "$1/steps.csv"; }

# empty FOLDER: nothing is in it.
empty() {
    [ -z "$(ls -A "$1")" ] || fail "left in $1: $(ls -A "$1")"
    passed=$((passed + 1))
}

done_with() {
    echo "$1: $passed checks passed"
}
