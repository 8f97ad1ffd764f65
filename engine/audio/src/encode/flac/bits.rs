//! Bits, most significant first, and the two checksums of a frame. It may not know what the bits mean.

/// Grows by bits; read as bytes when it stands at a byte.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet, right-aligned.
    held: u64,
    count: u32,
}

impl BitWriter {
    /// The lowest `bits` bits of `value`, at most 32.
    pub(super) fn put(&mut self, value: u64, bits: u32) {
        self.held = self.held << bits | (value & ((1 << bits) - 1));
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.held >> self.count) as u8);
        }
        self.held &= (1 << self.count) - 1;
    }

    /// The lowest `bits` bits of a signed number in two's complement.
    pub(super) fn put_signed(&mut self, value: i64, bits: u32) {
        self.put(value.cast_unsigned(), bits);
    }

    /// `zeros` zeros and a one.
    pub(super) fn put_unary(&mut self, zeros: u64) {
        let mut left = zeros;
        while left >= 32 {
            self.put(0, 32);
            left -= 32;
        }
        self.put(1, left as u32 + 1);
    }

    /// Zeros up to the next byte.
    pub(super) fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }

    /// What is there in whole bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// x^8 + x^2 + x + 1, over the header of a frame.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, |c, _| if c & 0x80 == 0 { c << 1 } else { c << 1 ^ 0x07 }))
}

/// x^16 + x^15 + x^2 + 1, over the whole frame.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = table();
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}
