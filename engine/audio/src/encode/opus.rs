//! Opus in Ogg (RFC 7845), so that a decoder gives back exactly the frames that went in: the encoder's delay stands in the header, the
//! end in the last page.
//!
//! It may not hold more than one packet of sound.

use std::io::{Seek, Write};

use opus_pure::{Application, Error, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags};

use super::{EncodeError, comments, cut};
use crate::blocks::SampleFormat;
use crate::wav::Tags;

/// Any number does for a file with one stream; always the same one makes the same bytes.
const SERIAL: u32 = 0x434C_4F4E;
/// Packets of 20 ms.
const PACKETS_PER_SECOND: u32 = 50;
/// What the codec counts in.
const GRANULE_HZ: u32 = 48_000;

pub(super) struct OpusFile<W: Write> {
    encoder: OpusEncoder,
    writer: OggOpusWriter<W>,
    channels: usize,
    /// Frames of a packet.
    packet_frames: usize,
    pre_skip: u64,
    /// Granules of a frame: 48,000 divided by the rate, which is whole for every rate of Opus.
    granules: u64,
    pending: Vec<f32>,
    packet: Vec<u8>,
    frames: u64,
    packets: u64,
}

impl<W: Write + Seek> OpusFile<W> {
    pub(super) fn new(writer: W, format: SampleFormat, bitrate_bps: u32, tags: &Tags) -> Result<Self, EncodeError> {
        let channels = usize::from(format.channels);
        let most = 256_000 * u32::from(format.channels);
        if !(6_000..=most).contains(&bitrate_bps) {
            return Err(EncodeError::Refused(format!("opus at {bitrate_bps} bits a second, the limits are 6000 and {most}")));
        }
        let mut encoder = OpusEncoder::new(format.rate_hz as i32, channels, Application::Audio).map_err(failed)?;
        encoder.bitrate_bps = bitrate_bps as i32;
        let head = OpusHead::for_encoder(&encoder, format.rate_hz);
        let mut comment = OpusTags::new();
        for (name, text) in comments(tags) {
            comment.push(name, cut(text)).map_err(failed)?;
        }
        let pre_skip = u64::from(head.pre_skip);
        let writer = OggOpusWriter::with_serial(writer, head, comment, SERIAL).map_err(failed)?;
        Ok(Self {
            encoder,
            writer,
            channels,
            packet_frames: (format.rate_hz / PACKETS_PER_SECOND) as usize,
            pre_skip,
            granules: u64::from(GRANULE_HZ / format.rate_hz),
            pending: Vec::new(),
            packet: vec![0; MAX_PACKET_BYTES],
            frames: 0,
            packets: 0,
        })
    }

    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), EncodeError> {
        self.frames += (samples.len() / self.channels) as u64;
        let full = self.packet_frames * self.channels;
        let mut rest = samples;
        while !rest.is_empty() {
            let part = rest.len().min(full - self.pending.len());
            self.pending.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
            if self.pending.len() == full {
                // Never the last one: the delay asks for at least one packet more.
                self.write_packet(None)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        let delay = self.pre_skip.div_ceil(self.granules);
        let packets = (self.frames + delay).div_ceil(self.packet_frames as u64).max(1);
        let end = self.pre_skip + self.frames * self.granules;
        while self.packets < packets {
            self.pending.resize(self.packet_frames * self.channels, 0.0);
            // The granule is never negative in a file that starts at 0.
            let written = u64::try_from(self.writer.granule()).unwrap_or(0);
            let last = self.packets + 1 == packets;
            self.write_packet(last.then(|| u32::try_from(end.saturating_sub(written)).unwrap_or(0)))?;
        }
        self.writer.finish().map_err(failed)
    }

    fn write_packet(&mut self, duration: Option<u32>) -> Result<(), EncodeError> {
        let bytes = self.encoder.encode(&self.pending, self.packet_frames, &mut self.packet).map_err(failed)?;
        let packet = &self.packet[..bytes];
        match duration {
            Some(granules) => self.writer.write_packet_with_duration(packet, granules),
            None => self.writer.write_packet(packet),
        }
        .map_err(failed)?;
        self.packets += 1;
        self.pending.clear();
        Ok(())
    }
}

fn failed(error: Error) -> EncodeError {
    match error {
        Error::Io(error) => EncodeError::Write(error),
        other => EncodeError::Refused(format!("opus: {other}")),
    }
}
