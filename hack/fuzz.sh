#!/bin/sh
# Gives each parser whatever bytes libFuzzer comes up with: hack/fuzz.sh FOLDER-FOR-BUILDS SECONDS [TARGET…]
# What was found worth keeping stays in FOLDER/corpus for the next run; what breaks something goes to FOLDER/artifacts.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
to=$(realpath "$1") seconds=$2
shift 2
host=$(rustc -vV | sed -n 's/^host: //p')

# These have libFuzzer see which code its bytes reach. They are flags of LLVM, so the stable toolchain will do. Given
# this way they take the place of those in .cargo/config.toml: libFuzzer does not start in a static binary. There is no
# sanitizer of memory, because nothing here is unsafe, and it would cost half of the speed.
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares"
cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir "$to"

[ $# -gt 0 ] || set -- $(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//')
failed=
for target; do
    corpus=$to/corpus/$target artifacts=$to/artifacts/$target log=$to/$target.log
    mkdir -p "$corpus" "$artifacts"
    # The seeds are read, and what is new goes to the corpus. An input is to be read within ten seconds and 512 MiB.
    if "$to/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -print_final_stats=1 \
        -artifact_prefix="$artifacts/" "$corpus" "fuzz/seeds/$target/" >"$log" 2>&1; then
        awk -v target="$target" '/^Done / { print target ": " $2 " inputs, " int($2 / ($5 ? $5 : 1)) " a second" }' "$log"
    else
        failed="$failed $target"
        grep -v '^#' "$log" | tail -n 40 >&2
        echo "!! $target; its whole log is $log" >&2
    fi
done
[ -z "$failed" ] || { echo "failed:$failed; bytes that show it are in $to/artifacts" >&2; exit 1; }
