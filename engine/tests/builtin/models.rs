//! Speakers to be cloned: other synthesisers on this machine, made from recordings of people (flite), and stock variants of
//! eSpeak NG that are no preset. What is not installed is left out.

use std::path::Path;
use std::process::{Command, Stdio};

use audio::blocks::SampleBlocks as _;
use audio::resample::ResampledBlocks;
use audio::wav::WavReader;
use engine::speech::SAMPLE_RATE_HZ;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Synthesiser {
    Flite(&'static str),
    Espeak(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    synthesiser: Synthesiser,
}

pub(crate) const MODELS: [Model; 6] = [
    Model { name: "slt", synthesiser: Synthesiser::Flite("slt") },
    Model { name: "rms", synthesiser: Synthesiser::Flite("rms") },
    Model { name: "awb", synthesiser: Synthesiser::Flite("awb") },
    Model { name: "kal", synthesiser: Synthesiser::Flite("kal16") },
    Model { name: "f4", synthesiser: Synthesiser::Espeak("en-gb+f4") },
    Model { name: "m7", synthesiser: Synthesiser::Espeak("en-us+m7") },
];

impl Model {
    /// 24 kHz; `None` where the synthesiser or the voice is missing.
    pub(crate) fn speak(&self, text: &str, folder: &Path) -> Option<Vec<f32>> {
        let wav = folder.join("model.wav");
        let mut command = match self.synthesiser {
            Synthesiser::Flite(voice) => {
                let mut command = Command::new("flite");
                command.args(["-voice", voice, "-t", text, "-o"]).arg(&wav);
                command
            }
            Synthesiser::Espeak(voice) => {
                let mut command = Command::new("espeak-ng");
                command.args(["-v", voice, "-w"]).arg(&wav).arg(text);
                command
            }
        };
        let _ = std::fs::remove_file(&wav);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        if !done.success() {
            return None;
        }
        let reader = WavReader::new(std::io::BufReader::new(std::fs::File::open(wav).ok()?)).ok()?;
        let mut blocks = ResampledBlocks::new(reader, SAMPLE_RATE_HZ).unwrap();
        let (mut samples, mut block) = (Vec::new(), vec![0.0; 8192]);
        loop {
            let got = blocks.read(&mut block).unwrap();
            if got == 0 {
                return (samples.len() > 24_000).then_some(samples);
            }
            samples.extend_from_slice(&block[..got]);
        }
    }
}
