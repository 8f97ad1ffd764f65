//! Every stage and every case of a golden folder, computed here and compared. Used by the example and by the tests.
//!
//! Nothing is fitted to one folder: texts, sizes, cases and lengths are read. A golden tensor that nobody compared is itself out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine::qwen3_tts::{
    ClonePrompt, End, LoadConfig, Model, Pace, Precision, PromptRequest, Record, SlotConfig, Speaker, Utterance, Variant,
};
use serde::Deserialize;

/// Largest absolute differences that are float noise (`../shared/reference/README.md`).
const EMBEDDING: f32 = 1e-5;
/// Not the 1e-5 of that list: the reference's own f32 transform gives mel frames 1.4e-5 apart on two CPUs (torch 2.8), through the logarithm
/// of quiet bands.
const MEL: f32 = 5e-5;
const HIDDEN: f32 = 1e-4;
const LOGITS: f32 = 2e-4;
const WAVE: f32 = 1e-4;
const EXACT: f32 = 0.0;

/// The reference decodes so many frames at once, after so many that it has decoded before.
const REFERENCE_CHUNK: (usize, usize) = (300, 25);

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Largest absolute difference; infinite where the shapes differ or nothing was computed.
    pub(crate) difference: f32,
    pub(crate) tolerance: f32,
    note: String,
}

impl Line {
    pub(crate) fn ok(&self) -> bool {
        self.difference <= self.tolerance
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, difference, tolerance, note } = self;
        let verdict = if self.ok() { "ok" } else { "OUT" };
        write!(f, "{name:<40} {difference:>9.2e}  tolerance {tolerance:.0e}  {verdict}{note}")
    }
}

#[derive(Debug, Deserialize)]
struct Golden {
    variant: Variant,
    cases: BTreeMap<String, Case>,
    greedy: Greedy,
    text: String,
    #[serde(default)]
    instruct: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Greedy {
    do_sample: bool,
    subtalker_dosample: bool,
    repetition_penalty: f32,
    max_new_tokens: usize,
}

#[derive(Debug, Deserialize)]
struct Case {
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    speaker: Option<String>,
    #[serde(default)]
    instruct: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    ref_text: Option<String>,
    language: String,
    non_streaming: bool,
    first_codebook: Vec<u32>,
    ended_by_eos: bool,
}

type Failure = Box<dyn std::error::Error>;

/// The golden tensors, and what was found of them.
struct Bench {
    golden: HashMap<String, Tensor>,
    lines: Vec<Line>,
}

pub(crate) fn run(folder: &Path) -> Result<Vec<Line>, Failure> {
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(folder.join("golden.json"))?)?;
    if golden.greedy.do_sample || golden.greedy.subtalker_dosample {
        return Err("the cases were sampled, and cannot be repeated".into());
    }
    let tensors = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)?;
    let model = Model::load(&LoadConfig { folder: folder.to_owned(), precision: Precision::F32 })?;
    if model.config().tts_model_type != golden.variant {
        return Err("golden.json is of another variant than the checkpoint".into());
    }
    let mut bench = Bench { golden: tensors, lines: Vec::new() };
    bench.ids(&model, &golden)?;
    bench.recording(&model)?;
    bench.codec(&model)?;
    for (name, case) in &golden.cases {
        bench.case(&model, &golden, name, case)?;
    }
    bench.golden.remove("ref_wav");
    bench.golden.remove("ref_xvector");
    let mut rest: Vec<String> = bench.golden.keys().cloned().collect();
    rest.sort();
    for name in rest {
        bench.line(&name, f32::INFINITY, EXACT, "  nothing computes this");
    }
    Ok(bench.lines)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>, Failure> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn whole(rows: &[Vec<u32>]) -> Vec<f32> {
    rows.iter().flatten().map(|code| *code as f32).collect()
}

/// The rows of a golden tensor of two dimensions, or of three with a batch of one.
fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>, Failure> {
    let tensor = if tensor.rank() == 3 { tensor.squeeze(0)? } else { tensor.clone() };
    Ok(tensor.to_dtype(DType::F32)?.to_vec2()?)
}

fn transposed(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    (0..rows.first().map_or(0, Vec::len)).map(|at| rows.iter().map(|row| row[at] as u32).collect()).collect()
}

fn largest_difference(ours: &[f32], golden: &[f32]) -> f32 {
    if ours.len() != golden.len() {
        return f32::INFINITY;
    }
    let difference = |(a, b): (&f32, &f32)| (a - b).abs();
    ours.iter().zip(golden).map(difference).fold(0.0, |worst, next| if next.is_nan() { f32::INFINITY } else { worst.max(next) })
}

impl Bench {
    fn line(&mut self, name: &str, difference: f32, tolerance: f32, note: &str) {
        self.lines.push(Line { name: name.to_owned(), difference, tolerance, note: note.to_owned() });
    }

    fn take(&mut self, name: &str) -> Option<Tensor> {
        self.golden.remove(name)
    }

    /// Compares with a golden tensor, where there is one.
    fn compare(&mut self, name: &str, ours: &[f32], tolerance: f32) -> Result<(), Failure> {
        if let Some(golden) = self.take(name) {
            let golden = flat(&golden)?;
            let note = if ours.len() == golden.len() { String::new() } else { format!("  {} values, not {}", ours.len(), golden.len()) };
            self.line(name, largest_difference(ours, &golden), tolerance, &note);
        }
        Ok(())
    }

    fn ids(&mut self, model: &Model, golden: &Golden) -> Result<(), Failure> {
        let parts = model.parts();
        let mut check = |name: &str, ids: Vec<u32>| self.compare(name, &whole(&[ids]), EXACT);
        check("text_ids", parts.text_ids(&golden.text)?)?;
        if let Some(text) = golden.cases.values().find_map(|case| case.ref_text.as_deref()) {
            check("ref_ids", parts.reference_ids(text)?)?;
        }
        if let Some(instruct) = &golden.instruct {
            check("instruct_ids", parts.instruct_ids(instruct)?)?;
        }
        Ok(())
    }

    fn recording(&mut self, model: &Model) -> Result<(), Failure> {
        let Some(samples) = self.golden.get("ref_wav").map(flat).transpose()? else { return Ok(()) };
        self.compare("ref_mel", &model.mel(&samples)?.concat(), MEL)?;
        // Looked at and not taken: the prompts below are compared with it in its place, so that they are held to their own tolerance.
        if let Some(golden) = self.golden.get("ref_xvector").map(flat).transpose()? {
            self.line("ref_xvector", largest_difference(&model.x_vector(&samples)?, &golden), HIDDEN, "");
        }
        let [seanet, transformer, downsample] = model.parts().encoder(&samples)?;
        self.compare("enc_seanet", &flat(&seanet)?, HIDDEN)?;
        self.compare("enc_transformer", &flat(&transformer)?, HIDDEN)?;
        self.compare("enc_downsample", &flat(&downsample)?, HIDDEN)?;
        self.compare("ref_codes", &whole(&model.encode(&samples)?), EXACT)
    }

    fn codec(&mut self, model: &Model) -> Result<(), Failure> {
        let Some(codes) = self.take("dec.codes") else { return Ok(()) };
        let frames = transposed(&rows(&codes)?);
        let ([quantized, pre_conv, pre_transformer], wav) = model.parts().decoder(&frames)?;
        self.compare("dec.quantized", &flat(&quantized)?, HIDDEN)?;
        self.compare("dec.pre_conv", &flat(&pre_conv)?, HIDDEN)?;
        self.compare("dec.pre_transformer", &flat(&pre_transformer)?, HIDDEN)?;
        let streamed = largest_difference(&model.decode(&frames)?, &wav);
        self.line("dec.wav, streamed against whole", streamed, EMBEDDING, "");
        self.compare("dec.wav", &wav, WAVE)?;
        let chunked: Vec<String> = self.golden.keys().filter(|name| name.starts_with("dec.wav_chunked_")).cloned().collect();
        for name in chunked {
            let sizes: Vec<usize> = name["dec.wav_chunked_".len()..].split('_').filter_map(|part| part.parse().ok()).collect();
            if let [chunk, context] = sizes[..] {
                self.compare(&name, &model.parts().decode_chunked(&frames, chunk, context)?, WAVE)?;
            }
        }
        Ok(())
    }

    fn case(&mut self, model: &Model, golden: &Golden, name: &str, case: &Case) -> Result<(), Failure> {
        let clone = self.clone_prompt(model, case)?;
        let speaker = match (&clone, &case.speaker) {
            (Some(clone), _) => Speaker::Cloned(clone),
            (None, Some(speaker)) => Speaker::Named(speaker),
            (None, None) => Speaker::Described,
        };
        let request = PromptRequest {
            text: case.text.as_deref().unwrap_or(&golden.text),
            language: &case.language,
            speaker,
            instruct: case.instruct.as_deref().unwrap_or_default(),
            pace: if case.non_streaming { Pace::Whole } else { Pace::Stepwise },
        };
        let exact = self.with_golden_speaker(clone.as_ref())?;
        let speaker = exact.as_ref().map_or(request.speaker, Speaker::Cloned);
        let prompt = model.parts().prompt(&PromptRequest { speaker, ..request })?;
        self.compare(&format!("{name}.prefill_embeds"), &flat(&prompt.prefill)?, EMBEDDING)?;
        self.compare(&format!("{name}.prefill_mask"), &vec![1.0; prompt.prefill.dim(0)?], EXACT)?;
        self.compare(&format!("{name}.trailing_text"), &flat(&prompt.trailing)?, EMBEDDING)?;
        self.compare(&format!("{name}.tts_pad_embed"), &flat(&prompt.pad)?, EMBEDDING)?;
        let mut slot = SlotConfig { watch: false, record: true, ..model.slot_config(0, golden.greedy.max_new_tokens - 1) };
        (slot.first.sample, slot.others.sample) = (false, false);
        slot.repetition_penalty = golden.greedy.repetition_penalty;
        let utterance = model.utter(&request, slot)?;
        self.utterance(name, case, &utterance)?;
        let samples = reference_samples(model, clone.as_ref(), &utterance.frames)?;
        self.compare(&format!("{name}.wav"), &samples, WAVE)
    }

    fn utterance(&mut self, name: &str, case: &Case, utterance: &Utterance) -> Result<(), Failure> {
        let record = utterance.record.clone().unwrap_or_default();
        let Record { logits, hidden, predictor_logits, first_codes } = record;
        self.compare(&format!("{name}.talker_logits"), &logits.concat(), LOGITS)?;
        self.compare(&format!("{name}.talker_hidden"), &hidden.concat(), HIDDEN)?;
        self.compare(&format!("{name}.predictor_logits"), &predictor_logits.concat().concat(), LOGITS)?;
        self.compare(&format!("{name}.codes"), &whole(&utterance.frames), EXACT)?;
        let same = largest_difference(&whole(&[first_codes]), &whole(std::slice::from_ref(&case.first_codebook)));
        self.line(&format!("{name}, first codes"), same, EXACT, "");
        let ended = (utterance.end == End::Said) == case.ended_by_eos;
        self.line(&format!("{name}, its end"), if ended { 0.0 } else { f32::INFINITY }, EXACT, "");
        Ok(())
    }

    fn with_golden_speaker(&self, clone: Option<&ClonePrompt>) -> Result<Option<ClonePrompt>, Failure> {
        let (Some(clone), Some(golden)) = (clone, self.golden.get("ref_xvector")) else { return Ok(None) };
        Ok(Some(ClonePrompt { x_vector: flat(golden)?, ..clone.clone() }))
    }

    /// From the recording of the folder; nothing golden is put in between, so that what is spoken is compared from end to end.
    fn clone_prompt(&self, model: &Model, case: &Case) -> Result<Option<ClonePrompt>, Failure> {
        let Some(mode) = case.mode.as_deref() else { return Ok(None) };
        let Some(samples) = self.golden.get("ref_wav").map(flat).transpose()? else {
            return Err("a case clones, and the folder has no ref_wav".into());
        };
        let text = case.ref_text.as_deref().filter(|_| mode == "icl");
        Ok(Some(model.clone_prompt(&samples, text)?))
    }
}

/// The reference decodes its recording's frames before the new ones, and cuts their share away.
fn reference_samples(model: &Model, clone: Option<&ClonePrompt>, frames: &[Vec<u32>]) -> Result<Vec<f32>, Failure> {
    let before = clone.and_then(|clone| clone.reference.as_ref()).map_or(&[][..], |reference| &reference.codes);
    let all = [before, frames].concat();
    let samples = model.parts().decode_chunked(&all, REFERENCE_CHUNK.0, REFERENCE_CHUNK.1)?;
    let share = before.len() as f64 / all.len().max(1) as f64;
    Ok(samples[(share * samples.len() as f64) as usize..].to_vec())
}
