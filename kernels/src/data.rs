//! Seeded data for tests and benches. A seed gives equal values on every machine and in every version.

/// Distribution of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Integers from -4 to 4 without 0. Sums of up to 2^20 products are exact in f32.
    Integers,
    /// Uniform in [-1, 1).
    Uniform,
    /// Like outputs of a ReLU: half are 0, half uniform in [0, 1).
    PostRelu,
    /// Nearly Gaussian with variance 1: the sum of twelve uniform numbers, which is equal on every machine.
    Gaussian,
}

impl Fill {
    /// Largest magnitude of the values.
    pub fn magnitude(self) -> f64 {
        match self {
            Fill::Integers => 4.0,
            Fill::Uniform | Fill::PostRelu => 1.0,
            Fill::Gaussian => 6.0,
        }
    }
}

/// The `i`-th random number of a seed: in [0, 1), a multiple of 2^-24. It doesn't depend on other calls.
#[inline(always)]
pub fn uniform(seed: u64, i: u64) -> f32 {
    // A seed's sequence starts at the hash of the seed, so neighbouring seeds have no numbers in common.
    let mut start = Rng(seed);
    let start = start.bits();
    unit(Rng(start.wrapping_add(i.wrapping_mul(STEP))).bits())
}

/// 24 random bits as a fraction of 1.
#[inline(always)]
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Generator of the splitmix64 family (Steele, Lea and Flood 2014): small, and never changing.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// 64 random bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Random number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Random element of a list.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Shuffles a list, all orders equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }

    /// Fills a slice.
    pub fn fill(&mut self, fill: Fill, out: &mut [f32]) {
        for x in out {
            let bits = self.bits();
            *x = match fill {
                Fill::Integers => {
                    let magnitude = (bits >> 1 & 3) as f32 + 1.0;
                    if bits & 1 == 0 { magnitude } else { -magnitude }
                }
                Fill::Uniform => 2.0 * unit(bits) - 1.0,
                Fill::PostRelu => (2.0 * unit(bits) - 1.0).max(0.0),
                Fill::Gaussian => {
                    unit(bits) + (1..12).map(|_| unit(self.bits())).sum::<f32>() - 6.0
                }
            };
        }
    }

    /// A filled vector.
    pub fn vec(&mut self, fill: Fill, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        self.fill(fill, &mut out);
        out
    }
}
