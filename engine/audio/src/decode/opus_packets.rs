//! Opus packets from a container that is not Ogg, where delay and gain stand in the track's header.
//!
//! Symphonia finds the packets but has no Opus decoder. It may not know containers.

use opus_pure::{MAX_PACKET_SAMPLES, OpusDecoder};

use super::DecodeError;

/// Opus decodes at this rate whatever it was made from.
pub(super) const OPUS_RATE_HZ: u32 = 48_000;

pub(super) struct OpusPackets {
    decoder: OpusDecoder,
    pub(super) channels: u16,
    gain: f32,
    /// Frames still to be dropped from the beginning: the encoder's delay.
    skip: usize,
    block: Vec<f32>,
}

impl OpusPackets {
    /// `header` is an `OpusHead` (RFC 7845, 5.1; Matroska keeps it whole) or the payload of an MP4 `dOps` box, which has the same
    /// fields in big-endian; symphonia puts the name `OpusHead` before either, but their versions are 1 and 0. Without a header: no
    /// delay, no gain, the track's own channel count.
    pub(super) fn new(header: Option<&[u8]>, track_channels: Option<u16>) -> Result<Self, DecodeError> {
        let header = header.unwrap_or_default();
        let fields = header.strip_prefix(b"OpusHead").unwrap_or(header);
        let big_endian = fields.first() == Some(&0);
        let number = |at: usize| {
            let bytes = fields.get(at..at + 2).and_then(|b| <[u8; 2]>::try_from(b).ok())?;
            Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let channels = fields.get(1).map(|&c| u16::from(c)).or(track_channels).unwrap_or(2);
        let family = fields.get(10).copied().unwrap_or(0);
        if !(1..=2).contains(&channels) || family > 1 {
            return Err(DecodeError::Unsupported(format!("opus with {channels} channels, mapping {family}")));
        }
        let decoder = OpusDecoder::new(OPUS_RATE_HZ as i32, usize::from(channels)).map_err(|e| DecodeError::Malformed(e.to_string()))?;
        let gain_db = f32::from(number(8).unwrap_or(0).cast_signed()) / 256.0;
        let gain = 10f32.powf(gain_db / 20.0);
        let skip = usize::from(number(2).unwrap_or(0));
        Ok(Self { decoder, channels, gain, skip, block: vec![0.0; MAX_PACKET_SAMPLES * usize::from(channels)] })
    }

    /// Appends what the packet holds, less `trim_end` frames; false if it is damaged.
    pub(super) fn decode(&mut self, packet: &[u8], trim_end: usize, out: &mut Vec<f32>) -> bool {
        let Ok(frames) = self.decoder.decode(packet, MAX_PACKET_SAMPLES, &mut self.block) else { return false };
        let from = self.skip.min(frames);
        self.skip -= from;
        let to = frames.saturating_sub(trim_end).max(from);
        let channels = usize::from(self.channels);
        out.extend(self.block[from * channels..to * channels].iter().map(|s| s * self.gain));
        true
    }
}
