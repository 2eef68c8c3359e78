#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What zinf reads of others, under libFuzzer with sanitizers: decks, token files, checkpoints, model folders, chat
# templates, and the tables of a run directory. Builds the rooms that read them by clang, in a folder that goes away,
# and gives each harness SECONDS_EACH (15). TARGETS: some of them only. KEEP: a folder where corpora are kept from run to run, and inputs that failed are left.
# SEED (1) is what inputs are drawn from: as it is the check draws nearly the same ones every day, as far as it gets in its
# time, and fails by what was changed. To search for faults, give it another one and more time (CONTRIBUTING.md).
. "${srcdir:-.}/regression/checks/app_common.sh"
source=${abs_top_srcdir:-$top/..}
seconds=${SECONDS_EACH:-15}
seed=${SEED:-1}
targets=${TARGETS:-deck tokens tables checkpoint models chat}
keep=${KEEP:-$folder/keep}

# What configure found out, from the makefile of the build.
value() { sed -n "s/^$1 = //p" "$top/Makefile"; }
sanitizers=address,undefined
flags="-std=c11 -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$sanitizers"
flags="$flags -fno-sanitize-recover=undefined -ffunction-sections -fdata-sections $(value HDF5_CFLAGS) $(value JSON_CFLAGS) $(value TEXT_CFLAGS)"
flags="$flags -I$source/src -I$top/src -I$source -I$source/regression/fuzz"

cat >"$folder/try.c" <<'END'
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size);
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size)
{
    (void)data;
    return size > 1000000;
}
END
if ! clang -fsanitize=fuzzer,$sanitizers "$folder/try.c" -o "$folder/try" 2>"$folder/errors" ||
    ! "$folder/try" -runs=1 2>>"$folder/errors"; then
    echo "fuzz_parsers: skipped: there is no clang with libFuzzer here"
    cat "$folder/errors"
    exit 77
fi

# Rooms one by one: some have files of the same name. What they need of other rooms is taken from the library of the
# build, which has no sanitizers.
compile() {
    room=$1
    shift
    mkdir -p "$folder/build/$room"
    (
        cd "$folder/build/$room" || exit 1
        # shellcheck disable=SC2086
        printf "$source/$room/%s\n" "$@" | xargs -n 4 -P 2 clang $flags -c
    )
}
for room in src/base src/h5 src/checkpoint src/data src/deck src/json src/hf src/chat; do
    # shellcheck disable=SC2046
    compile "$room" $(cd "$source/$room" && ls ./*.c)
done
compile src/app chart.c csv.c directory.c history.c history_files.c lock.c numbers.c page.c page_tables.c report.c series.c
libs="$(value DNNL_LIBS) $(value HDF5_LIBS) $(value YAML_LIBS) $(value JSON_LIBS) $(value TEXT_LIBS) $(value AIO_LIBS) $(value OPENMP_CFLAGS) -lpthread -lm"
for target in $targets; do
    compile regression/fuzz "$target.c"
    # shellcheck disable=SC2046,SC2086
    (cd "$top" && clang -fsanitize=fuzzer,$sanitizers "$folder/build/regression/fuzz/$target.o" "$folder"/build/src/*/*.o \
        libzinf.a libkernels_*.a $libs -o "$folder/$target")
done

# Whole files to begin with: decks of the tree, token files of every format, a run of three steps, a checkpoint.
for target in $targets; do
    mkdir -p "$folder/seeds/$target" "$keep/$target"
done
seeds=$folder/seeds
make_data
make_deck
seed_deck() {
    cp "$source"/inputs/*.yaml "$folder/deck.yaml" "$seeds/deck"
    sed 's/{train: [^,]*,/{train: [{path: ~\/a, weight: 0.5}, {path: "b*", weight: 2}],/' "$folder/deck.yaml" \
        >"$seeds/deck/mixture.yaml"
}
seed_tokens() {
    head -c 400 "$folder/text" >"$folder/short"
    expect 0 "$zinf" tokenize "$folder/short" --output "$folder/short.h5"
    { printf '\004..' && cat "$folder/short.h5"; } >"$seeds/tokens/hdf5"
    { printf '\003..' && cat "$folder/short"; } >"$seeds/tokens/nanogpt"
    { printf '\002..\350\301\064\001\001\000\000\000\144\000\000\000' && head -c 1012 /dev/zero && head -c 200 "$folder/short"; } \
        >"$seeds/tokens/llmc"
    # Two sequences of 10 and 20 tokens of 16 bits, in one document: index of 34 + 2 * 12 + 2 * 8 bytes.
    {
        printf '\001\112\000MMIDIDX\000\000\001\000\000\000\000\000\000\000\010'
        printf '\002\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000\012\000\000\000\024\000\000\000'
        printf '\000\000\000\000\000\000\000\000\024\000\000\000\000\000\000\000'
        printf '\000\000\000\000\000\000\000\000\002\000\000\000\000\000\000\000'
        head -c 60 "$folder/short"
    } >"$seeds/tokens/megatron"
}
seed_tables() {
    expect 0 "$zinf" run "$folder/deck.yaml" --set run.steps=3 --set checkpoint.final=no
    for name in steps.csv timings.csv memory.csv end.yaml used.yaml; do
        cat "$run/$name"
        printf '\001'
    done >"$seeds/tables/run"
}
seed_models() {
    for case in hf_gpt2 hf_llama hf_qwen3; do
        { printf '\002' && cat "$source/regression/goldens/$case/config.json"; } >"$seeds/models/$case"
    done
    { printf '\001' && cat "$source/regression/goldens/hf_llama/model-00005-of-00005.safetensors"; } >"$seeds/models/file"
    { printf '\003' && cat "$source/regression/goldens/hf_llama/model.safetensors.index.json"; } >"$seeds/models/index"
    printf '\000{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]}}\0001234567890' \
        >"$seeds/models/head"
    {
        printf '\004{"peft_type": "LORA", "r": 2, "lora_alpha": 3, "use_rslora": false, "target_modules": ["q_proj"],'
        printf '"rank_pattern": {}, "alpha_pattern": {"q_proj": 3}, "bias": "none"}\000'
        printf '{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":'
        printf '{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},'
        printf '"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight":'
        printf '{"dtype":"F32","shape":[6,2],"data_offsets":[32,80]}}'
    } >"$seeds/models/adapter"
}
seed_chat() {
    cp "$source"/regression/chat/templates/*.jinja "$seeds/chat"
    printf '{%% for m in messages %%}{{ m.content | tojson }}{%% endfor %%}\000[{"role":"user","content":[1,2.5,null,{"a":"b"}]}]' \
        >"$seeds/chat/messages"
}
seed_checkpoint() { FUZZ_SEEDS=$seeds/checkpoint "$folder/checkpoint" -runs=0 >"$folder/out" 2>&1 || fail "no seed"; }

# What a child and the parent may ask for, in MiB and seconds.
limits="-timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024"

# reports FILE...: of what a harness wrote the first 30 lines of each report, which say where it happened.
reports() { awk '/^==[0-9]+==|runtime error:|^Sanitizer:|^Running:/ { left = 30 } left-- > 0' "$@"; }

# explain TARGET: what was said, by the last child too, and what is said of the inputs that failed when they are tried again
# under the same limits, with what libFuzzer drops.
explain() {
    {
        reports "$folder/err"
        echo "--- the last child:"
        find "$folder/work" -name report -exec cat {} + | reports
        for input in "$keep/$1"-*; do
            [ -f "$input" ] || continue
            # shellcheck disable=SC2086
            FUZZ_FOLDER=$folder/work "$folder/$1" $limits "$input" >"$folder/out" 2>&1 || :
            reports "$folder/out"
        done
    } >"$folder/said"
    cat "$folder/said"
    rm -f "$folder/err" "$folder/out" # said above
    fail "$1: an input that is not borne (SEED=$seed)"
}

# fuzz TARGET: messages of zinf are dropped, reports of sanitizers are not. An input that fails is left in $keep.
fuzz() {
    "seed_$1"
    mkdir -p "$folder/work"
    # shellcheck disable=SC2086
    FUZZ_FOLDER=$folder/work "$folder/$1" $limits -seed="$seed" -close_fd_mask=3 -max_len=65536 \
        -max_total_time="$seconds" -artifact_prefix="$keep/$1-" -print_final_stats=1 "$keep/$1" "$seeds/$1" \
        >"$folder/out" 2>"$folder/err" || explain "$1"
    rm -rf "$folder/work"
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/err")
    [ "${runs:-0}" -gt 100 ] || fail "$1: $runs inputs only"
    echo "$1: $runs inputs in $seconds s"
    passed=$((passed + 1))
}
run=$folder/run
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:fast_unwind_on_malloc=0
export LSAN_OPTIONS="suppressions=$folder/leaks:print_suppressions=0" UBSAN_OPTIONS=print_stacktrace=1 UCX_HANDLE_ERRORS=none
# Of HDF5 after an error, and of what MPI finds out about the machine.
printf 'leak:libhdf5\nleak:hwloc\n' >"$folder/leaks"
for target in $targets; do
    fuzz "$target"
done
done_with fuzz_parsers
