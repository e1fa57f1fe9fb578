//! Short texts that stand for what objects say.

/// The letters of a hash: no vowels, so that no words come about, and none
/// that look alike.
pub(crate) const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The start of an FNV-1 or FNV-1a sum.
pub(crate) const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// Goes on with an FNV-1a sum.
pub(crate) fn fnv32a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// Goes on with an FNV-1 sum.
pub(crate) fn fnv32(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(*byte))
}

/// The sum as a part of a name.
pub(crate) fn text(hash: u32) -> String {
    let letters = hash.to_string();
    let letters = letters.bytes().filter_map(|digit| LETTERS.get(usize::from(digit) % LETTERS.len()));
    letters.map(|letter| char::from(*letter)).collect()
}
