//! A primitive with its memory.

use super::super::library::{Output, Prepared};
use super::api::{Api, Arg, Desc, Memory, Primitive, Tag};
use anyhow::{Result, bail, ensure};
use convroof_kernels::dtype::{Bf16, DType, Element};
use convroof_kernels::instance::POISON;
use convroof_kernels::reference::Operands;

/// Memory in the layout of a primitive, and the plain layout it is filled from.
pub(super) struct Operand {
    api: Api,
    desc: Desc,
    memory: Memory,
    plain: Desc,
    /// Type of the elements that it holds.
    dtype: DType,
}

impl Operand {
    pub(super) fn new(
        api: Api,
        desc: Desc,
        dtype: DType,
        (dims, plain): (&[usize], Tag),
    ) -> Result<Self> {
        Ok(Operand {
            api,
            memory: api.memory(&desc)?,
            desc,
            plain: api.desc(dims, dtype, plain)?,
            dtype,
        })
    }

    /// The operand with elements of another type of equal size. Reorders copy their bits.
    pub(super) fn holding(self, dtype: DType) -> Self {
        Operand { dtype, ..self }
    }

    fn fill(&mut self, from: &[f32]) -> Result<()> {
        fn convert<T: Element>(from: &[f32], to: &mut Memory) -> Result<()> {
            let elements = to.elements::<T>();
            let (len, given) = (elements.len(), from.len());
            ensure!(len == given, "{given} numbers for {len} elements");
            for (y, &x) in elements.iter_mut().zip(from) {
                *y = T::from_f32(x);
            }
            Ok(())
        }
        let mut plain = self.api.memory(&self.plain)?;
        match self.dtype {
            DType::F32 => convert::<f32>(from, &mut plain),
            DType::Bf16 => convert::<Bf16>(from, &mut plain),
            DType::S8 => convert::<i8>(from, &mut plain),
            DType::U8 => convert::<u8>(from, &mut plain),
            DType::S32 => convert::<i32>(from, &mut plain),
            other => bail!("no operand of {other}"),
        }?;
        self.api
            .reorder((&plain, &self.plain), (&self.memory, &self.desc))
    }

    fn read(&self) -> Result<Output> {
        fn convert<T: Element>(from: &mut Memory) -> Output {
            let elements = from.elements::<T>().iter();
            Output::F32(elements.map(|y| y.to_f64() as f32).collect())
        }
        let mut plain = self.api.memory(&self.plain)?;
        self.api
            .reorder((&self.memory, &self.desc), (&plain, &self.plain))?;
        Ok(match self.dtype {
            DType::F32 => convert::<f32>(&mut plain),
            DType::Bf16 => convert::<Bf16>(&mut plain),
            DType::S8 => convert::<i8>(&mut plain),
            DType::U8 => convert::<u8>(&mut plain),
            DType::S32 => Output::S32(plain.elements().to_vec()),
            other => bail!("no output of {other}"),
        })
    }
}

/// A primitive with its memory.
pub(super) struct PreparedOneDnn {
    pub(super) primitive: Primitive,
    pub(super) src: Operand,
    pub(super) weights: Option<Operand>,
    pub(super) bias: Option<Operand>,
    pub(super) residual: Option<Operand>,
    /// The residual is added where it lies in the destination's memory. So each run needs it there again.
    pub(super) sums: bool,
    /// Scales of the weights, one for each output channel.
    pub(super) scales: Option<Memory>,
    /// Scales and zero points that the problem states.
    pub(super) constants: Vec<(Arg, Memory)>,
    pub(super) dst: Operand,
    /// Index of the present byte of poison.
    pub(super) poison: usize,
}

impl PreparedOneDnn {
    /// A primitive without parameters.
    pub(super) fn new(primitive: Primitive, src: Operand, dst: Operand) -> Self {
        PreparedOneDnn {
            primitive,
            src,
            weights: None,
            bias: None,
            residual: None,
            sums: false,
            scales: None,
            constants: Vec::new(),
            dst,
            poison: 0,
        }
    }
}

impl Prepared for PreparedOneDnn {
    fn implementation(&self) -> String {
        self.primitive.implementation()
    }

    fn memory(&self) -> (u64, u64) {
        (
            self.weights.as_ref().map_or(0, |w| w.memory.bytes()) as u64,
            0,
        )
    }

    fn load(&mut self, x: Operands<'_>) -> Result<()> {
        self.src.fill(x.src)?;
        let fill = |to: &mut Option<Operand>, from: &[f32]| match to {
            Some(to) if !from.is_empty() => to.fill(from),
            _ => Ok(()),
        };
        fill(&mut self.weights, x.weights)?;
        fill(&mut self.bias, x.bias)?;
        fill(&mut self.residual, x.residual)?;
        if let Some(scales) = &mut self.scales
            && !x.scales.is_empty()
        {
            let scales = scales.elements::<f32>();
            let (len, given) = (scales.len(), x.scales.len());
            ensure!(len == given, "{given} scales for {len} channels");
            scales.copy_from_slice(x.scales);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut args = vec![(Arg::SRC, &self.src.memory), (Arg::DST, &self.dst.memory)];
        let mut add = |arg, memory: Option<_>| args.extend(memory.map(|memory| (arg, memory)));
        add(Arg::WEIGHTS, self.weights.as_ref().map(|o| &o.memory));
        add(Arg::BIAS, self.bias.as_ref().map(|o| &o.memory));
        let added = self.residual.as_ref().filter(|_| !self.sums);
        add(Arg::ADDED, added.map(|o| &o.memory));
        add(Arg::WEIGHTS.scales(), self.scales.as_ref());
        args.extend(self.constants.iter().map(|(arg, memory)| (*arg, memory)));
        self.primitive.run(&args)
    }

    fn poison(&mut self) {
        let output = self.dst.memory.elements::<u8>();
        match &mut self.residual {
            Some(residual) if self.sums => output.copy_from_slice(residual.memory.elements()),
            _ => {
                if self.dst.dtype.is_integer() {
                    self.poison = (self.poison + 1) % POISON.len();
                }
                output.fill(POISON[self.poison]);
            }
        }
    }

    fn output(&mut self) -> Result<Output> {
        if self.sums {
            // The timed runs added their own outputs.
            self.poison();
            self.run()?;
        }
        self.dst.read()
    }
}
