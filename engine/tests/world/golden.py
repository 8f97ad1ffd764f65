#!/usr/bin/env python3
"""Makes the golden files of tests/world: short sounds and what the reference implementation of WORLD says of them.

    python3 -m venv venv && venv/bin/pip install pyworld numpy setuptools && venv/bin/python golden.py

Needs flite, espeak-ng and sox. pyworld 0.3.5 wraps M. Morise's own C++; run once, the files are committed, tests only read them.
Frames every 5 ms; the envelope is kept in tenths of a dB at every 16th bin of every 8th frame, aperiodicity in thousandths.
"""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyworld

RATE = 24_000
HERE = Path(__file__).parent
SOUNDS = {
    "woman": ["flite", "-voice", "slt", "-t", "A new day was long.", "-o"],
    "man": ["flite", "-voice", "rms", "-t", "She says: yes, we sing.", "-o"],
    "machine": ["espeak-ng", "-v", "en-us", "Show me the fire.", "-w"],
}

for name, command in SOUNDS.items():
    wav = HERE / f"{name}.wav"
    subprocess.run([*command, "/tmp/golden.wav"], check=True)
    subprocess.run(["sox", "-R", "/tmp/golden.wav", "-r", str(RATE), "-b", "16", "-c", "1", str(wav), "trim", "0.1", "0.95", "gain", "-3"], check=True)
    samples = np.frombuffer(wav.read_bytes()[-(int(wav.stat().st_size) - 44):], dtype="<i2").astype(np.float64) / 32768
    rough, times = pyworld.dio(samples, RATE, f0_floor=60.0, f0_ceil=600.0, frame_period=5.0)
    f0 = pyworld.stonemask(samples, rough, times, RATE)
    envelope = pyworld.cheaptrick(samples, f0, times, RATE)
    aperiodicity = pyworld.d4c(samples, f0, times, RATE)
    json.dump(
        {
            "rate_hz": RATE,
            "f0_hz": [round(float(v), 2) for v in f0],
            "envelope_db10": [[int(round(100 * np.log10(v))) for v in row[::16]] for row in envelope[::8]],
            "aperiodicity_1000": [[int(round(1000 * v)) for v in row[::16]] for row in aperiodicity[::8]],
        },
        open(HERE / f"{name}.json", "w"),
        separators=(",", ":"),
    )
    print(name, len(samples), len(f0), envelope.shape, file=sys.stderr)
