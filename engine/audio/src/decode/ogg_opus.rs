//! `.opus` files: Ogg and Opus by one library that knows both, so that delay and end are cut to the sample (RFC 7845, 4.2 and 4.4).
//!
//! It may not know other codecs in Ogg.

use std::io::{self, BufReader, SeekFrom};

use opus_pure::{Error, MAX_PACKET_SAMPLES, OggOpusReader, OggPacket, OpusDecoder, Trim};

use super::opus_packets::OPUS_RATE_HZ;
use super::{DecodeError, MediaFormat, MediaInput};

/// More damaged packets than this in a row, and the rest of the file is given up.
pub(super) const MAX_DAMAGED_IN_A_ROW: u32 = 500;

pub(super) struct OggOpus {
    reader: OggOpusReader<BufReader<Box<dyn MediaInput>>>,
    decoder: OpusDecoder,
    trim: Trim,
    packet: OggPacket,
    block: Vec<f32>,
    channels: usize,
    packets: u64,
    pub(super) damaged_packets: u64,
}

/// Whether the first Ogg page begins an Opus stream; the input stands at its beginning afterwards.
pub(super) fn is_ogg_opus(input: &mut dyn MediaInput) -> Result<bool, DecodeError> {
    let mut head = [0u8; 300];
    input.seek(SeekFrom::Start(0))?;
    let mut got = 0;
    while got < head.len() {
        match input.read(&mut head[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    input.seek(SeekFrom::Start(0))?;
    // A page: 27 bytes, as many lacing values as byte 26 says, then the packet.
    let packet_at = 27 + usize::from(head[26]);
    Ok(head.starts_with(b"OggS") && head.get(packet_at..packet_at + 8) == Some(b"OpusHead"))
}

impl OggOpus {
    pub(super) fn open(input: Box<dyn MediaInput>) -> Result<(Self, MediaFormat), DecodeError> {
        let reader = OggOpusReader::new(BufReader::with_capacity(64 * 1024, input)).map_err(failed)?;
        let head = reader.head();
        let channels = u16::from(head.channel_count);
        if !(1..=2).contains(&channels) || head.mapping_family > 1 {
            return Err(DecodeError::Unsupported(format!("opus with {channels} channels, mapping {}", head.mapping_family)));
        }
        let decoder = head.decoder(OPUS_RATE_HZ as i32).map_err(failed)?;
        let trim = Trim::new(head, OPUS_RATE_HZ as i32, usize::from(channels)).map_err(failed)?;
        let media = MediaFormat {
            container: "ogg".to_owned(),
            codec: "opus".to_owned(),
            rate_hz: OPUS_RATE_HZ,
            channels,
            declared_frames: None,
            claimed_frames: None,
        };
        let channels = usize::from(channels);
        let block = vec![0.0; MAX_PACKET_SAMPLES * channels];
        let packet = OggPacket::default();
        Ok((Self { reader, decoder, trim, packet, block, channels, packets: 0, damaged_packets: 0 }, media))
    }

    /// A page that is broken or cut off ends the sound; what was there is kept.
    fn next_packet(&mut self) -> Result<bool, DecodeError> {
        match self.reader.read_packet_into(&mut self.packet) {
            Ok(more) => {
                self.packets += u64::from(more);
                Ok(more)
            }
            Err(Error::InvalidStream(_)) if self.packets > 0 => {
                self.damaged_packets += 1;
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, DecodeError> {
        out.clear();
        let mut in_a_row = 0;
        while self.next_packet()? {
            match self.decoder.decode(&self.packet.data, MAX_PACKET_SAMPLES, &mut self.block) {
                Ok(frames) => {
                    out.extend_from_slice(self.trim.keep(&self.packet, &self.block[..frames * self.channels]));
                    if !out.is_empty() {
                        return Ok(true);
                    }
                }
                Err(_) => {
                    self.damaged_packets += 1;
                    in_a_row += 1;
                    if in_a_row > MAX_DAMAGED_IN_A_ROW {
                        return Err(DecodeError::Malformed("too many damaged packets".to_owned()));
                    }
                }
            }
        }
        Ok(false)
    }
}

/// What an `.opus` file is and its frames, from its packets' own headers, without decoding.
pub(super) fn measure(input: Box<dyn MediaInput>) -> Result<(MediaFormat, u64), DecodeError> {
    let (mut source, media) = OggOpus::open(input)?;
    let mut frames = 0;
    while source.next_packet()? {
        if let Ok(samples) = opus_pure::packet::samples_48k(&source.packet.data) {
            let kept = source.trim.keep_range(&source.packet, samples * source.channels);
            frames += (kept.len() / source.channels) as u64;
        }
    }
    Ok((media, frames))
}

fn failed(error: Error) -> DecodeError {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => DecodeError::Malformed("the file ends too early".to_owned()),
        Error::Io(error) => DecodeError::Io(error),
        other => DecodeError::Malformed(other.to_string()),
    }
}
