//! What must hold for any checkpoint: caches, streams, batches and quantised weights change nothing that can be heard.

use std::collections::HashMap;

use candle_core::{DType, Device, safetensors};
use engine::qwen3_tts::{Batch, End, LoadConfig, Model, Pace, Precision, PromptRequest, SlotConfig, SlotId, Speaker};
use proptest::prelude::*;

use crate::folders::{copy, model};

fn named(text: &'static str, speaker: &'static str) -> PromptRequest<'static> {
    PromptRequest { text, language: "english", speaker: Speaker::Named(speaker), instruct: "", pace: Pace::Whole }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Five texts of several lengths, speakers and ways.
fn requests() -> Vec<PromptRequest<'static>> {
    let step = |request| PromptRequest { pace: Pace::Stepwise, ..request };
    vec![
        named("hello world and the end.", "ryan"),
        step(named("the user and the world", "vivian")),
        named("hello", "eric"),
        step(named("hello world and the end. hello the world.", "dylan")),
        named("Grüße, 你好!", "aiden"),
    ]
}

fn slots(model: &Model, least_frames: usize) -> Vec<SlotConfig> {
    (0..5).map(|at| SlotConfig { watch: false, ..model.slot_config(40 + at, least_frames + at as usize) }).collect()
}

/// Steps until nobody is left; `before` runs before each step and may let slots join or leave.
fn run(mut batch: Batch, mut before: impl FnMut(usize, &mut Batch)) -> HashMap<SlotId, Vec<Vec<u32>>> {
    let mut said: HashMap<SlotId, Vec<Vec<u32>>> = HashMap::new();
    for step in 0..200 {
        before(step, &mut batch);
        if batch.is_empty() && step > 10 {
            return said;
        }
        for progress in batch.step().unwrap() {
            said.entry(progress.slot).or_default().extend(progress.frame);
        }
    }
    panic!("the batch never ends");
}

fn batched_equals_single(precision: Precision, least_frames: usize) {
    let model = model("custom_voice", precision);
    let (requests, slots) = (requests(), slots(&model, least_frames));
    let singles: Vec<_> = requests.iter().zip(&slots).map(|(request, slot)| model.utter(request, *slot).unwrap().frames).collect();
    // One joins at each second step; the third leaves after a while, unheard.
    let mut ids = Vec::new();
    let said = run(model.batch(), |step, batch| {
        if step % 2 == 0 && ids.len() < requests.len() {
            ids.push(model.join(batch, &requests[ids.len()], slots[ids.len()]).unwrap());
        }
        if step == 6 {
            batch.leave(ids[2]);
        }
    });
    for (at, (id, single)) in ids.iter().zip(&singles).enumerate() {
        let said = &said[id];
        if at == 2 {
            assert!(said.len() < single.len() && single.starts_with(said), "the one that left");
        } else {
            assert_eq!(said, single, "slot {at} felt its neighbours");
        }
    }
    assert!(singles.iter().any(|single| single.len() > 4), "the slots never met");
}

#[test]
fn a_batch_says_what_its_slots_say_alone() {
    batched_equals_single(Precision::F32, 9);
}

#[test]
fn a_quantised_batch_says_what_its_slots_say_alone() {
    batched_equals_single(Precision::Q8, 5);
}

#[test]
fn a_cache_changes_nothing() {
    let model = model("custom_voice", Precision::F32);
    for request in requests() {
        let slot = SlotConfig { record: true, watch: false, ..model.slot_config(3, 8) };
        let spoken = model.utter(&request, slot).unwrap();
        let record = spoken.record.unwrap();
        for frames in 0..=spoken.frames.len() {
            let uncached = model.parts().logits(&request, &spoken.frames[..frames]).unwrap();
            assert!(largest_difference(&record.logits[frames], &uncached) < 2e-4, "after {frames} frames");
        }
    }
}

#[test]
fn the_seed_decides() {
    let model = model("voice_design", Precision::F32);
    let request = PromptRequest {
        text: "hello world and the end.",
        language: "auto",
        speaker: Speaker::Described,
        instruct: "a warm voice",
        pace: Pace::Whole,
    };
    let say = |seed| model.utter(&request, model.slot_config(seed, 12)).unwrap().frames;
    assert_eq!(say(1), say(1));
    assert_ne!(say(1), say(2));
    assert_ne!(say(1), say(1 << 40));
}

#[test]
fn quantised_logits_stay_near() {
    let exact = model("custom_voice", Precision::F32);
    for (precision, share) in [(Precision::Q8, 0.01), (Precision::Q4, 0.1)] {
        let rough = model("custom_voice", precision);
        for request in requests() {
            let frames = exact.utter(&request, exact.slot_config(1, 6)).unwrap().frames;
            let (a, b) = (exact.parts().logits(&request, &frames).unwrap(), rough.parts().logits(&request, &frames).unwrap());
            assert!(b.iter().all(|logit| logit.is_finite()));
            let (least, most) = a.iter().fold((f32::MAX, f32::MIN), |(least, most), logit| (least.min(*logit), most.max(*logit)));
            let squares = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let apart = (squares / a.len() as f32).sqrt() / (most - least);
            let farthest = largest_difference(&a, &b) / (most - least);
            assert!(apart < share && apart > 0.0 && farthest < 2.5 * share, "{precision:?}: {apart}, {farthest} of the logits' range");
        }
    }
}

#[test]
fn a_slot_ends_at_its_limit() {
    let model = model("custom_voice", Precision::F32);
    let slot = |max_frames| SlotConfig { max_frames, ..model.slot_config(5, 0) };
    let request = requests()[0];
    let one = model.utter(&request, slot(1)).unwrap();
    let three = model.utter(&request, slot(3)).unwrap();
    assert_eq!((one.frames.len(), one.end), (1, End::Capped));
    assert_eq!((three.frames.len(), three.end), (3, End::Capped));
    assert_eq!(one.frames[0], three.frames[0]);
}

/// Published talkers are stored in half the bits; here both copies hold the same values.
#[test]
fn a_checkpoint_in_bf16_speaks_like_its_f32_copy() {
    let request = requests()[0];
    let frames = [DType::BF16, DType::F32].map(|dtype| {
        let folder = copy("custom_voice");
        let path = folder.path().join("model.safetensors");
        let weights = safetensors::load(&path, &Device::Cpu).unwrap().into_iter();
        let rounded = weights.map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap().to_dtype(dtype).unwrap()));
        safetensors::save(&rounded.collect::<HashMap<_, _>>(), &path).unwrap();
        let model = Model::load(&LoadConfig { folder: folder.path().to_owned(), precision: Precision::F32 }).unwrap();
        model.utter(&request, SlotConfig { watch: false, ..model.slot_config(2, 6) }).unwrap().frames
    });
    assert!(!frames[0].is_empty());
    assert_eq!(frames[0], frames[1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_decodes_what_the_whole_does(
        frames in prop::collection::vec(prop::collection::vec(0_u32..64, 16), 1..30),
        cuts in prop::collection::vec(1_usize..9, 1..30),
    ) {
        let model = model("base", Precision::F32);
        let (_, whole) = model.parts().decoder(&frames).unwrap();
        let mut stream = model.decode_stream();
        let (mut streamed, mut rest, mut cuts) = (Vec::new(), &frames[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (next, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            streamed.extend(stream.push(next).unwrap());
            rest = after;
        }
        prop_assert_eq!(streamed.len(), frames.len() * model.samples_per_frame());
        prop_assert!(largest_difference(&streamed, &whole) < 1e-5);
    }
}
