//! Any JSON as a layout: refused with a 4xx, or what is taken can be mixed and lies within its bounds.
#![no_main]

use std::collections::{BTreeMap, HashMap};

use api::body;
use api::wire::timeline::LayoutRequest;
use audio::blocks::SampleFormat;
use jobs::arrange::{LayoutChange, TimelineView};
use jobs::timeline::{self, Layout, Sources, SpokenChunk};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    let chunks: Vec<_> =
        [(0, 1_000), (1, 500), (2, 2_000)].map(|(index, duration_ms)| SpokenChunk { index, duration_ms, pause_after_ms: 200 }).to_vec();
    let current = TimelineView {
        generation_id: Uuid::nil(),
        revision: 1,
        layout: timeline::layout_of_chunks(&chunks),
        takes: BTreeMap::new(),
        chunks_ms: chunks.iter().map(|chunk| (chunk.index, chunk.duration_ms)).collect(),
        media: Vec::new(),
    };
    let change = match body::parse::<LayoutRequest>(bytes).and_then(|request| request.into_change(&current)) {
        Ok(change) => change,
        Err(problem) => return assert!(problem.code.status().is_client_error(), "{problem:?}"),
    };
    let LayoutChange::Whole { tracks, blocks } = change else { return };
    let layout = Layout { tracks: tracks.unwrap_or(current.layout.tracks), blocks };
    let sources = Sources { chunks_ms: current.chunks_ms.clone(), media: HashMap::new() };
    if !timeline::check(&layout, &sources).is_empty() {
        return;
    }
    assert!((0..=timeline::LENGTH_MS_MAX).contains(&layout.duration_ms()));
    let format = SampleFormat { rate_hz: 48_000, channels: 2 };
    let score = timeline::score(&layout, &sources, format, None);
    for clip in &score.mix.clips {
        assert!(clip.start >= 0 && clip.track < layout.tracks.len() && clip.part_ms.start < clip.part_ms.end, "{clip:?}");
        assert!(clip.fade_in + clip.fade_out <= clip.frames + 2, "{clip:?}");
    }
    let moved = timeline::brought_up_to_date(layout, &chunks, &current.chunks_ms);
    assert!(timeline::check(&moved, &sources).is_empty());
});
