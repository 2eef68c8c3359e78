# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Debian packages that zinf needs, in groups; sourced by quickstart and run-tests.

# Prints the packages of one group.
packages_of() {
    case $1 in
    build) echo gcc libc6-dev make autoconf automake libtool pkg-config mpich libmpich-dev \
        libhdf5-mpich-dev libaio-dev libyaml-dev libjansson-dev libpcre2-dev libutf8proc-dev libdnnl-dev g++ \
        libsentencepiece-dev ;;
    run) echo python3-h5py python3-numpy python3-matplotlib python3.11-doc ;;
    peers) echo python3-venv ;;
    test) echo hdf5-tools python3-h5py python3-numpy python3-matplotlib python3-yaml shellcheck \
        mandoc clang-format-14 ;;
    esac
}

# Installs those packages of the named groups that are missing.
install_packages() {
    local group package missing=() sudo=()
    for group in "$@"; do
        for package in $(packages_of "$group"); do
            dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
                missing+=("$package")
        done
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "no apt-get here; install what corresponds to: ${missing[*]}" >&2
        return 1
    fi
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    echo "installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -q
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        "${missing[@]}"
}
