//! Cheap random numbers for choices that need not be secret (SplitMix64). A test can repeat them, because they come
//! from a seed.

/// The distance between two states.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number less than `end`; 0 if `end` is 0. The chances of the numbers differ by less than anyone can notice.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(end)) >> 64;
        // The product of `end` and a number below 2^64, shifted by 64 bits, is less than `end`.
        u64::try_from(scaled).unwrap_or(0)
    }

    /// The algorithm and constants of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }
}

/// The random number that belongs to a place in a row: numbers for many threads, which count the places together.
#[must_use]
pub fn random_at(place: u64) -> u64 {
    mix(place.wrapping_add(1).wrapping_mul(STEP))
}

fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!((random_at(0), random_at(1)), (0xe220_a839_7b1d_cdaf, random.next()));
        let mut random = Random::new(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn numbers_are_spread_and_below_their_end() {
        let mut random = Random::new(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let number = random.below(10);
            counts[usize::try_from(number).unwrap_or(usize::MAX)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }
}
