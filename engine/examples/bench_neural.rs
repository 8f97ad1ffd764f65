//! Frames a second of the neural engine at the true sizes of Qwen3-TTS 0.6B, in every precision and for several slots; and the codec's.
//!
//! The weights are made up: what is measured does not depend on what they say. `make bench-neural`; the frames are fixed, the threads are
//! those of RAYON_NUM_THREADS. Beside it the speed at which this machine reads memory, because that is what a frame is made of.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use engine::qwen3_tts::{FRAMES_PER_S, LoadConfig, Model, Pace, Precision, PromptRequest, SlotConfig, Speaker};
use serde_json::{Value, json};

const FRAMES: usize = 24;
const BATCHES: [usize; 3] = [1, 4, 8];
/// Weights that a frame reads: the talker once and the predictor fifteen times.
const WEIGHTS_A_FRAME: f64 = 0.44e9 + 15.0 * 79e6;

fn main() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tts/custom_voice");
    let folder = tempfile::tempdir().unwrap();
    write_sizes(&fixture, folder.path());
    let read_gb_s = memory_gb_s();
    println!("memory: {read_gb_s:.1} GB/s read by one thread");
    println!("{:<6} {:>6} {:>10} {:>12} {:>10} {:>18}", "kept", "batch", "frames/s", "each slot/s", "real time", "of memory's speed");
    for (precision, name, bytes_a_weight) in
        [(Precision::F32, "f32", 4.0), (Precision::Q8, "q8_0", 34.0 / 32.0), (Precision::Q4, "q4_0", 18.0 / 32.0)]
    {
        let model = Model::made_up(&LoadConfig { folder: folder.path().to_owned(), precision }).unwrap();
        for batch in BATCHES {
            let (frames, seconds) = steps(&model, batch);
            let (all, each) = (frames as f64 / seconds, frames as f64 / seconds / batch as f64);
            let read = WEIGHTS_A_FRAME * bytes_a_weight * each / 1e9 / read_gb_s;
            let real_time = all / f64::from(FRAMES_PER_S);
            println!("{name:<6} {batch:>6} {all:>10.2} {each:>12.2} {real_time:>9.2}x {:>17.0}%", read * 100.0);
        }
        if precision == Precision::F32 {
            println!("codec  {:>6} {:>10.2}", 1, codec(&model));
        }
    }
}

/// Frames that all slots made together, and how long they took; prompts are read before.
fn steps(model: &Model, slots: usize) -> (usize, f64) {
    let request =
        PromptRequest { text: "hello world", language: "english", speaker: Speaker::Named("ryan"), instruct: "", pace: Pace::Whole };
    let mut batch = model.batch();
    for seed in 0..slots as u64 {
        let slot = SlotConfig { watch: false, ..model.slot_config(seed, FRAMES) };
        model.join(&mut batch, &request, slot).unwrap();
    }
    #[allow(clippy::disallowed_methods, reason = "what is measured here is time")]
    let started = Instant::now();
    let mut frames = 0;
    while !batch.is_empty() {
        frames += batch.step().unwrap().iter().filter(|progress| progress.frame.is_some()).count();
    }
    (frames, started.elapsed().as_secs_f64())
}

/// Frames a second that become samples, eight at a time.
fn codec(model: &Model) -> f64 {
    let frames: Vec<Vec<u32>> = (0..48).map(|at| (0..16).map(|group| (at * 37 + group * 11) % 2_048).collect()).collect();
    let mut stream = model.decode_stream();
    #[allow(clippy::disallowed_methods, reason = "what is measured here is time")]
    let started = Instant::now();
    for chunk in frames.chunks(8) {
        stream.push(chunk).unwrap();
    }
    frames.len() as f64 / started.elapsed().as_secs_f64()
}

/// One pass over more than fits any cache.
fn memory_gb_s() -> f64 {
    let numbers = vec![1_u64; 64 << 20];
    #[allow(clippy::disallowed_methods, reason = "what is measured here is time")]
    let started = Instant::now();
    let mut sums = [0_u64; 8];
    for eight in numbers.as_chunks::<8>().0 {
        sums.iter_mut().zip(eight).for_each(|(sum, number)| *sum = sum.wrapping_add(*number));
    }
    assert_eq!(std::hint::black_box(sums).iter().sum::<u64>(), numbers.len() as u64);
    (numbers.len() * 8) as f64 / 1e9 / started.elapsed().as_secs_f64()
}

/// The fixture's files with the sizes of Qwen3-TTS-12Hz-0.6B-CustomVoice and its codec.
fn write_sizes(fixture: &Path, folder: &Path) {
    fs::create_dir_all(folder.join("speech_tokenizer")).unwrap();
    for file in ["generation_config.json", "merges.txt", "vocab.json", "tokenizer_config.json"] {
        fs::copy(fixture.join(file), folder.join(file)).unwrap();
    }
    let layers = |count: u32| {
        json!({
            "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": count, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 32_768, "rope_theta": 1_000_000
        })
    };
    let talker = json!({
        "vocab_size": 3072, "text_hidden_size": 2048, "text_vocab_size": 151_936, "codec_bos_id": 2149, "codec_pad_id": 2148,
        "codec_eos_token_id": 2150, "codec_think_id": 2154, "codec_nothink_id": 2155, "codec_think_bos_id": 2156, "codec_think_eos_id": 2157,
        "codec_language_id": {"english": 2050}, "spk_id": {"ryan": 3061}, "spk_is_dialect": {"ryan": false}
    });
    let mut config = read(&fixture.join("config.json"));
    put(&mut config["talker_config"], &layers(28));
    put(&mut config["talker_config"], &talker);
    put(&mut config["talker_config"]["code_predictor_config"], &layers(5));
    put(&mut config["talker_config"]["code_predictor_config"], &json!({"vocab_size": 2048}));
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut codec = read(&fixture.join("speech_tokenizer/config.json"));
    let decoder = json!({
        "codebook_dim": 512, "codebook_size": 2048, "decoder_dim": 1536, "head_dim": 64, "hidden_size": 512, "intermediate_size": 1024,
        "latent_dim": 1024, "num_attention_heads": 16, "num_key_value_heads": 16, "num_hidden_layers": 8, "sliding_window": 72
    });
    let encoder = json!({
        "codebook_dim": 256, "codebook_size": 2048, "head_dim": 64, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
        "num_key_value_heads": 8, "num_filters": 64, "num_hidden_layers": 8, "sliding_window": 250, "upsample_groups": 512,
        "vector_quantization_hidden_dimension": 256
    });
    put(&mut codec["decoder_config"], &decoder);
    put(&mut codec["encoder_config"], &encoder);
    fs::write(folder.join("speech_tokenizer/config.json"), codec.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn put(config: &mut Value, sizes: &Value) {
    for (key, value) in sizes.as_object().unwrap() {
        config[key.as_str()] = value.clone();
    }
}
