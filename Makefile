# Seven verbs. Each works alone on a fresh checkout; CI calls the same ones.
.PHONY: demo run test crash-test check bench clean

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

# What must hold before a commit, without running anything.
check:
	@.ci/check

# Figures from an optimised build (the first one takes about a quarter of an hour on two cores).
bench:
	cargo build --release --package api --package espeak-host --bins
	cargo bench --package tests

clean:
	cargo clean
