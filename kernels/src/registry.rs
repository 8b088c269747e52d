//! List of all algorithms. Tests, benches, command line and reports loop over it.

use crate::algo;
use crate::isa::Isa;
use crate::plan::Algorithm;
use std::fmt;
use std::str::FromStr;

/// Algorithms of this crate. A new one is a file in `algo/` and a line here.
///
/// It is no static: each program contains all that statics refer to, so unit tests would be built with all kernels.
fn builtin() -> Vec<&'static dyn Algorithm> {
    vec![
        &algo::direct_nchw::DirectNchw,
        &algo::direct::Direct,
        &algo::im2col::Im2col,
        &algo::implicit_gemm::ImplicitGemm,
        &algo::gemm_1x1::Gemm1x1,
        &algo::gemm_1x1::Gemm1x1Nhwc,
        &algo::gemm_1x1_nchw::Gemm1x1Nchw,
        &algo::strassen::Strassen1x1,
        &algo::stem::DirectMaxPool,
        &algo::pair::Gemm1x1Direct,
        &algo::winograd::F2X3,
        &algo::winograd::F4X3,
        &algo::winograd::F4X3_STD,
        &algo::winograd::F6X3,
        &algo::winograd::F2X5,
        &algo::winograd::F3X5,
        &algo::winograd::F4X5,
        &algo::winograd::F2X3_S2,
        &algo::winograd::F4X3_S2,
        &algo::winograd::F4X3_S2D,
        &algo::winograd::F4X4_S2D,
        &algo::fc::Fc,
        &algo::pointwise::COPY,
        &algo::pointwise::COPY_STREAM,
        &algo::pointwise::RELU,
        &algo::pointwise::RELU_STREAM,
        &algo::pointwise::ADD,
        &algo::pointwise::ADD_STREAM,
        &algo::pointwise::BIAS,
        &algo::pointwise::BIAS_STREAM,
        &algo::pointwise::BATCH_NORM,
        &algo::pointwise::BATCH_NORM_STREAM,
        &algo::statistics::TwoPass,
        &algo::statistics::Welford,
        &algo::softmax::Softmax,
        &algo::lrn::Lrn,
        &algo::concat::Concat,
        &algo::convert::Convert,
        &algo::pooling::MAX,
        &algo::pooling::AVG,
        &algo::pooling::GLOBAL_AVG,
        &algo::pooling::MAX_NHWC,
        &algo::pooling::AVG_NHWC,
        &algo::pooling::GLOBAL_AVG_NHWC,
        &algo::pooling::MAX_NCHW,
        &algo::pooling::AVG_NCHW,
        &algo::pooling::GLOBAL_AVG_NCHW,
        &algo::pooling::LP,
        &algo::pooling::LP_NHWC,
        &algo::pooling::LP_NCHW,
        &algo::pooling::STOCHASTIC,
        &algo::pooling::STOCHASTIC_NHWC,
        &algo::pooling::STOCHASTIC_NCHW,
        &algo::pooling::DRAW_NHWC,
        &algo::attention::Attention,
        &algo::bilinear::SUMS,
        &algo::bilinear::NORMALISED,
    ]
}

/// Single-threaded or multi-threaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Threading {
    /// Single-threaded: the calling thread.
    St,
    /// Multi-threaded: a pinned pool.
    Mt,
}

impl Threading {
    /// Both.
    pub const ALL: [Threading; 2] = [Threading::St, Threading::Mt];

    /// Name in variant ids.
    pub const fn name(self) -> &'static str {
        match self {
            Threading::St => "st",
            Threading::Mt => "mt",
        }
    }
}

/// Permanent name of a variant: `<algorithm>/<isa>/<st|mt>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariantId {
    /// The algorithm's id.
    pub algorithm: String,
    /// The instruction set.
    pub isa: Isa,
    /// Single-threaded or multi-threaded.
    pub threading: Threading,
}

impl fmt::Display for VariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{}/{}/{}",
            self.algorithm,
            self.isa,
            self.threading.name()
        ))
    }
}

impl FromStr for VariantId {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "'{s}' is not a variant: expected <algorithm>/<isa>/<st|mt>, such as direct/avx2/st"
            )
        };
        let mut parts = s.split('/');
        let (Some(algorithm), Some(isa), Some(threading), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wanted());
        };
        let threading = Threading::ALL.into_iter().find(|t| t.name() == threading);
        Ok(VariantId {
            algorithm: algorithm.to_string(),
            isa: isa.parse()?,
            threading: threading.ok_or_else(wanted)?,
        })
    }
}

/// One implementation that can be listed, checked and measured.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The algorithm.
    pub algorithm: &'static dyn Algorithm,
    /// The instruction set.
    pub isa: Isa,
    /// Single-threaded or multi-threaded.
    pub threading: Threading,
}

impl Variant {
    /// Permanent name.
    pub fn id(&self) -> VariantId {
        let algorithm = self.algorithm.meta().id.to_string();
        VariantId {
            algorithm,
            isa: self.isa,
            threading: self.threading,
        }
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// A list of algorithms.
#[derive(Clone)]
pub struct Registry {
    algorithms: Vec<&'static dyn Algorithm>,
}

impl Registry {
    /// Registry of this crate's algorithms.
    pub fn builtin() -> Self {
        Registry {
            algorithms: builtin(),
        }
    }

    /// Adds an algorithm, which may be from another crate. The whole suite then runs on it.
    ///
    /// # Panics
    /// If its id is taken.
    pub fn with(mut self, algorithm: &'static dyn Algorithm) -> Self {
        let id = algorithm.meta().id;
        assert!(
            self.algorithms.iter().all(|a| a.meta().id != id),
            "two algorithms called {id}"
        );
        self.algorithms.push(algorithm);
        self
    }

    /// The algorithms, in order.
    pub fn algorithms(&self) -> &[&'static dyn Algorithm] {
        &self.algorithms
    }

    /// Algorithm with an id.
    pub fn algorithm(&self, id: &str) -> Option<&'static dyn Algorithm> {
        self.algorithms.iter().copied().find(|a| a.meta().id == id)
    }

    /// Variants of every algorithm on each of `isas` that it supports, single- and multi-threaded.
    pub fn variants(&self, isas: &[Isa]) -> Vec<Variant> {
        let mut variants = Vec::new();
        for &algorithm in &self.algorithms {
            for &isa in isas
                .iter()
                .filter(|isa| algorithm.meta().isas.contains(isa))
            {
                for threading in Threading::ALL {
                    variants.push(Variant {
                        algorithm,
                        isa,
                        threading,
                    });
                }
            }
        }
        variants
    }

    /// Variant with an id, also on emulated instruction sets.
    ///
    /// # Errors
    /// An unknown part of the id, in one line with the known ones.
    pub fn find(&self, id: &VariantId) -> Result<Variant, String> {
        let known = || {
            self.algorithms
                .iter()
                .map(|a| a.meta().id)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let algorithm = self.algorithm(&id.algorithm).ok_or_else(|| {
            format!(
                "unknown algorithm '{}': there are {}",
                id.algorithm,
                known()
            )
        })?;
        if !algorithm.meta().isas.contains(&id.isa) {
            let isas: Vec<_> = algorithm.meta().isas.iter().map(|i| i.name()).collect();
            return Err(format!(
                "{} has no {} form: it has {}",
                id.algorithm,
                id.isa,
                isas.join(", ")
            ));
        }
        Ok(Variant {
            algorithm,
            isa: id.isa,
            threading: id.threading,
        })
    }
}
