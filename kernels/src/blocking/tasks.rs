//! Number and cost of tasks.

use crate::partition::share;

/// Least number of tasks for each of several threads, if there are as many panels. Threads wait for the last running
/// task, and an idle worker steals tasks that have not begun ([`crate::exec`]). So small tasks shorten the wait.
const TASKS_A_THREAD: usize = 4;

/// Panels of output channels in a task, if there are `pixel_blocks` blocks of pixels and `panels` panels.
///
/// The result is between `least` and `own`. It minimises the largest share of a thread. Among equal sizes it is the
/// nearest to the one that makes [`TASKS_A_THREAD`] tasks for each thread.
pub(super) fn task_panels(
    panels: usize,
    [least, own]: [usize; 2],
    pixel_blocks: usize,
    threads: usize,
) -> usize {
    if threads == 1 {
        return own;
    }
    let wanted = panels.div_ceil((TASKS_A_THREAD * threads).div_ceil(pixel_blocks));
    let largest_share = |size: usize| {
        let parts = panels.div_ceil(size);
        let before = |task: usize| task / parts * panels + (task % parts * size).min(panels);
        let shares = (0..threads).map(|worker| share(pixel_blocks * parts, threads, worker));
        shares.map(|own| before(own.end) - before(own.start)).max()
    };
    // The search is limited to sizes near the wanted one, because each candidate costs a loop over all threads.
    const LOOKED_AT: usize = 512;
    let near = wanted.clamp(least.min(own), own);
    let from = near.saturating_sub(LOOKED_AT).max(least.min(own));
    (from..=own.min(near + LOOKED_AT))
        .min_by_key(|&size| (largest_share(size), size.abs_diff(wanted)))
        .unwrap_or(own)
}

/// How often pixel blocks are prepared, if each block is `parts` consecutive tasks. Each block is prepared once, plus
/// once per worker whose share starts inside a block.
pub fn preparations(pixel_blocks: usize, parts: usize, threads: usize) -> usize {
    let starts = (1..threads).map(|worker| share(pixel_blocks * parts, threads, worker));
    let inside = starts.filter(|share| !share.is_empty() && !share.start.is_multiple_of(parts));
    pixel_blocks + inside.count()
}

/// `all * times / of`, computed in 128 bits.
pub fn part(all: u64, times: u64, of: u64) -> u64 {
    (u128::from(all) * u128::from(times) / u128::from(of)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_has_more_panels_than_another() {
        for (panels, least, pixel_blocks, threads, size) in [
            (16_usize, 1, 1, 2, 2),
            (10, 1, 1, 2, 1),
            (12, 4, 1, 2, 6),
            (16, 4, 1, 2, 4),
            (4, 4, 2, 2, 4),
            (8, 1, 2, 2, 2),
            (8, 1, 64, 2, 8),
            (2, 1, 1, 4, 1),
            (7, 1, 1, 1, 7),
        ] {
            let own = if pixel_blocks < threads {
                panels.div_ceil(threads)
            } else {
                panels
            };
            let chosen = task_panels(panels, [least, own], pixel_blocks, threads);
            assert_eq!(chosen, size, "{panels} x {pixel_blocks} on {threads}");
        }
    }

    #[test]
    fn who_shares_a_block_prepares_it() {
        for (pixel_blocks, parts, threads, prepared) in [
            (1, 8, 1, 1),
            (1, 8, 2, 2),
            (4, 2, 2, 4),
            (3, 4, 2, 4),
            (1, 2, 4, 2),
            (1, 1, 4, 1),
            (2, 6, 4, 4),
        ] {
            let counted = preparations(pixel_blocks, parts, threads);
            assert_eq!(counted, prepared, "{pixel_blocks} of {parts} on {threads}");
        }
    }
}
