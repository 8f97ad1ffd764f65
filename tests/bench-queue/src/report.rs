//! Samples in, medians and ratios out, as a table for people or JSON for programs. It judges nothing: aims stand beside the figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Load;
use crate::syncs::Syncs;

/// What one contender did in one round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub done: usize,
    pub took: Duration,
    pub syncs: Syncs,
}

impl Sample {
    fn per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
}

#[derive(Debug)]
pub struct Report {
    load: Load,
    names: Vec<&'static str>,
    samples: BTreeMap<&'static str, Vec<Sample>>,
    ratios: Vec<(&'static str, f64, [f64; 2], Option<f64>)>,
    latencies: Vec<(&'static str, [f64; 3], Option<(f64, f64)>)>,
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

impl Report {
    pub fn new(load: &Load) -> Self {
        Self { load: load.clone(), names: Vec::new(), samples: BTreeMap::new(), ratios: Vec::new(), latencies: Vec::new() }
    }

    pub fn add(&mut self, name: &'static str, sample: Sample) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self.samples.entry(name).or_default().push(sample);
    }

    /// The median of the rounds' ratios, and the quartiles.
    pub fn ratio(&mut self, name: &'static str, of: &str, to: &str, aim: Option<f64>) {
        let pairs = self.samples[of].iter().zip(&self.samples[to]);
        let ratios = sorted(pairs.map(|(of, to)| of.per_second() / to.per_second()));
        self.ratios.push((name, quantile(&ratios, 0.5), [quantile(&ratios, 0.25), quantile(&ratios, 0.75)], aim));
    }

    /// Aims are for p50 and p99, in ms.
    pub fn latency(&mut self, name: &'static str, times: Vec<Duration>, aim: Option<(f64, f64)>) {
        let times = sorted(times.iter().map(|time| time.as_secs_f64() * 1e3));
        self.latencies.push((name, [quantile(&times, 0.5), quantile(&times, 0.99), quantile(&times, 1.0)], aim));
    }

    fn figures(&self, name: &str) -> [f64; 3] {
        let samples = &self.samples[name];
        let rates = sorted(samples.iter().map(Sample::per_second));
        let of = |syncs: fn(&Syncs) -> u64| sorted(samples.iter().map(|sample| syncs(&sample.syncs) as f64 / sample.done as f64));
        [quantile(&rates, 0.5), quantile(&of(|syncs| syncs.log), 0.5), quantile(&of(|syncs| syncs.other), 0.5)]
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let build = if cfg!(debug_assertions) { "a debug build: the figures mean little" } else { "an optimised build" };
        let _ = writeln!(text, "{} rounds, {build}\n", self.load.rounds);
        let _ = writeln!(text, "{:<58}{:>12}{:>14}{:>14}", "", "a second", "log syncs", "other syncs");
        for name in &self.names {
            let [rate, log, other] = self.figures(name);
            let _ = writeln!(text, "{name:<58}{rate:>12.0}{log:>14.2}{other:>14.2}");
        }
        let _ = writeln!(text, "\n{:<58}{:>12}{:>16}{:>12}", "", "ratio", "quartiles", "aim");
        for (name, ratio, [low, high], aim) in &self.ratios {
            let aim = aim.map_or(String::new(), |aim| format!("{aim:.2}"));
            let _ = writeln!(text, "{name:<58}{ratio:>12.2}{:>16}{aim:>12}", format!("{low:.2} - {high:.2}"));
        }
        let _ = writeln!(text, "\n{:<58}{:>12}{:>10}{:>10}{:>14}", "", "p50 ms", "p99 ms", "max ms", "aim");
        for (name, [half, most, all], aim) in &self.latencies {
            let aim = aim.map_or(String::new(), |(half, most)| format!("{half:.0} / {most:.0}"));
            let _ = writeln!(text, "{name:<58}{half:>12.2}{most:>10.2}{all:>10.2}{aim:>14}");
        }
        text
    }

    pub fn json(&self) -> Value {
        let rates: Vec<Value> = self
            .names
            .iter()
            .map(|name| {
                let [rate, log, other] = self.figures(name);
                json!({"name": name, "per_s": rate, "log_syncs_each": log, "other_syncs_each": other})
            })
            .collect();
        let ratios = self.ratios.iter().map(|(name, ratio, quartiles, aim)| json!({"name": name, "ratio": ratio, "quartiles": quartiles, "aim": aim}));
        let latencies = self.latencies.iter().map(|(name, [half, most, all], aim)| {
            json!({"name": name, "p50_ms": half, "p99_ms": most, "max_ms": all, "aim_ms": aim.map(|(half, most)| [half, most])})
        });
        json!({
            "optimised": !cfg!(debug_assertions),
            "rounds": self.load.rounds,
            "rates": rates,
            "ratios": ratios.collect::<Vec<_>>(),
            "latencies": latencies.collect::<Vec<_>>(),
        })
    }
}
