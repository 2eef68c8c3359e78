#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A training run whose states are on a disk that fails, on one rank and on two: errors end it with exit code 5,
# one line that says what could not be moved where; short transfers, refusals and a file system without direct
# I/O change nothing but the time. Nothing is left of the states.
. "${srcdir:-.}/regression/checks/app_common.sh"

make_data
make_deck
cat >>"$folder/deck.yaml" <<END
placement: {parameters: nvme, gradients: nvme, optimizer: nvme, activations: nvme}
nvme: {paths: $folder/scratch, block: 8 KiB, deadline: 1 second, reclaim: yes}
END
checksums() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "checksum") at = i } { print $at }' \
        "$folder/run/steps.csv"
}
empty() {
    [ -z "$(ls -A "$folder/scratch" 2>/dev/null)" ] || fail "something is left in the folder of the states"
    passed=$((passed + 1))
}

names_the_place() {
    complains "disk faults are made on purpose"
    grep -Eq 'error: disk: .*/rank-[01]\.h5: cannot (read|write) [0-9]+ bytes at offset [0-9]+ \([a-z0-9]+/[a-z0-9._]+\): ' \
        "$folder/err" || fail "an error does not say what and where"
    passed=$((passed + 1))
}

for command in "$zinf" "$launcher -n 2 $zinf"; do
    unset ZINF_DISK_FAULT
    expect 0 $command run "$folder/deck.yaml" --overwrite
    [ "$(checksums | sort -u | wc -l)" -eq 7 ] || fail "no checksum per step"
    checksums >"$folder/wanted"
    export ZINF_DISK_FAULT
    for fault in any:short:1:1000000 any:EAGAIN:20:10 any:refuse:20:10 any:interrupt:20:10 any:nodirect:1 \
        any:nolibaio:1; do
        ZINF_DISK_FAULT=$fault
        expect 0 $command run "$folder/deck.yaml" --overwrite
        complains "ZINF_DISK_FAULT=$fault: "
        if grep -q "error:" "$folder/err"; then fail "an error without cause"; fi
        checksums >"$folder/found"
        same "$folder/wanted" "$folder/found"
        empty
    done
    ZINF_DISK_FAULT=read:stall:30:1:1.5
    expect 0 $command run "$folder/deck.yaml" --overwrite
    complains "the disk is stalled: a read of "
done

for fault in write:EIO:40 read:EIO:40 any:ENOSPC:300; do
    ZINF_DISK_FAULT=$fault
    expect 5 "$zinf" run "$folder/deck.yaml" --overwrite
    names_the_place
    empty
done

# One rank of two: it ends the job. The other may die of that before it is ended, so the exit code of the
# launcher is not always 5, and the files stay until the next run.
unset ZINF_DISK_FAULT
cat >"$folder/one_fails" <<END
#!/bin/sh
[ "\$PMI_RANK" != 1 ] || export ZINF_DISK_FAULT=read:EIO:200
exec "$zinf" "\$@"
END
chmod +x "$folder/one_fails"
result=0
timeout 60 $launcher -n 2 "$folder/one_fails" run "$folder/deck.yaml" --overwrite >"$folder/out" 2>"$folder/err" \
    </dev/null || result=$?
case $result in 0 | 124) fail "exit code $result with a disk that failed" ;; esac
names_the_place
expect 0 $launcher -n 2 "$zinf" run "$folder/deck.yaml" --overwrite
empty
done_with disk_faults
