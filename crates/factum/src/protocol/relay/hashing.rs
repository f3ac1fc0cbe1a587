//! How rows and keys are found: `seq`s by a multiplication, keys by SipHash with the machine's seed, because whoever
//! announces chooses them and could choose them to collide.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

/// For maps by `seq`, which the database counts up, so that nobody chooses it.
pub type BySeq = BuildHasherDefault<SeqHasher>;

/// Hashes a `seq`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_i64(i64::from(*byte)));
    }

    fn write_i64(&mut self, n: i64) {
        // Fibonacci hashing: the high bits, which the map looks at too, depend on all of them.
        let mixed = (self.0 ^ n.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// For maps by key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seeded(pub(super) u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
