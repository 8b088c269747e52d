//! Instructions of a function, its loops, and counts of a loop's instructions.

use serde::Serialize;
use std::ops::Range;

/// An instruction of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Address in the program's file.
    pub address: u64,
    /// Length in bytes.
    pub bytes: usize,
    /// Its text.
    pub text: String,
    /// Its effects.
    pub does: Does,
    /// Target of a direct jump.
    pub target: Option<u64>,
    /// True if the next instruction may follow.
    pub falls_through: bool,
}

/// Effects of an instruction that [`Counts`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Does {
    /// A fused multiplication and addition, or a dot product of neighbouring elements.
    pub fma: bool,
    /// Other floating-point arithmetic in vector registers, or a sum of 32-bit integers in them.
    pub arithmetic: bool,
    /// Reads memory.
    pub load: bool,
    /// Writes memory.
    pub store: bool,
    /// Its memory is on the stack.
    pub stack: bool,
    /// Jumps.
    pub jump: bool,
    /// Calls a function.
    pub call: bool,
}

/// Counts of the instructions of a loop, by their text: each counts once, however often it runs. An instruction with
/// several effects counts in several fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All instructions.
    pub instructions: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Fused multiplications and additions, and dot products of neighbouring elements of bf16 or integers.
    pub fmas: usize,
    /// Other floating-point arithmetic in vector registers, and sums of 32-bit integers in them.
    pub other_arithmetic: usize,
    /// Reads of memory. An FMA with an operand in memory is one, too.
    pub loads: usize,
    /// Writes of memory.
    pub stores: usize,
    /// Loads and stores on the stack, where registers are spilled.
    pub spills: usize,
    /// Jumps.
    pub jumps: usize,
    /// Calls.
    pub calls: usize,
}

impl Counts {
    /// Counts of some instructions.
    pub fn of(code: &[Instruction]) -> Counts {
        let count = |does: fn(&Does) -> bool| code.iter().filter(|i| does(&i.does)).count();
        Counts {
            instructions: code.len(),
            bytes: code.iter().map(|i| i.bytes).sum(),
            fmas: count(|d| d.fma),
            other_arithmetic: count(|d| d.arithmetic),
            loads: count(|d| d.load),
            stores: count(|d| d.store),
            spills: count(|d| d.stack && d.load) + count(|d| d.stack && d.store),
            jumps: count(|d| d.jump),
            calls: count(|d| d.call),
        }
    }
}

/// Loops of a function as ranges of its instructions, the shortest first. So the first loop that contains an
/// instruction is the innermost one around it.
///
/// A jump back closes a loop if its target reaches it without leaving the range between them. Compilers also jump back
/// from code that runs rarely and that they moved behind the rest.
pub fn loops(code: &[Instruction]) -> Vec<Range<usize>> {
    let closed_by = |end: usize| {
        let start = index_of(code, code[end].target?).filter(|&start| start <= end)?;
        reaches_end(code, start..end + 1).then_some(start..end + 1)
    };
    let mut loops: Vec<Range<usize>> = (0..code.len()).filter_map(closed_by).collect();
    loops.sort_by_key(Range::len);
    loops
}

/// Index of the instruction at an address.
fn index_of(code: &[Instruction], address: u64) -> Option<usize> {
    code.binary_search_by_key(&address, |i| i.address).ok()
}

/// True if execution can get from the first instruction of a range to its last one within the range.
fn reaches_end(code: &[Instruction], range: Range<usize>) -> bool {
    let mut seen = vec![false; range.len()];
    let mut next = vec![range.start];
    while let Some(at) = next.pop() {
        if !range.contains(&at) || std::mem::replace(&mut seen[at - range.start], true) {
            continue;
        }
        if at + 1 == range.end {
            return true;
        }
        next.extend(code[at].falls_through.then_some(at + 1));
        next.extend(code[at].target.and_then(|target| index_of(code, target)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions of four bytes, one for each element: a jump to an index that may fall through, or another
    /// instruction.
    fn code(jumps: &[Option<(usize, bool)>]) -> Vec<Instruction> {
        let instruction = |(i, jump): (usize, &Option<(usize, bool)>)| Instruction {
            address: 0x100 + 4 * i as u64,
            bytes: 4,
            text: String::new(),
            does: Does {
                jump: jump.is_some(),
                ..Does::default()
            },
            target: jump.map(|(to, _)| 0x100 + 4 * to as u64),
            falls_through: jump.is_none_or(|(_, falls)| falls),
        };
        jumps.iter().enumerate().map(instruction).collect()
    }

    #[test]
    fn inner_loops_come_first() {
        let if_back = |to| Some((to, true));
        let nested = code(&[None, None, None, if_back(2), None, if_back(1), None]);
        assert_eq!(loops(&nested), [2..4, 1..6]);
        let itself = code(&[None, if_back(1)]);
        assert_eq!(loops(&itself), [Range { start: 1, end: 2 }]);
    }

    #[test]
    fn a_loop_may_be_entered_in_the_middle() {
        let entered = code(&[Some((3, false)), None, None, None, Some((1, true)), None]);
        assert_eq!(loops(&entered), [Range { start: 1, end: 5 }]);
    }

    #[test]
    fn rare_code_that_jumps_back_is_no_loop() {
        // 1 jumps to rare code at 4, which continues at 2.
        let rare = code(&[
            None,
            Some((4, true)),
            None,
            Some((9, false)),
            None,
            Some((2, false)),
        ]);
        assert!(loops(&rare).is_empty());
        // It stays none within a loop from 0 to 3.
        let looped = code(&[
            None,
            Some((5, true)),
            None,
            Some((0, true)),
            Some((9, false)),
            None,
            Some((2, false)),
        ]);
        assert_eq!(loops(&looped), [Range { start: 0, end: 4 }]);
    }

    #[test]
    fn a_loop_through_rare_code_is_one() {
        let through = code(&[
            None,
            Some((3, true)),
            Some((9, false)),
            None,
            Some((0, false)),
        ]);
        assert_eq!(loops(&through), [Range { start: 0, end: 5 }]);
    }

    #[test]
    fn an_instruction_may_count_more_than_once() {
        let mut code = code(&[None, None, Some((0, true))]);
        code[0].does = Does {
            fma: true,
            load: true,
            ..Does::default()
        };
        code[1].does = Does {
            load: true,
            store: true,
            stack: true,
            ..Does::default()
        };
        let counts = Counts {
            instructions: 3,
            bytes: 12,
            fmas: 1,
            loads: 2,
            stores: 1,
            spills: 2,
            jumps: 1,
            ..Counts::default()
        };
        assert_eq!(Counts::of(&code), counts);
    }
}
