//! Chance that repeats: the same seed gives the same bytes, on every machine and in every version.
//!
//! So the generator is written out here (SplitMix64) instead of taken from a crate whose streams
//! may change, and nothing calls `ln`, `sin` or `powf`, whose last bit belongs to the platform:
//! additions, multiplications and divisions of IEEE 754 are exact everywhere.

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A stream for `seed`. `purpose` separates streams of one seed, so that drawing one more
    /// number for one purpose doesn't shift all the others.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Random { state: seed ^ purpose.wrapping_mul(0xd134_2543_de82_ef95) };
        random.bits();
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, each as likely as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(T, u32)]) -> T {
        let total: u64 = choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        for &(choice, weight) in choices {
            if left < u64::from(weight) {
                return choice;
            }
            left -= u64::from(weight);
        }
        unreachable!("a number below the sum of the weights falls on one of them")
    }
}

/// Who is how popular: few are chosen often, most hardly ever (Zipf's law).
///
/// The ranks are dealt to the members by chance, so that the popular ones don't all have small
/// numbers and fall on neighbouring keys.
#[derive(Clone, Debug)]
pub struct Popularity {
    /// `cumulative[i]`: the weight of the `i + 1` most popular.
    cumulative: Vec<f64>,
    /// Which member has which rank.
    members: Vec<u32>,
}

impl Popularity {
    /// `count` members; the one of rank `k` has weight `1 / k`. (The exponent is 1 because that
    /// needs a division only, see the module's words on repeatability.)
    pub fn zipf(count: u32, random: &mut Random) -> Self {
        Self::weighted((1..=count).map(|rank| 1.0 / f64::from(rank)), random)
    }

    /// Members with the given weights, most popular first.
    pub fn weighted(weights: impl Iterator<Item = f64>, random: &mut Random) -> Self {
        let mut total = 0.0;
        let cumulative: Vec<f64> = weights
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        let mut members: Vec<u32> = (0..cumulative.len() as u32).collect();
        for last in (1..members.len()).rev() {
            members.swap(last, random.below(last as u64 + 1) as usize);
        }
        Popularity { cumulative, members }
    }

    /// A member, by popularity. Panics if there are no members.
    pub fn pick(&self, random: &mut Random) -> u32 {
        let total = self.cumulative[self.cumulative.len() - 1];
        let at = random.unit() * total;
        let rank = self.cumulative.partition_point(|&weight| weight <= at);
        self.members[rank.min(self.members.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_for_ever() {
        let mut random = Random::new(42, 1);
        let drawn: Vec<u64> = (0..3).map(|_| random.below(1_000_000)).collect();
        assert_eq!(drawn, PINNED);
    }

    /// Pinned: a change here changes every generated data set.
    const PINNED: [u64; 3] = [979_182, 8826, 910_465];

    #[test]
    fn purposes_of_one_seed_are_independent_streams() {
        assert_ne!(Random::new(7, 1).bits(), Random::new(7, 2).bits());
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut random = Random::new(1, 0);
        let drawn: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&6));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn the_most_popular_is_drawn_twice_as_often_as_the_second() {
        let mut random = Random::new(1, 0);
        let popularity = Popularity::zipf(1000, &mut random);
        let mut drawn = vec![0u32; 1000];
        for _ in 0..100_000 {
            drawn[popularity.pick(&mut random) as usize] += 1;
        }
        drawn.sort_unstable_by(|a, b| b.cmp(a));
        let ratio = f64::from(drawn[0]) / f64::from(drawn[1]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn weighted_choices_come_in_proportion() {
        let mut random = Random::new(1, 0);
        let rare = (0..10_000).filter(|_| random.weighted(&[(false, 9), (true, 1)])).count();
        assert!((850..1150).contains(&rare), "{rare}");
    }
}
