#!/usr/bin/env python3
"""Trains the test model `tests/fixtures/whisper_words`: Whisper's architecture, 30 English words, windows of 3 s.

    apt-get install -y --no-install-recommends espeak-ng python3-torch libopenblas0-pthread
    OPENBLAS_NUM_THREADS=1 nice -n 19 python3 train.py OUT [STEPS]

Words are spoken by libespeak-ng, as the built-in engine speaks them (variant files of the same lines, random parameters; none is a
preset's). Everything random comes from SEED. Beside the text the model is taught, by heads that are thrown away, which word each encoder
frame belongs to, and one cross-attention head (the alignment head) looks where its word is. See DATA_CARD.md.
"""
import ctypes as C
import json
import math
import os
import random
import sys
import tempfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SEED = 20261122
WORDS = ("one two three four five six seven eight nine ten zero red green blue yellow orange left up down yes "
         "stop go open close water house monday window apple river").split()
RATE_HZ, HOP, FFT, MELS = 16_000, 160, 400, 80
WINDOW_S = 3
FRAMES = WINDOW_S * 100
POSITIONS = FRAMES // 2
TARGETS = 64
D, HEADS, ENCODER_LAYERS, DECODER_LAYERS, FEED = 64, 4, 3, 2, 256
ALIGNMENT_HEAD = (1, 0)
UTTERANCES = 900
BATCH = 16

random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)
torch.set_num_threads(1)


# ---- the tokenizer: byte-level BPE whose merges make each word one token, and Whisper's special tokens

def byte_letters():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters, extra = {b: chr(b) for b in kept}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return letters


def tokenizer():
    vocab = {letter: at for at, letter in enumerate(byte_letters().values())}
    merges = []
    for word in WORDS:
        left = "\u0120"
        for letter in word:
            if left + letter not in vocab:
                vocab[left + letter] = len(vocab)
                merges.append(f"{left} {letter}")
            left += letter
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
               "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    special += [f"<|{at * 0.02:.2f}|>" for at in range(POSITIONS + 1)]
    ids = {name: len(vocab) + at for at, name in enumerate(special)}
    added = [dict(id=i, content=name, single_word=False, lstrip=False, rstrip=False, normalized=False,
                  special=not name[2:3].isdigit()) for name, i in ids.items()]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    description = dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, pre_tokenizer=level,
                       post_processor=None, decoder=level,
                       model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix="", end_of_word_suffix="",
                                  fuse_unk=False, byte_fallback=False, vocab=vocab, merges=merges))
    return description, ids, [vocab["\u0120" + word] for word in WORDS]


TOKENIZER, SPECIAL, WORD_IDS = tokenizer()
T0 = SPECIAL["<|0.00|>"]
EOT, SOT, EN, TASK = (SPECIAL[f"<|{n}|>"] for n in ("endoftext", "startoftranscript", "en", "transcribe"))
NO_TIMES, NO_SPEECH = SPECIAL["<|notimestamps|>"], SPECIAL["<|nospeech|>"]
VOCABULARY = max(SPECIAL.values()) + 1


# ---- speech

class Event(C.Structure):
    _fields_ = [("type", C.c_int), ("unique", C.c_uint), ("position", C.c_int), ("length", C.c_int), ("ms", C.c_int), ("sample", C.c_int),
                ("user", C.c_void_p), ("id", C.c_char * 8)]


class Espeak:
    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="whisper_words")
        data = os.path.join(self.root, "espeak-ng-data")
        lib = C.CDLL("libespeak-ng.so.1")
        lib.espeak_Info.restype = C.c_char_p
        path = C.c_char_p()
        lib.espeak_Initialize(2, 0, None, 0x8000)
        lib.espeak_Info(C.byref(path))
        system = path.value.decode()
        lib.espeak_Terminate()
        os.makedirs(os.path.join(data, "voices/!v"))
        for entry in os.listdir(system):
            if entry != "voices":
                os.symlink(os.path.join(system, entry), os.path.join(data, entry))
        self.rate_hz = lib.espeak_Initialize(2, 0, self.root.encode(), 0x8000)
        self.variants = os.path.join(data, "voices/!v")
        self.lib, self.samples, self.events = lib, [], []
        kind = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(Event))
        self.callback = kind(self.hear)
        lib.espeak_SetSynthCallback(self.callback)

    def hear(self, wav, count, events):
        if count > 0:
            self.samples.append(np.ctypeslib.as_array(wav, (count,)).copy())
        at = 0
        while events[at].type:
            self.events.append((events[at].type, events[at].position - 1, events[at].length, events[at].sample))
            at += 1
        return 0

    def say(self, text, language, variant, rate_wpm):
        name = f"t{random.getrandbits(48):x}"
        with open(os.path.join(self.variants, name), "w") as file:
            file.write(f"language variant\nname {name}\n{variant}")
        assert self.lib.espeak_SetVoiceByName(f"{language}+{name}".encode()) == 0
        for parameter, value in ((1, rate_wpm), (2, 50), (3, 50), (4, 50)):
            self.lib.espeak_SetParameter(parameter, value, 0)
        self.samples, self.events = [], []
        data = text.encode() + b"\0"
        self.lib.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)
        os.remove(os.path.join(self.variants, name))
        return np.concatenate(self.samples), list(self.events)


def random_voice():
    low = math.exp(random.uniform(math.log(55), math.log(230)))
    high = low * random.uniform(1.3, 1.65)
    # A tract is about as long as its pitch is low.
    formant = min(1.32, max(0.88, 0.97 + 0.17 * math.log2(low / 85) + random.uniform(-0.09, 0.09)))
    lines = [f"pitch {low:.0f} {high:.0f}", f"flutter {random.choice([0, 2, 2, 5, 14, 20])}",
             f"roughness {random.choice([0, 1, 2, 2, 4, 6])}", f"voicing {random.choice([60, 80, 100, 100, 100, 120])}"]
    width = random.choice([70, 85, 100, 100, 100, 130, 160])
    lines += [f"formant {at} {formant * 100:.0f} 100 {width}" for at in range(9)]
    if random.random() < 0.5:
        breath = random.uniform(2, 35)
        lines.append("breath" + "".join(f" {share * breath:.0f}" for share in (0.3, 0.7, 1, 1, 0.9, 0.7, 0.5, 0.4)))
    if random.random() < 0.7:
        tilt = random.uniform(-8, 6)
        points = ((600, 170), (1200, 135), (2000, 110), (3000, 110), (5500, 110))
        lines.append("tone" + "".join(
            f" {hz} {min(255, max(0, level * 10 ** (tilt * math.log2(hz / 1000) / 20))):.0f}" for hz, level in points))
    return "\n".join(lines) + "\n"


def resampled(samples, from_hz):
    count = int(len(samples) * RATE_HZ / from_hz)
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return np.fft.irfft(np.pad(spectrum, (0, count // 2 + 1 - len(spectrum))), count) * (count / len(samples))


def utterance(espeak):
    """16 kHz samples, and (word, start s, end s) of each word."""
    words = [random.choice(WORDS) for _ in range(random.randint(5, 13))]
    text, ends = "", []
    for at, word in enumerate(words):
        ends.append(len(text) + len(word))
        # A full stop before a small letter is none to the library.
        text += (word.capitalize() if text[-2:] in ("", ". ") else word) + (" " if at + 1 == len(words) else random.choice([" "] * 7 + [", ", ". ", ". "]))
    text = text.strip() + random.choice(["", "."])
    samples, events = espeak.say(text, random.choice(["gmw/en-US", "gmw/en-US", "gmw/en"]), random_voice(), random.randint(135, 200))
    spans = {}
    for index, (kind, position, length, sample) in enumerate(events):
        # The library's positions slip by one after a full stop: the word around it, or the next that begins within it.
        at = next((at for at, end in enumerate(ends) if end > position), None)
        if kind == 1 and at is not None and at not in spans and ends[at] - len(words[at]) < position + max(1, length):
            end = min([s for *_, s in events[index + 1:] if s > sample] + [len(samples)])
            loud = np.flatnonzero(np.abs(samples[sample:end].astype(np.int32)) > 104)
            if len(loud):
                spans[at] = (sample / espeak.rate_hz, (sample + loud[-1] + 1) / espeak.rate_hz)
    if len(spans) != len(words):
        return None
    pcm = resampled(samples / 32768.0, espeak.rate_hz).astype(np.float32)
    return pcm / max(1e-3, np.abs(pcm).max()), [(WORDS.index(word), *spans[at]) for at, word in enumerate(words)]


# ---- the reference's log-mel

def slaney():
    def hz_of(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)
    top = 15 + math.log(RATE_HZ / 2 / 1000) / (math.log(6.4) / 27)
    edges = [hz_of(top * at / (MELS + 1)) for at in range(MELS + 2)]
    hz = np.arange(FFT // 2 + 1) * RATE_HZ / FFT
    rows = []
    for left, peak, right in zip(edges, edges[1:], edges[2:]):
        rows.append(np.maximum(0, np.minimum((hz - left) / (peak - left), (right - hz) / (right - peak))) * 2 / (right - left))
    return np.array(rows, dtype=np.float32)


BANK = slaney()
HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)).astype(np.float32)
PLACES = np.arange(FRAMES)[:, None] * HOP + np.arange(FFT)[None]


def log_mel(pcm):
    padded = np.pad(pcm, FFT // 2, mode="reflect")
    power = np.abs(np.fft.rfft(padded[PLACES] * HANN)) ** 2
    mel = np.log10(np.maximum(BANK @ power.T, 1e-10))
    return ((np.maximum(mel, mel.max() - 8) + 4) / 4).astype(np.float32)


# ---- one example: a window of an utterance as the seek rule would cut it

def example(pcm, words):
    length = WINDOW_S * RATE_HZ
    if random.random() < 0.2:
        first, begin = 0, -random.uniform(0, 0.6)
    else:
        first = random.randrange(len(words))
        before = words[first - 1][2] if first else 0
        begin = random.uniform(min(before - 0.05, words[first][1] - 0.02), words[first][1] + 0.03)
    window = np.zeros(length, dtype=np.float32)
    at = int(begin * RATE_HZ)
    piece = pcm[max(0, at):max(0, at + length)]
    window[max(0, -at):max(0, -at) + len(piece)] = piece[: length - max(0, -at)]
    spans, cut = [], False
    for word, start, end in words[first:]:
        start, end = max(0.0, start - begin), end - begin
        if end <= WINDOW_S - 0.01:
            spans.append((word, start, end))
        else:
            cut = start < WINDOW_S - 0.04
            break
    window *= 10 ** random.uniform(-1.2, -0.1)
    if random.random() < 0.6:
        noise = 10 ** random.uniform(-5, -2.3)
        window += noise * np.random.standard_normal(length).astype(np.float32)
    frames = np.full(POSITIONS, len(WORDS))
    for word, start, end in spans:
        frames[int(start * 50):max(int(start * 50) + 1, int(end * 50))] = word
    if cut:
        frames[int(min(start, WINDOW_S) * 50):] = -100
    timed = random.random() < 0.6
    tokens, looks = [SOT, EN, TASK], [None, None, None]
    stamp = lambda s: T0 + min(POSITIONS, round(s * 50))
    if timed:
        tokens.append(stamp(min(1.0, spans[0][1]) if spans else 0))
        looks.append(None)
    else:
        tokens.append(NO_TIMES)
        looks.append(None)
    for word, start, end in spans:
        tokens.append(WORD_IDS[word])
        looks.append((start, end))
    if timed and spans:
        tokens += [stamp(spans[-1][2])] * (2 if cut else 1)
        looks += [None] * (2 if cut else 1)
    tokens.append(EOT)
    looks.append(None)
    return log_mel(window), frames, tokens, looks


def batch(data):
    made = [example(*random.choice(data)) for _ in range(BATCH)]
    longest = max(len(tokens) for _, _, tokens, _ in made)
    mel = torch.from_numpy(np.stack([m for m, *_ in made]))
    frames = torch.from_numpy(np.stack([f for _, f, *_ in made]))
    tokens = torch.full((BATCH, longest), EOT)
    target = torch.zeros(BATCH, longest - 1, VOCABULARY)
    weight = torch.zeros(BATCH, longest - 1)
    look = torch.zeros(BATCH, longest - 1, POSITIONS)
    for row, (_, _, ids, looks) in enumerate(made):
        tokens[row, : len(ids)] = torch.tensor(ids)
        for at in range(len(ids) - 1):
            goal = ids[at + 1]
            weight[row, at] = 0.1 if goal in (EN, TASK, NO_TIMES) else 1.0
            if goal >= T0:
                near = torch.arange(POSITIONS + 1, dtype=torch.float32) - (goal - T0)
                target[row, at, T0:] = torch.softmax(-0.5 * (near / 1.2) ** 2, 0)
            else:
                target[row, at, goal] = 1
            if at == 0 and len(ids) <= 5:
                target[row, at] = 0
                target[row, at, NO_SPEECH] = 1
                weight[row, at] = 1.0
            if at + 1 < len(looks) and looks[at + 1]:
                start, end = looks[at + 1]
                begin = min(POSITIONS - 1, int(start * 50))
                look[row, at, begin:max(begin + 1, min(POSITIONS, int(end * 50)))] = 1
    return mel, frames, tokens, target, weight, look


# ---- the model, under the published names

def gelu(x):
    """Not torch's own: its gradient is garbage behind a convolution in Debian's torch 1.13 (1e28 where 1 is right)."""
    return 0.5 * x * (1 + torch.erf(x * 0.5 ** 0.5))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.k_proj = nn.Linear(D, D, bias=False)
        self.v_proj, self.q_proj, self.out_proj = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x, source, mask=None):
        heads = lambda y: y.view(y.shape[0], y.shape[1], HEADS, -1).transpose(1, 2)
        q, k, v = heads(self.q_proj(x) * (D // HEADS) ** -0.5), heads(self.k_proj(source)), heads(self.v_proj(source))
        scores = q @ k.transpose(2, 3)
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        return self.out_proj((weights @ v).transpose(1, 2).reshape(x.shape)), weights


class Layer(nn.Module):
    def __init__(self, crossed):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(), nn.LayerNorm(D)
        if crossed:
            self.encoder_attn, self.encoder_attn_layer_norm = Attention(), nn.LayerNorm(D)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(D, FEED), nn.Linear(FEED, D), nn.LayerNorm(D)

    def forward(self, x, source=None, mask=None):
        y = self.self_attn_layer_norm(x)
        x = x + self.self_attn(y, y, mask)[0]
        weights = None
        if source is not None:
            made, weights = self.encoder_attn(self.encoder_attn_layer_norm(x), source)
            x = x + made
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x)))), weights


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(MELS, D, 3, padding=1), nn.Conv1d(D, D, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(POSITIONS, D)
        scale = torch.exp(-math.log(10000) / (D // 2 - 1) * torch.arange(D // 2))
        angles = torch.arange(POSITIONS)[:, None] * scale[None]
        self.embed_positions.weight = nn.Parameter(torch.cat([angles.sin(), angles.cos()], 1), requires_grad=False)
        self.layers = nn.ModuleList(Layer(False) for _ in range(ENCODER_LAYERS))
        self.layer_norm = nn.LayerNorm(D)

    def forward(self, mel):
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2) + self.embed_positions.weight
        for layer in self.layers:
            x = layer(x)[0]
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens, self.embed_positions = nn.Embedding(VOCABULARY, D), nn.Embedding(TARGETS, D)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        nn.init.normal_(self.embed_positions.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(True) for _ in range(DECODER_LAYERS))
        self.layer_norm = nn.LayerNorm(D)

    def forward(self, ids, source):
        count = ids.shape[1]
        x = self.embed_tokens(ids) + self.embed_positions.weight[:count]
        mask = torch.full((count, count), -1e9).triu(1)
        looked = None
        for at, layer in enumerate(self.layers):
            x, weights = layer(x, source, mask)
            if at == ALIGNMENT_HEAD[0]:
                looked = weights[:, ALIGNMENT_HEAD[1]]
        return self.layer_norm(x) @ self.embed_tokens.weight.T, looked


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()


def save(model, folder):
    os.makedirs(folder, exist_ok=True)
    tensors = {f"model.{name}": value.detach().numpy().astype("<f4") for name, value in sorted(model.state_dict().items())}
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = dict(dtype="F32", shape=list(value.shape), data_offsets=[at, at + value.nbytes])
        at += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{folder}/model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            file.write(value.tobytes())
    dump = lambda name, value: open(f"{folder}/{name}", "w").write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    dump("tokenizer.json", TOKENIZER)
    dump("config.json", dict(
        model_type="whisper", architectures=["WhisperForConditionalGeneration"], activation_function="gelu", vocab_size=VOCABULARY,
        num_mel_bins=MELS, d_model=D, encoder_layers=ENCODER_LAYERS, decoder_layers=DECODER_LAYERS, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=FEED, decoder_ffn_dim=FEED, max_source_positions=POSITIONS,
        max_target_positions=TARGETS, decoder_start_token_id=SOT, eos_token_id=EOT, bos_token_id=EOT, pad_token_id=EOT,
        scale_embedding=False, median_filter_width=7))
    dump("generation_config.json", dict(
        decoder_start_token_id=SOT, eos_token_id=EOT, pad_token_id=EOT, no_timestamps_token_id=NO_TIMES,
        prev_sot_token_id=SPECIAL["<|startofprev|>"], is_multilingual=True, lang_to_id={"<|en|>": EN},
        task_to_id={"transcribe": TASK, "translate": SPECIAL["<|translate|>"]}, alignment_heads=[list(ALIGNMENT_HEAD)],
        max_initial_timestamp_index=50, suppress_tokens=[], begin_suppress_tokens=[EOT], max_length=TARGETS))
    dump("preprocessor_config.json", dict(feature_size=MELS, sampling_rate=RATE_HZ, hop_length=HOP, n_fft=FFT, chunk_length=WINDOW_S))


def main():
    folder, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3600
    espeak, data = Espeak(), []
    while len(data) < UTTERANCES:
        made = utterance(espeak)
        if made:
            data.append(made)
    print(f"{len(data)} utterances, {sum(len(w) for _, w in data)} words, vocabulary {VOCABULARY}", flush=True)
    model, probe = Words(), nn.Linear(D, len(WORDS) + 1)
    parameters = [p for p in [*model.parameters(), *probe.parameters()] if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0, betas=(0.9, 0.98), weight_decay=0.01)
    sums = np.zeros(5)
    for step in range(1, steps + 1):
        rate = 2.5e-3 * min(1, step / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        mel, frames, tokens, target, weight, look = batch(data)
        source = model.encoder(mel)
        logits, looked = model.decoder(tokens[:, :-1], source)
        text = -(target * F.log_softmax(logits, -1)).sum(-1)
        text_loss = (text * weight).sum() / weight.sum()
        frame_loss = F.cross_entropy(probe(source).flatten(0, 1), frames.flatten())
        seen = look.sum(-1) > 0
        look_loss = -torch.log((looked * look).sum(-1)[seen] + 1e-6).mean()
        loss = text_loss + 0.5 * frame_loss + 0.3 * look_loss
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        words = (target.argmax(-1) < EOT) & (weight > 0)
        right = (logits.argmax(-1) == target.argmax(-1))[words].float().mean()
        sums += [text_loss.item(), frame_loss.item(), look_loss.item(), right.item(), 1]
        if step % 100 == 0:
            text_mean, frame_mean, look_mean, share, _ = sums / sums[4]
            print(f"step {step} text {text_mean:.3f} frame {frame_mean:.3f} look {look_mean:.3f} words {share:.3f}", flush=True)
            sums[:] = 0
        if step % 500 == 0 or step == steps:
            save(model, folder)


main()
