//! Layouts between which no reorder is needed, and layouts in which a concatenation can be made.

use crate::networks::{Graph, Source};
use convroof_kernels::tensor::{CacheLine, Layout};

/// True if a tensor in one layout occupies the beginning of its memory exactly as in another layout.
pub fn same_memory([n, c, h, w]: [usize; 4], from: Layout, to: Layout) -> bool {
    let plain = |layout| matches!(layout, Layout::Nchw | Layout::Nhwc);
    from == to
        || h * w == 1
            && match (plain(from), plain(to)) {
                (true, true) => true,
                // The padding channels of the last block are at the end, behind the only image.
                (false, true) => n == 1 || c.is_multiple_of(CacheLine::F32S),
                (true, false) => c.is_multiple_of(CacheLine::F32S),
                (false, false) => false,
            }
}

/// Layouts in which a concatenation can be made: NCHW always, NCHW16c if each part begins at a channel block.
pub fn joins(graph: &Graph, node: usize) -> Vec<Layout> {
    let inputs = &graph.nodes[node].inputs;
    let (_, before) = inputs.split_last().expect("parts");
    let whole = |&part: &Source| graph.dims(part)[1].is_multiple_of(CacheLine::F32S);
    match before.iter().all(whole) {
        true => vec![Layout::NCHW16C, Layout::Nchw],
        false => vec![Layout::Nchw],
    }
}
