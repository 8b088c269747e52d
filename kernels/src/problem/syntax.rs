//! Drivers: how the text of a layer names its operation.

use super::attributes::{Attributes, Epilogue};
use super::axis::ShapeError;
use super::operation::Operation;

/// A driver of benchdnn, or one of this project: the flag that names an operation, and the flags that go with it.
pub(super) struct Driver {
    /// The flag: `--pool`.
    pub(super) flag: &'static str,
    /// Names that its `--alg` takes, for errors; empty if it takes none.
    pub(super) algs: &'static str,
    /// True for a lower-case name that its `--alg` takes.
    pub(super) takes_alg: fn(&str) -> bool,
    /// Names of the flags that only this driver, or few drivers, take.
    pub(super) flags: &'static [&'static str],
}

impl Driver {
    /// A driver without flags.
    pub(super) const fn new(flag: &'static str) -> Self {
        Driver {
            flag,
            algs: "",
            takes_alg: |_| false,
            flags: &[],
        }
    }
}

/// Text of a layer, as its driver reads it.
pub(super) struct Input<'a> {
    /// The driver's flag.
    pub(super) driver: &'static str,
    /// Value of `--alg` in lower case. The driver takes it.
    pub(super) alg: Option<&'a str>,
    /// The driver's own flags, with their values.
    pub(super) flags: &'a [&'a str],
    /// The sizes.
    pub(super) descriptor: &'a str,
}

impl<'a> Input<'a> {
    /// The last flag of this name, with its value.
    pub(super) fn flag(&self, name: &str) -> Option<&'a str> {
        let mut flags = self.flags.iter().rev();
        flags.find(|flag| flag_name(flag) == name).copied()
    }

    /// Checks that `--axis`, if it is given, means the channels.
    pub(super) fn check_axis(&self) -> Result<(), String> {
        match self.flag("--axis") {
            None | Some("--axis=1") => Ok(()),
            Some(flag) => Err(format!("unknown {flag}: expected --axis=1, the channels")),
        }
    }
}

/// Name of a flag: the part before its value.
pub(super) fn flag_name(flag: &str) -> &str {
    flag.split_once('=').map_or(flag, |(name, _)| name)
}

/// Operation that drivers name.
pub(super) trait Named: Operation + Sized {
    /// The drivers.
    const DRIVERS: &'static [Driver];

    /// Reads a layer. Tensors and operations that the driver itself adds are entered in the epilogue.
    fn read(input: &Input<'_>, epilogue: &mut Epilogue) -> Result<Self, Wrong>;
}

/// Operation of two layers. Its text is that of both, joined by ` + `.
pub(super) trait Fused: Operation + Sized {
    /// Joins two layers with their attributes; `None` if they are layers of other kinds.
    fn join(
        layers: [&dyn Operation; 2],
        attributes: [Attributes; 2],
    ) -> Result<Option<(Self, Attributes)>, Wrong>;
}

/// Error without the problem's text, which [`ParseError`](super::ParseError) adds.
pub(super) enum Wrong {
    Text(String),
    Shape(ShapeError),
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Wrong::Text(why)
    }
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Wrong::Text(why.into())
    }
}

impl From<ShapeError> for Wrong {
    fn from(why: ShapeError) -> Self {
        Wrong::Shape(why)
    }
}
