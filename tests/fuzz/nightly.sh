# Sourced by every script that builds with sanitizers: one set of flags and one target folder, so
# that what the gateway is built on is compiled once for all of them.
# Sets `host`, empty where there is no nightly toolchain.
host=$(rustc +nightly -vV 2>/dev/null | sed -n 's/^host: //p') || host=
coverage=-Cpasses=sancov-module
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$option"
done
instrumented="$coverage -Zsanitizer=address -Ccodegen-units=1 --cfg fuzzing"
fuzz_folder=$(cd "$fuzz_folder" && pwd)

# fuzz TARGET MANIFEST_FOLDER SECONDS [OPTION OF LIBFUZZER]...
# New inputs go to target/found, failing ones to artifacts; the committed corpus is read only.
fuzz() {
    target=$1 package=$2 seconds=$3
    shift 3
    RUSTFLAGS=$instrumented cargo +nightly build --manifest-path "$fuzz_folder/$package/Cargo.toml" \
        --target-dir "$fuzz_folder/target" --target "$host" --bin "$target"
    mkdir -p "$fuzz_folder/target/found/$target" "$fuzz_folder/artifacts"
    "$fuzz_folder/target/$host/debug/$target" -max_total_time="$seconds" -timeout=60 \
        -print_final_stats=1 -artifact_prefix="$fuzz_folder/artifacts/$target-" "$@" \
        "$fuzz_folder/target/found/$target" "$fuzz_folder/corpus/$target"
}

# replay FILTER...: the corpus through the stable toolchain's tests. Says why.
replay() {
    echo "skipped: no nightly toolchain; replaying the corpus without a fuzzer"
    cd "$fuzz_folder/../.."
    cargo test "$@"
}
