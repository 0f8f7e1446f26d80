//! Random numbers that are functions of a row's number, so that no row depends on another.

/// SplitMix64's output function: a good hash of a counter.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A random number for a row and a purpose.
pub(crate) fn of_row(seed: u64, purpose: u64, row: u64) -> u64 {
    mix(mix(seed ^ (purpose << 56)).wrapping_add(row))
}

/// A number from 0 up to 1.
pub(crate) fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// A number from 0 up to `bound`, which it never reaches.
pub(crate) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
