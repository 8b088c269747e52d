//! Descriptors: sizes as text, read and written. There are two forms: `mb1ic64ih56oc64oh56kh3ph1` and `1x64x56x56`.

use super::axis::Pad;
use crate::window::Window;
use std::fmt;

/// Field names, in benchdnn's order.
const NAMES: [&str; 16] = [
    "g", "mb", "ic", "ih", "iw", "oc", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw",
];

/// The given values, in the order of [`NAMES`].
pub(super) struct Fields([Option<usize>; NAMES.len()]);

impl Fields {
    pub(super) fn read(descriptor: &str) -> Result<Self, String> {
        let mut values = [None; NAMES.len()];
        let mut rest = descriptor;
        while !rest.is_empty() {
            // The layer's name follows the sizes.
            if rest.starts_with('n') || rest.starts_with("_n") {
                break;
            }
            let digits = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (name, tail) = rest.split_at(digits);
            let end = tail
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (number, tail) = tail.split_at(end);
            let name = name.trim_start_matches('_');
            let index = NAMES.iter().position(|n| *n == name).ok_or_else(|| {
                format!(
                    "unknown field '{name}': the fields are {}",
                    NAMES.join(", ")
                )
            })?;
            let value = number.parse().map_err(|_| match number {
                "" => format!("{name} has no number"),
                _ => format!("{name}{number} is too large"),
            })?;
            if values[index].replace(value).is_some() {
                return Err(format!("{name} is given twice"));
            }
            rest = tail;
        }
        Ok(Fields(values))
    }

    pub(super) fn get(&self, name: &str) -> Option<usize> {
        NAMES
            .iter()
            .position(|n| *n == name)
            .and_then(|i| self.0[i])
    }

    pub(super) fn need(&self, name: &str) -> Result<usize, String> {
        self.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    /// Height and width. Without any width field, the width equals the height, as in benchdnn. Without any height
    /// field, the problem is one-dimensional.
    fn axes(&self) -> Result<[AxisFields; 2], String> {
        match (self.axis('h')?, self.axis('w')?) {
            (Some(h), Some(w)) => Ok([h, w]),
            (Some(h), None) => Ok([h, h]),
            (None, Some(w)) => Ok([AxisFields::FLAT, w]),
            (None, None) => Err("ih is missing".into()),
        }
    }

    /// Fields of the axis `name`; `None` if none of them is given.
    fn axis(&self, name: char) -> Result<Option<AxisFields>, String> {
        let field = |kind: char| format!("{kind}{name}");
        if "iokspd"
            .chars()
            .all(|kind| self.get(&field(kind)).is_none())
        {
            return Ok(None);
        }
        let size = self.need(&field('i'))?;
        let kernel = self.need(&field('k'))?;
        let stride = self.get(&field('s')).unwrap_or(1);
        let dilation = self.get(&field('d')).unwrap_or(0).saturating_add(1);
        let out = self.get(&field('o'));
        let reach = |out: usize| {
            let extent = kernel.saturating_sub(1).saturating_mul(dilation);
            let last = out.saturating_sub(1).saturating_mul(stride);
            last.saturating_add(extent).saturating_add(1)
        };
        // Without `p`, the padding is half of what the output size needs.
        let needed = |out| reach(out).saturating_sub(size) / 2;
        let before = self
            .get(&field('p'))
            .unwrap_or_else(|| out.map_or(0, needed));
        let after = out.map_or(before, |out| {
            reach(out).saturating_sub(size.saturating_add(before))
        });
        Ok(Some(AxisFields {
            size,
            kernel,
            stride,
            dilation,
            before,
            after,
            out,
        }))
    }

    /// Sizes of a layer with windows: height, then width.
    pub(super) fn windows(&self) -> Result<WindowFields, String> {
        let [v, h] = self.axes()?;
        Ok(WindowFields {
            size: [v.size, h.size],
            kernel: [v.kernel, h.kernel],
            stride: [v.stride, h.stride],
            dilation: [v.dilation, h.dilation],
            pad: Pad {
                top: v.before,
                left: h.before,
                bottom: v.after,
                right: h.after,
            },
            out: [v.out, h.out],
        })
    }

    /// Number of images, 2 by default.
    pub(super) fn images(&self) -> usize {
        self.get("mb").unwrap_or(2)
    }

    /// n, c, h, w of a layer whose fields are all in `names`. Default height 1, default width equal to the height.
    pub(super) fn maps(&self, names: &[&str]) -> Result<[usize; 4], String> {
        let mut given = NAMES.iter().zip(self.0).filter(|(_, v)| v.is_some());
        if let Some((name, _)) = given.find(|(name, _)| !names.contains(name)) {
            let names = names.join(", ");
            return Err(format!(
                "{name} has no meaning here: the fields are {names}"
            ));
        }
        let h = self.get("ih").unwrap_or(1);
        let w = self.get("iw").unwrap_or(h);
        Ok([self.images(), self.need("ic")?, h, w])
    }
}

/// Sizes of a layer with windows, as its descriptor gives them: height, then width.
pub(super) struct WindowFields {
    pub(super) size: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) pad: Pad,
    /// Outputs, if they are given.
    out: [Option<usize>; 2],
}

impl WindowFields {
    /// Checks the given numbers of outputs against those that follow from the other sizes.
    pub(super) fn check_out(&self, [_, _, h, w]: [usize; 4]) -> Result<(), String> {
        for (name, given, derived) in [("oh", self.out[0], h), ("ow", self.out[1], w)] {
            if let Some(given) = given.filter(|&given| given != derived) {
                return Err(format!(
                    "{name} is {given}, but the other sizes make it {derived}"
                ));
            }
        }
        Ok(())
    }
}

/// Fields of one axis, defaults filled in.
#[derive(Clone, Copy)]
struct AxisFields {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
    out: Option<usize>,
}

impl AxisFields {
    /// The height of a one-dimensional problem.
    const FLAT: AxisFields = AxisFields {
        size: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        before: 0,
        after: 0,
        out: None,
    };
}

/// Parses `NxCxHxW`.
pub(super) fn read_dims(text: &str) -> Result<[usize; 4], String> {
    let dims: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let dims = dims.ok().and_then(|dims| dims.try_into().ok());
    dims.ok_or_else(|| format!("'{text}' should be NxCxHxW, such as 1x64x56x56"))
}

/// Text of dims: `1x64x56x56`.
pub(super) fn dims([n, c, h, w]: [usize; 4]) -> String {
    format!("{n}x{c}x{h}x{w}")
}

/// Writes the descriptor of a layer without windows: `mb1ic64ih56`.
pub(super) fn write_maps(f: &mut dyn fmt::Write, [n, c, h, w]: [usize; 4]) -> fmt::Result {
    write!(f, "mb{n}ic{c}")?;
    let axes = if h == w { Axes::Square } else { Axes::Both };
    write_pair(f, "i", [h, w], axes)
}

/// Writes the descriptor of a layer with windows. `c_out` is `None` for a layer that keeps the channels.
pub(super) fn write_windows(
    f: &mut dyn fmt::Write,
    [n, c_in]: [usize; 2],
    c_out: Option<usize>,
    windows: &[Window; 2],
) -> fmt::Result {
    let sizes = |size: fn(&Window) -> usize| windows.each_ref().map(size);
    let (input, out, kernel) = (sizes(|w| w.size), sizes(|w| w.out), sizes(|w| w.kernel));
    let (stride, pad) = (sizes(|w| w.stride), sizes(|w| w.before));
    let holes = sizes(|w| w.dilation - 1);
    let all = [input, out, kernel, stride, pad, holes];
    // All width fields or none, all height fields or none: benchdnn needs all fields of an axis if it has one.
    let axes = if all.iter().all(|[h, w]| h == w) {
        Axes::Square
    } else if all.map(|[h, _]| h) == [1, 1, 1, 1, 0, 0] {
        Axes::Line
    } else {
        Axes::Both
    };
    write!(f, "mb{n}ic{c_in}")?;
    write_pair(f, "i", input, axes)?;
    if let Some(c_out) = c_out {
        write!(f, "oc{c_out}")?;
    }
    write_pair(f, "o", out, axes)?;
    write_pair(f, "k", kernel, axes)?;
    if stride != [1, 1] {
        write_pair(f, "s", stride, axes)?;
    }
    write_pair(f, "p", pad, axes)?;
    if holes != [0, 0] {
        write_pair(f, "d", holes, axes)?;
    }
    Ok(())
}

/// Axes whose fields are written.
#[derive(Clone, Copy, PartialEq)]
enum Axes {
    /// Height only: the width's fields are equal.
    Square,
    /// Width only: the height is 1.
    Line,
    /// Both.
    Both,
}

fn write_pair(f: &mut dyn fmt::Write, name: &str, [h, w]: [usize; 2], axes: Axes) -> fmt::Result {
    if axes != Axes::Line {
        write!(f, "{name}h{h}")?;
    }
    if axes != Axes::Square {
        write!(f, "{name}w{w}")?;
    }
    Ok(())
}
