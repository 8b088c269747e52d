//! Memory of a checked run: poisoned buffers between guard lines.

use crate::dtype::{Element, with_element};
use crate::exec::{Executor, Serial};
use crate::instance::Instance;
use crate::plan::Plan;
use crate::reference::Operands;
use crate::tensor::{
    AlignedBuf, CacheLine, Layout, OutOfMemory, Tensor, TensorDesc, TensorRef, as_elements,
    as_elements_mut, as_f32s, as_f32s_mut,
};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A buffer between two guard lines, filled with [`POISON`].
pub(super) struct Fenced {
    /// The buffer with its guard lines.
    lines: AlignedBuf,
}

const GUARD: f32 = 1.25e30;

/// Byte whose elements are NaN in f32 and bf16, and extreme or unlikely integers in other types.
const POISON: u8 = 0xff;

impl Fenced {
    fn new(lines: usize) -> Result<Self, OutOfMemory> {
        let mut lines = AlignedBuf::zeroed(lines + 2)?;
        as_f32s_mut(&mut lines).fill(GUARD);
        let mut fenced = Fenced { lines };
        as_elements_mut::<u8>(&mut fenced).fill(POISON);
        Ok(fenced)
    }

    fn is_intact(&self) -> bool {
        let guards = [self.lines.first(), self.lines.last()];
        let mut guards = guards.into_iter().flatten();
        guards.all(|line| as_f32s(std::slice::from_ref(line)) == [GUARD; CacheLine::F32S])
    }
}

impl Deref for Fenced {
    type Target = [CacheLine];
    fn deref(&self) -> &[CacheLine] {
        &self.lines[1..self.lines.len() - 1]
    }
}

impl DerefMut for Fenced {
    fn deref_mut(&mut self) -> &mut [CacheLine] {
        let last = self.lines.len() - 1;
        &mut self.lines[1..last]
    }
}

impl Instance<Fenced> {
    /// A plan with operands in fenced memory. Scratch is poisoned once, here. Later runs find the previous run's
    /// content.
    pub(super) fn fenced(plan: &Arc<dyn Plan>, x: Operands<'_>) -> Result<Self, String> {
        let instance = Instance::within(plan.clone(), Fenced::new);
        let mut instance = instance.map_err(|e| e.to_string())?;
        instance.load(x, &Serial);
        Ok(instance)
    }

    /// Runs on a poisoned output and returns it in plain NCHW.
    pub(super) fn run_checked(&mut self, exec: &dyn Executor) -> Result<Vec<f64>, String> {
        let inputs = self.inputs();
        self.poison_output();
        self.run(exec);
        let buffers = [
            ("output", Some(self.dst.lines())),
            ("packed weights", Some(&self.packed)),
            ("workspace", Some(&self.workspace)),
            ("source", Some(self.src.lines())),
            ("residual", self.residual.as_ref().map(Tensor::lines)),
        ];
        for (name, buffer) in buffers {
            if buffer.is_some_and(|b| !b.is_intact()) {
                return Err(format!("it wrote beyond the {name}"));
            }
        }
        let bytes = self.dst.desc().bytes();
        let mut beyond = as_elements::<u8>(self.dst.lines())[bytes..].iter();
        if beyond.any(|&byte| byte != POISON) {
            return Err("it wrote beyond the output".into());
        }
        if inputs != self.inputs() {
            return Err("it changed its source or its packed weights".into());
        }
        padding_is_zero(self.dst.view())?;
        self.exact_output_nchw(&Serial).map_err(|e| e.to_string())
    }

    /// Bytes that a run may not change: source and packed weights.
    fn inputs(&self) -> Vec<u8> {
        let lines: [&[CacheLine]; 2] = [self.src.lines(), &self.packed];
        lines.map(bytemuck::cast_slice::<_, u8>).concat()
    }
}

fn padding_is_zero(output: TensorRef<'_>) -> Result<(), String> {
    let desc = output.desc();
    let stored: Vec<f64> = with_element!(desc.dtype(), T => {
        output.elements::<T>().iter().map(|x| x.to_f64()).collect()
    });
    let Layout::NchwC(block) = desc.layout() else {
        return Ok(());
    };
    let [n, c, h, w] = desc.dims();
    // Channels of the padding are elements, too.
    let stored_channels = c.next_multiple_of(usize::from(block));
    let padded = TensorDesc::new(desc.dtype(), desc.layout(), [n, stored_channels, h, w]);
    for image in 0..n {
        for channel in c..stored_channels {
            for pixel in 0..h * w {
                let value = stored[padded.offset([image, channel, pixel / w, pixel % w])];
                if value != 0.0 {
                    return Err(format!(
                        "channel {channel}, beyond the {c} there are, is {value}"
                    ));
                }
            }
        }
    }
    Ok(())
}
