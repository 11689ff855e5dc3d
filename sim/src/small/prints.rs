//! Fingerprints of states: 128 bits, by quickly mixing every word. Two states with the same fingerprint count as the same:
//! among some millions that is very unlikely, and would only hide one state.

use std::hash::Hasher;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prints {
    a: u64,
    b: u64,
}

impl Default for Prints {
    fn default() -> Prints {
        Prints { a: 0x243f_6a88_85a3_08d3, b: 0x1319_8a2e_0370_7344 }
    }
}

impl Prints {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.a ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.a = (product as u64) ^ (product >> 64) as u64 ^ self.b.rotate_left(29);
        self.b = (self.b ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31).wrapping_add(self.a);
    }

    /// All of it.
    pub(crate) fn both(&self) -> u128 {
        u128::from(self.a) << 64 | u128::from(self.b)
    }
}

impl Hasher for Prints {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word) | 1 << 9);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.both() as u64
    }
}
