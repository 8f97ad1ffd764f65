//! What a file looks like, by its first bytes: a picture with its size, a film, or neither. Names and types that the sender says are not
//! asked. PNG 1.2 (11.2.2), JPEG (ITU-T T.81 B.2.2), GIF89a (18), WebP (RFC 9649 2.5-2.7).

use std::io::Read;

use audio::decode::DecodeError;

use super::Sniffed;

/// The size of a JPEG stands behind its thumbnail.
const HEAD_BYTES_MAX: u64 = 1024 * 1024;
/// Of a picture, in pixels.
const SIDE_MAX: u32 = 16_384;

pub(super) fn sniff(input: impl Read) -> Result<Sniffed, DecodeError> {
    let mut head = Vec::new();
    input.take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
    let Some((content_type, size)) = picture(&head) else {
        return Ok(film(&head).map_or(Sniffed::Other, |content_type| Sniffed::Film { content_type: content_type.into() }));
    };
    let (width, height) = size.ok_or_else(|| DecodeError::Malformed("a picture that does not say its size".into()))?;
    if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
        return Err(DecodeError::Malformed(format!("a picture of {width} x {height}, and each side may have 1 to {SIDE_MAX} pixels")));
    }
    Ok(Sniffed::Picture { content_type: content_type.into(), width, height })
}

type Size = Option<(u32, u32)>;

fn picture(head: &[u8]) -> Option<(&'static str, Size)> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(("image/png", big(head, 16).zip(big(head, 20))));
    }
    if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        return Some(("image/gif", little(head, 6, 2).zip(little(head, 8, 2))));
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some(("image/webp", webp(head)));
    }
    head.starts_with(&[0xff, 0xd8, 0xff]).then(|| ("image/jpeg", jpeg(head)))
}

fn webp(head: &[u8]) -> Size {
    match head.get(12..16)? {
        b"VP8X" => Some((little(head, 24, 3)? + 1, little(head, 27, 3)? + 1)),
        b"VP8L" => {
            let bits = little(head, 21, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => Some((little(head, 26, 2)? & 0x3fff, little(head, 28, 2)? & 0x3fff)),
        _ => None,
    }
}

/// From segment to segment until the one that says the size.
fn jpeg(head: &[u8]) -> Size {
    let mut at = 2;
    loop {
        while *head.get(at)? == 0xff && head.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let (mark, kind) = (*head.get(at)?, *head.get(at + 1)?);
        if mark != 0xff {
            return None;
        }
        // C4, C8 and CC are tables.
        if (0xc0..=0xcf).contains(&kind) && ![0xc4, 0xc8, 0xcc].contains(&kind) {
            let side = |at: usize| Some(u32::from(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?])));
            return Some((side(at + 7)?, side(at + 5)?));
        }
        let alone = kind == 0x01 || (0xd0..=0xd8).contains(&kind);
        let length = if alone { 0 } else { usize::from(u16::from_be_bytes([*head.get(at + 2)?, *head.get(at + 3)?])) };
        at += 2 + length;
    }
}

fn big(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

/// An integer of 2 to 4 bytes.
fn little(head: &[u8], at: usize, bytes: usize) -> Option<u32> {
    Some(head.get(at..at + bytes)?.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn film(head: &[u8]) -> Option<&'static str> {
    if head.get(4..8) == Some(b"ftyp") {
        return Some(if head.get(8..10) == Some(b"qt") { "video/quicktime" } else { "video/mp4" });
    }
    let starts = |start: &[u8]| head.starts_with(start);
    if starts(&[0x1a, 0x45, 0xdf, 0xa3]) {
        let webm = head[..head.len().min(64)].windows(4).any(|window| window == b"webm");
        return Some(if webm { "video/webm" } else { "video/x-matroska" });
    }
    if starts(b"RIFF") && head.get(8..12) == Some(b"AVI ") {
        return Some("video/x-msvideo");
    }
    if starts(b"OggS") {
        return Some("video/ogg");
    }
    if starts(b"FLV\x01") {
        return Some("video/x-flv");
    }
    if starts(&[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]) {
        return Some("video/x-ms-asf");
    }
    let transport = head.first() == Some(&0x47) && head.get(188) == Some(&0x47);
    (starts(&[0, 0, 1, 0xba]) || starts(&[0, 0, 1, 0xb3]) || transport).then_some("video/mpeg")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn looks(bytes: &[u8]) -> Option<(String, u32, u32)> {
        match sniff(bytes) {
            Ok(Sniffed::Picture { content_type, width, height }) => Some((content_type, width, height)),
            _ => None,
        }
    }

    #[test]
    fn pictures_say_their_size() {
        let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &640u32.to_be_bytes(), &480u32.to_be_bytes()].concat();
        assert_eq!(looks(&png), Some(("image/png".into(), 640, 480)));
        let gif = [&b"GIF89a"[..], &[0x80, 0x02, 0xe0, 0x01]].concat();
        assert_eq!(looks(&gif), Some(("image/gif".into(), 640, 480)));
        let jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 9, 9, 0xff, 0xc4, 0, 3, 9, 0xff, 0xff, 0xc2, 0, 11, 8, 1, 0xe0, 2, 0x80];
        assert_eq!(looks(&jpeg), Some(("image/jpeg".into(), 640, 480)));
        let extended = [&b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"[..], &[0x7f, 2, 0, 0xdf, 1, 0]].concat();
        assert_eq!(looks(&extended), Some(("image/webp".into(), 640, 480)));
        let lossless = [&b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f"[..], &(639u32 | 479 << 14).to_le_bytes()].concat();
        assert_eq!(looks(&lossless), Some(("image/webp".into(), 640, 480)));
        for whole in [&png[..], &gif, &jpeg, &extended, &lossless] {
            for cut in 12..whole.len() {
                assert!(looks(&whole[..cut]).is_none(), "cut at {cut}");
            }
        }
        let huge = [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &0x7fff_ffff_u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
        assert!(matches!(sniff(&huge[..]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn films_and_others_are_told_apart() {
        assert_eq!(sniff(&b"\0\0\0\x18ftypisom"[..]).unwrap(), Sniffed::Film { content_type: "video/mp4".into() });
        assert_eq!(sniff(&b"\x1a\x45\xdf\xa3...webm"[..]).unwrap(), Sniffed::Film { content_type: "video/webm".into() });
        for other in [&b""[..], b"RIFF\0\0\0\0WAVEfmt ", b"<svg xmlns=", b"#EXTM3U\nfile:///etc/passwd", &[0xff, 0xd8]] {
            assert_eq!(sniff(other).unwrap(), Sniffed::Other);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(start in 0usize..6, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let starts: [&[u8]; 6] = [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", &[0xff, 0xd8, 0xff], b"RIFF\0\0\0\0WEBPVP8X"];
            let _ = sniff(&[starts[start], &bytes].concat()[..]);
        }
    }
}
