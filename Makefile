# Each verb works alone on a fresh checkout; CI calls the same ones.
.PHONY: demo run test crash-test contract-test mutants check bench bench-queue bench-mix bench-neural bench-refusals bench-ws fuzz clean

# A long text spoken, chunk by chunk, into demo.wav. KILL=40 kills the server with kill -9 after 40 chunks and starts it again.
demo:
	@deploy/demo/run

# The server on ./data, until Ctrl-C.
run:
	cargo build --package api --package espeak-host --bins
	cargo run --quiet --package api --bin clonyvoice -- serve --data-dir data

# Everything: installs what the tests need beside Rust where it may, and counts what was skipped where it may not.
test:
	@.ci/test

# kill -9 under load, KILLS times, each followed by a start on the same folder; the figures are printed. SEED=n kills at other moments.
KILLS ?= 200
crash-test:
	cargo build --workspace --bins
	CRASH_KILLS=$(KILLS) CRASH_SEED=$(SEED) cargo test --package tests --test kill_loop -- --nocapture

# One guard at a time is taken out (the fence, a sync, the owner's check, ...): each must be caught by a test. MUTANTS="fence heartbeat" for some.
mutants:
	tests/mutants/run $(MUTANTS)

# CASES requests made from /openapi.json against the running server, by schemathesis: no answer 5xx, none that the document does not hold.
CASES ?= 20000
contract-test:
	CASES=$(CASES) tests/contract/run

# What must hold before a commit, without running anything.
check:
	@.ci/check

# Figures from an optimised build (the first one takes about a quarter of an hour on two cores).
bench:
	cargo build --release --package api --package espeak-host --bins
	cargo bench --package tests --bench main_job

# What the queue costs beside a raw SQLite loop and beside apalis-sqlite, as ratios in one run. BENCH="--json" or "--quick" as you like.
bench-queue:
	cargo run --release --manifest-path tests/bench-queue/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target) -- $(BENCH)

# Joining 200 chunks, mixing 8 tracks, and mixing them measured, beside ffmpeg: medians and ratios in one run.
bench-mix:
	cargo run --release --package audio --example bench_mix

# Frames a second of neural speech at the true sizes of Qwen3-TTS 0.6B, in every precision, for 1, 4 and 8 at a time; the weights are made up.
bench-neural:
	RAYON_NUM_THREADS=$(or $(THREADS),2) cargo run --release --package engine --example bench_neural

# Whether the time of a refusal tells what is there.
bench-refusals:
	cargo build --release --package api --package espeak-host --bins
	cargo bench --package tests --bench refusals

# A thousand WebSockets, twenty events a second, beside a bare tokio-tungstenite loop in the same run.
bench-ws:
	cargo build --release --package api --package espeak-host --bins
	cargo bench --package tests --bench ws_fanout

# Ten minutes for each of the fuzz targets (SECONDS_EACH=60 for less, TARGETS="marks split" for some). Needs nightly and cargo-fuzz.
fuzz:
	tests/fuzz/run

clean:
	cargo clean
