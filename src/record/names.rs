//! Names in a record: instruction sets, candidates, states of the caches. Any text is a name, so that records of other
//! programs can be read.

use convroof_kernels::instance::Cold;
use convroof_kernels::registry::Threading;
use convroof_kernels::{Isa, VariantId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// Instruction set of a measurement or of a ceiling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum IsaName {
    /// An instruction set of this program.
    Isa(Isa),
    /// `auto`: a peer's library chooses. Its ceiling is the machine's best peak.
    Auto,
    /// An instruction set that this program can't name.
    Other(String),
}

impl IsaName {
    /// The name in ids.
    pub fn as_str(&self) -> &str {
        match self {
            IsaName::Isa(isa) => isa.name(),
            IsaName::Auto => "auto",
            IsaName::Other(name) => name,
        }
    }
}

impl From<Isa> for IsaName {
    fn from(isa: Isa) -> Self {
        IsaName::Isa(isa)
    }
}

impl From<&str> for IsaName {
    fn from(name: &str) -> Self {
        match (name, name.parse()) {
            ("auto", _) => IsaName::Auto,
            (_, Ok(isa)) => IsaName::Isa(isa),
            (other, Err(_)) => IsaName::Other(other.into()),
        }
    }
}

impl From<String> for IsaName {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl From<IsaName> for String {
    fn from(name: IsaName) -> Self {
        match name {
            IsaName::Other(name) => name,
            known => known.as_str().into(),
        }
    }
}

impl fmt::Display for IsaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Name of a candidate: `<algorithm>/<isa>/<st|mt>` of a variant, `peer-<library>-<form>/auto/<st|mt>` of a peer.
///
/// Any text is a name. Missing parts are empty or unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct CandidateId {
    // The first field, so that names are ordered like their texts.
    text: String,
    /// Length of the algorithm's id in the text, bytes.
    algorithm: usize,
    isa: IsaName,
    threading: Option<Threading>,
    /// End of the library's name in the text, bytes; none unless it is a peer.
    library: Option<usize>,
}

impl CandidateId {
    const PEER: &str = "peer-";

    /// The name of a peer's library in one of its forms.
    pub fn peer(library: &str, form: &str, threading: Threading) -> Self {
        let (peer, threading) = (Self::PEER, threading.name());
        format!("{peer}{library}-{form}/auto/{threading}").into()
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The algorithm's id; `peer-<library>-<form>` for a peer.
    pub fn algorithm(&self) -> &str {
        &self.text[..self.algorithm]
    }

    /// The instruction set.
    pub fn isa(&self) -> &IsaName {
        &self.isa
    }

    /// One thread or more; none if the name has no such part.
    pub fn threading(&self) -> Option<Threading> {
        self.threading
    }

    /// The variant; none for a peer or a name that no variant of this program can have.
    pub fn variant(&self) -> Option<VariantId> {
        self.text.parse().ok()
    }

    /// True for a peer's library.
    pub fn is_peer(&self) -> bool {
        self.library.is_some()
    }

    /// The library's name; none unless it is a peer.
    pub fn library(&self) -> Option<&str> {
        Some(&self.text[Self::PEER.len()..self.library?])
    }
}

impl From<String> for CandidateId {
    fn from(text: String) -> Self {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let (algorithm, isa, threading) = (next(), IsaName::from(next()), next());
        let known = |t: &Threading| t.name() == threading;
        let threading = Threading::ALL.into_iter().find(known);
        let library = algorithm.strip_prefix(Self::PEER).map(|name| {
            let length = name.find('-').unwrap_or(name.len());
            Self::PEER.len() + length
        });
        CandidateId {
            algorithm: algorithm.len(),
            isa,
            threading,
            library,
            text,
        }
    }
}

impl From<&str> for CandidateId {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl From<&VariantId> for CandidateId {
    fn from(id: &VariantId) -> Self {
        id.to_string().into()
    }
}

impl From<VariantId> for CandidateId {
    fn from(id: VariantId) -> Self {
        (&id).into()
    }
}

impl From<CandidateId> for String {
    fn from(id: CandidateId) -> Self {
        id.text
    }
}

impl Deref for CandidateId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq<&str> for CandidateId {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// State of the caches at the beginning of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheState {
    /// All data that fit are in the caches, from the run before.
    Warm,
    /// These operands were not used for long, so they are not in the caches.
    Cold(Cold),
}

impl CacheState {
    /// All states.
    pub const ALL: [CacheState; 3] = [
        CacheState::Warm,
        CacheState::Cold(Cold::Weights),
        CacheState::Cold(Cold::Everything),
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            CacheState::Warm => "warm",
            CacheState::Cold(Cold::Weights) => "weights-cold",
            CacheState::Cold(Cold::Everything) => "cold",
        }
    }
}

impl fmt::Display for CacheState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CacheState {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let state = CacheState::ALL.into_iter().find(|s| s.name() == name);
        state.ok_or_else(|| format!("{name}: expected warm, weights-cold or cold"))
    }
}

/// The states of the caches in which a run measures. Warm is always the first, since the others are compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStates(Vec<CacheState>);

impl Deref for CacheStates {
    type Target = [CacheState];
    fn deref(&self) -> &[CacheState] {
        &self.0
    }
}

impl fmt::Display for CacheStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(|s| s.name()).collect();
        f.pad(&names.join(","))
    }
}

impl FromStr for CacheStates {
    type Err = String;
    fn from_str(names: &str) -> Result<Self, String> {
        let mut states = vec![CacheState::Warm];
        for name in names.split(',').map(str::trim) {
            let state = name.parse();
            let state = state.map_err(|why: String| format!("{why}, several with commas"))?;
            if !states.contains(&state) {
                states.push(state);
            }
        }
        Ok(CacheStates(states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_says_what_it_can() {
        let of = |text: &str| {
            let id = CandidateId::from(text);
            assert_eq!(id.as_str(), text);
            (
                id.algorithm().to_string(),
                id.isa().clone(),
                id.threading(),
                id.library().map(str::to_string),
            )
        };
        let peer = |library: &str| Some(library.to_string());
        assert_eq!(
            of("gemm-1x1/avx2/mt"),
            (
                "gemm-1x1".into(),
                Isa::Avx2.into(),
                Some(Threading::Mt),
                None
            )
        );
        assert_eq!(
            of("peer-onednn-any/auto/st"),
            (
                "peer-onednn-any".into(),
                IsaName::Auto,
                Some(Threading::St),
                peer("onednn")
            )
        );
        assert_eq!(
            CandidateId::peer("onednn", "any", Threading::St),
            "peer-onednn-any/auto/st"
        );
        let sve = IsaName::Other("sve2".into());
        assert_eq!(of("mine/sve2/x"), ("mine".into(), sve, None, None));
        assert_eq!(
            of("peer-x"),
            ("peer-x".into(), IsaName::Other("".into()), None, peer("x"))
        );
        assert_eq!(of(""), ("".into(), IsaName::Other("".into()), None, None));
    }

    #[test]
    fn states_have_warm_first_and_each_once() {
        let states: CacheStates = "cold, weights-cold,cold".parse().expect("states");
        assert_eq!(states.to_string(), "warm,cold,weights-cold");
        let wrong = "warm,hot".parse::<CacheStates>().expect_err("no state");
        assert_eq!(
            wrong,
            "hot: expected warm, weights-cold or cold, several with commas"
        );
    }
}
