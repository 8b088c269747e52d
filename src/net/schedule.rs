//! Steps of a run, and the place of every tensor.

use super::layer_plans::Selection;
use super::layouts::same_memory;
use super::memory::{self, Lifetime};
use crate::networks::{Graph, NodeOp, Source};
use convroof_kernels::tensor::{CacheLine, Layout, TensorDesc};
use std::collections::HashMap;
use std::ops::Range;

/// A tensor's place in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Shape and layout.
    pub desc: TensorDesc,
    /// Its cache lines.
    pub lines: Range<usize>,
}

/// Operation of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOp {
    /// A layer, computed by one of its plans.
    Layer {
        /// The node.
        node: usize,
        /// The layer in its network.
        layer: usize,
        /// Index in the layer's list of plans.
        plan: usize,
    },
    /// A copy of a tensor in another layout or at another place.
    Reorder,
    /// A copy of each image of the source into an image of the destination, which begins at this element.
    Join(usize),
}

/// One operation with the places of its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node's name, or the tensor that is reordered.
    pub name: String,
    /// The operation.
    pub op: StepOp,
    /// The source.
    pub src: View,
    /// The tensor that is added to the output.
    pub residual: Option<View>,
    /// The destination.
    pub dst: View,
}

/// All steps of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps in the order of execution.
    pub steps: Vec<Step>,
    /// Place of the input, plain NCHW. A run keeps it.
    pub input: View,
    /// Place of the output, plain NCHW.
    pub output: View,
    /// Cache lines of the arena.
    pub lines: usize,
    /// Lower bound for the cache lines of any arena.
    pub least_lines: usize,
    /// Cache lines of all tensors, if none shared memory with another.
    pub all_lines: usize,
    /// Number of layers that write straight into a concatenated tensor.
    pub in_place: usize,
}

impl Schedule {
    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.lines * CacheLine::BYTES
    }

    /// Bytes of all tensors, if none shared memory with another.
    pub fn all_bytes(&self) -> usize {
        self.all_lines * CacheLine::BYTES
    }
}

/// A tensor in a buffer without an offset in the arena.
#[derive(Clone, Copy)]
struct Slot {
    desc: TensorDesc,
    buffer: usize,
    /// Offset of the tensor in the buffer, in cache lines.
    offset: usize,
}

struct Draft {
    name: String,
    op: StepOp,
    src: Slot,
    residual: Option<Slot>,
    dst: Slot,
}

struct Scheduler<'a> {
    graph: &'a Graph,
    selection: &'a Selection,
    buffers: Vec<Lifetime>,
    slots: HashMap<(Source, Layout), Slot>,
    /// For each part of a concatenation that can be written in place: the concatenation, and the offset in elements.
    parts: HashMap<usize, (usize, usize)>,
    steps: Vec<Draft>,
}

impl Schedule {
    /// The steps of a graph with a selection.
    pub fn new(graph: &Graph, selection: &Selection) -> Schedule {
        let mut scheduler = Scheduler {
            graph,
            selection,
            buffers: Vec::new(),
            slots: HashMap::new(),
            parts: HashMap::new(),
            steps: Vec::new(),
        };
        scheduler.find_parts();
        let input = TensorDesc::f32(Layout::Nchw, graph.dims(Source::Input));
        let input = scheduler.buffer(input);
        scheduler.slots.insert((Source::Input, Layout::Nchw), input);
        for node in 0..graph.nodes.len() {
            scheduler.node(node);
        }
        let output = Source::Node(graph.nodes.len() - 1);
        let output = scheduler.get(output, Layout::Nchw);
        scheduler.place(input, output)
    }
}

impl Scheduler<'_> {
    /// Finds the layers that can write straight into a concatenated tensor. The batch must be one image, and the part
    /// must begin at a cache line.
    fn find_parts(&mut self) {
        for (i, node) in self.graph.nodes.iter().enumerate() {
            if !matches!(node.op, NodeOp::Concat(_)) || self.graph.batch() > 1 {
                continue;
            }
            let mut offset = 0;
            for &part in &node.inputs {
                let layout = self.selection.nodes[i].dst;
                let elements = TensorDesc::f32(layout, self.graph.dims(part)).elements();
                if let Source::Node(part) = part
                    && offset % CacheLine::F32S == 0
                {
                    self.parts.entry(part).or_insert((i, offset));
                }
                offset += elements;
            }
        }
    }

    /// Adds a buffer whose lifetime begins with the next step.
    fn buffer(&mut self, desc: TensorDesc) -> Slot {
        let now = self.steps.len();
        self.buffers.push(Lifetime {
            size: desc.lines(),
            steps: now..=now,
        });
        Slot {
            desc,
            buffer: self.buffers.len() - 1,
            offset: 0,
        }
    }

    fn push(&mut self, step: Draft) {
        let now = self.steps.len();
        for slot in [Some(step.src), step.residual, Some(step.dst)]
            .into_iter()
            .flatten()
        {
            let steps = &mut self.buffers[slot.buffer].steps;
            *steps = *steps.start()..=now;
        }
        self.steps.push(step);
    }

    /// A tensor in a layout, reordered if necessary.
    fn get(&mut self, source: Source, layout: Layout) -> Slot {
        if let Some(&slot) = self.slots.get(&(source, layout)) {
            return slot;
        }
        let dims = self.graph.dims(source);
        let made = match source {
            Source::Input => Layout::Nchw,
            Source::Node(node) => self.selection.nodes[node].dst,
        };
        let src = self.slots[&(source, made)];
        let desc = TensorDesc::f32(layout, dims);
        let slot = if same_memory(dims, made, layout) {
            Slot { desc, ..src }
        } else {
            let dst = self.buffer(desc);
            self.reorder(source, src, dst);
            dst
        };
        self.slots.insert((source, layout), slot);
        slot
    }

    fn reorder(&mut self, source: Source, src: Slot, dst: Slot) {
        let name = match source {
            Source::Input => "input",
            Source::Node(node) => &self.graph.nodes[node].name,
        };
        self.push(Draft {
            name: format!("{name} to {}", dst.desc.layout()),
            op: StepOp::Reorder,
            src,
            residual: None,
            dst,
        });
    }

    /// The buffer of a concatenation, allocated for the first of its parts.
    fn joined(&mut self, concat: usize) -> Slot {
        let layout = self.selection.nodes[concat].dst;
        let key = (Source::Node(concat), layout);
        if let Some(&slot) = self.slots.get(&key) {
            return slot;
        }
        let dims = self.graph.dims(Source::Node(concat));
        let slot = self.buffer(TensorDesc::f32(layout, dims));
        self.slots.insert(key, slot);
        slot
    }

    /// The place of a part in its concatenation; none if it can't be written in place.
    fn place_of_part(&mut self, part: usize) -> Option<Slot> {
        let &(concat, elements) = self.parts.get(&part)?;
        let whole = self.joined(concat);
        let dims = self.graph.dims(Source::Node(part));
        Some(Slot {
            desc: TensorDesc::f32(whole.desc.layout(), dims),
            buffer: whole.buffer,
            offset: elements / CacheLine::F32S,
        })
    }

    fn node(&mut self, i: usize) {
        let node = &self.graph.nodes[i];
        let chosen = self.selection.nodes[i];
        let (NodeOp::Layer(layer), Some(plan)) = (node.op, chosen.plan) else {
            return self.concat(i);
        };
        let src = self.get(node.inputs[0], chosen.src);
        let residual = node.residual.map(|r| self.get(r, chosen.dst));
        let belongs = match self.parts.get(&i) {
            Some(&(concat, _)) if self.selection.nodes[concat].dst == chosen.dst => {
                self.place_of_part(i)
            }
            _ => None,
        };
        let dst = belongs.unwrap_or_else(|| {
            self.buffer(TensorDesc::f32(
                chosen.dst,
                self.graph.dims(Source::Node(i)),
            ))
        });
        self.slots.insert((Source::Node(i), chosen.dst), dst);
        self.push(Draft {
            name: node.name.clone(),
            op: StepOp::Layer {
                node: i,
                layer,
                plan,
            },
            src,
            residual,
            dst,
        });
    }

    fn concat(&mut self, i: usize) {
        let layout = self.selection.nodes[i].dst;
        let whole = self.joined(i);
        let mut elements = 0;
        for &part in &self.graph.nodes[i].inputs {
            let dims = self.graph.dims(part);
            let belongs = match part {
                Source::Node(node) if self.parts.get(&node) == Some(&(i, elements)) => {
                    self.place_of_part(node)
                }
                _ => None,
            };
            let [n, ..] = dims;
            match belongs {
                Some(place) => {
                    let made = match part {
                        Source::Node(node) => self.selection.nodes[node].dst,
                        Source::Input => Layout::Nchw,
                    };
                    let from = self.slots[&(part, made)];
                    if (from.buffer, from.offset) != (place.buffer, place.offset) {
                        self.reorder(part, from, place);
                    }
                }
                None => {
                    let src = self.get(part, layout);
                    let name = format!("{} into {}", self.name(part), self.graph.nodes[i].name);
                    self.push(Draft {
                        name,
                        op: StepOp::Join(elements),
                        src,
                        residual: None,
                        dst: whole,
                    });
                }
            }
            elements += TensorDesc::f32(layout, dims).elements() / n;
        }
    }

    fn name(&self, source: Source) -> String {
        match source {
            Source::Input => "input".into(),
            Source::Node(node) => self.graph.nodes[node].name.clone(),
        }
    }

    fn place(mut self, input: Slot, output: Slot) -> Schedule {
        // Both live before and after every run.
        let end = self.steps.len();
        for slot in [input, output] {
            let steps = &mut self.buffers[slot.buffer].steps;
            *steps = *steps.start()..=end;
        }
        let arena = memory::place(&self.buffers);
        let view = |slot: Slot| {
            let first = arena.offsets[slot.buffer] + slot.offset;
            View {
                desc: slot.desc,
                lines: first..first + slot.desc.lines(),
            }
        };
        let in_place = self.steps.iter().filter(|s| match s.op {
            StepOp::Layer { node, .. } => self.parts.get(&node).is_some_and(|(concat, _)| {
                self.selection.nodes[*concat].dst == s.dst.desc.layout()
            }),
            _ => false,
        });
        Schedule {
            in_place: in_place.count(),
            input: view(input),
            output: view(output),
            lines: arena.size,
            least_lines: memory::least(&self.buffers),
            all_lines: self.buffers.iter().map(|b| b.size).sum(),
            steps: self
                .steps
                .into_iter()
                .map(|draft| Step {
                    name: draft.name,
                    op: draft.op,
                    src: view(draft.src),
                    residual: draft.residual.map(view),
                    dst: view(draft.dst),
                })
                .collect(),
        }
    }
}
