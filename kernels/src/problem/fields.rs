//! Parser of a descriptor's sizes: `mb1ic64ih56oc64oh56kh3ph1`.

use super::{ConvSpec, Pad, PoolKind, PoolSpec};

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

    fn get(&self, name: &str) -> Option<usize> {
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
    pub(super) fn axes(&self) -> Result<[AxisFields; 2], String> {
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

    pub(super) fn conv(&self, v: AxisFields, h: AxisFields) -> Result<ConvSpec, String> {
        Ok(ConvSpec {
            n: self.get("mb").unwrap_or(2),
            c_in: self.need("ic")?,
            h: v.size,
            w: h.size,
            c_out: self.need("oc")?,
            kernel: [v.kernel, h.kernel],
            stride: [v.stride, h.stride],
            pad: pad(v, h),
            dilation: [v.dilation, h.dilation],
            groups: self.get("g").unwrap_or(1),
            flip: false,
        })
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
        Ok([self.get("mb").unwrap_or(2), self.need("ic")?, h, w])
    }

    pub(super) fn pool(
        &self,
        v: AxisFields,
        h: AxisFields,
        kind: PoolKind,
    ) -> Result<PoolSpec, String> {
        let c = self.need("ic")?;
        if let Some(oc) = self.get("oc").filter(|&oc| oc != c) {
            return Err(format!(
                "oc is {oc} and ic is {c}: a pooling keeps the channels"
            ));
        }
        if self.get("g").is_some() {
            return Err("a pooling has no groups".into());
        }
        Ok(PoolSpec {
            n: self.get("mb").unwrap_or(2),
            c,
            h: v.size,
            w: h.size,
            kernel: [v.kernel, h.kernel],
            stride: [v.stride, h.stride],
            pad: pad(v, h),
            dilation: [v.dilation, h.dilation],
            kind,
            ceil: false,
        })
    }
}

/// Fields of one axis, defaults filled in.
#[derive(Clone, Copy)]
pub(super) struct AxisFields {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
    pub(super) out: Option<usize>,
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

fn pad(vertical: AxisFields, horizontal: AxisFields) -> Pad {
    Pad {
        top: vertical.before,
        left: horizontal.before,
        bottom: vertical.after,
        right: horizontal.after,
    }
}
