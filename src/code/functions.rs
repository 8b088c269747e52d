//! Functions of a program.
//!
//! Two functions are equal if their names without hash and their instructions are equal. Addresses relative to the
//! instruction aren't compared, since code and constants move in every build.

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A function of a program.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its address in the program's file.
    pub from: u64,
    /// Its bytes.
    pub code: Vec<u8>,
    /// Its name without a hash.
    pub name: String,
}

impl Function {
    /// Hash of its instructions.
    pub fn shape(&self) -> u64 {
        shape(&self.code, self.from)
    }

    /// Name, length and hash of the instructions. Instances of a generic function share a name.
    fn identity(&self) -> (&str, usize, u64) {
        (&self.name, self.code.len(), self.shape())
    }
}

/// For each function of a build: true if the other build has none with this name and these instructions.
pub fn unmatched(own: &[Function], other: &[Function]) -> Vec<bool> {
    let other: HashSet<_> = other.iter().map(Function::identity).collect();
    own.iter().map(|f| !other.contains(&f.identity())).collect()
}

/// Functions of an ELF program, by address. There are none if it was stripped of its symbols.
///
/// # Errors
/// When it is no ELF program.
pub fn functions(program: &[u8]) -> Result<Vec<Function>> {
    let file = object::File::parse(program)?;
    let mut functions = Vec::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let section = symbol.section_index().context("no section")?;
        let section = file.section_by_index(section)?;
        if let Some(code) = section.data_range(symbol.address(), symbol.size())? {
            let name = symbol.name()?;
            functions.push(Function {
                from: symbol.address(),
                code: code.to_vec(),
                name: format!("{:#}", rustc_demangle::demangle(name)),
            });
        }
    }
    functions.sort_by_key(|f| f.from);
    Ok(functions)
}

/// Index of the function that contains an address; `functions` are ordered by address.
pub fn function_at(functions: &[Function], address: u64) -> Option<usize> {
    let index = functions
        .partition_point(|f| f.from <= address)
        .checked_sub(1)?;
    let function = &functions[index];
    (address - function.from < function.code.len() as u64).then_some(index)
}

/// Hash of a function's instructions. It doesn't change if the function or its targets move.
#[cfg(target_arch = "x86_64")]
fn shape(code: &[u8], from: u64) -> u64 {
    use iced_x86::{Decoder, DecoderOptions, OpKind};
    let mut hasher = DefaultHasher::new();
    let mut decoder = Decoder::with_ip(64, code, from, DecoderOptions::NONE);
    let inside = from..from + code.len() as u64;
    while decoder.can_decode() {
        let mut instruction = decoder.decode();
        if instruction.is_ip_rel_memory_operand() {
            instruction.set_memory_displacement64(0);
        }
        if instruction.op0_kind() == OpKind::NearBranch64 {
            // A jump within the function keeps its offset. A jump elsewhere moves with its target.
            let target = instruction.near_branch_target();
            instruction.set_near_branch64(if inside.contains(&target) {
                target - from
            } else {
                u64::MAX
            });
        }
        instruction.hash(&mut hasher);
    }
    hasher.finish()
}

/// Hash of a function's instructions on AArch64. It ignores addresses, which are in `adr`, `adrp`, the 12 bits of the
/// next addition or load, and branches that leave.
#[cfg(not(target_arch = "x86_64"))]
fn shape(code: &[u8], from: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut page = None;
    let words = code.chunks_exact(4).enumerate();
    for (i, word) in words {
        let mut word = u32::from_le_bytes(word.try_into().expect("four bytes"));
        let register = word & 31;
        let base = word >> 5 & 31;
        if word & 0x1f00_0000 == 0x1000_0000 {
            page = Some(register);
            word &= 0x9f00_001f;
        } else if page == Some(base)
            && (word & 0x7f80_0000 == 0x1100_0000 || word & 0x3b00_0000 == 0x3900_0000)
        {
            word &= 0xffc0_03ff;
        } else if word & 0x7c00_0000 == 0x1400_0000 {
            let offset = (((word << 6) as i32) >> 4) as i64;
            let target = (from + 4 * i as u64) as i64 + offset;
            if !(from as i64..(from + code.len() as u64) as i64).contains(&target) {
                word &= 0xfc00_0000;
            }
        }
        word.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn moved_code_is_the_same_and_changed_code_is_not() {
        // lea rax,[rip+x]; call y; vaddps zmm0,zmm0,zmm1; jne -16 (to the start); ret
        let code = |data: i32, call: i32, register: u8| {
            let mut code = vec![0x48, 0x8d, 0x05];
            code.extend(data.to_le_bytes());
            code.push(0xe8);
            code.extend(call.to_le_bytes());
            code.extend([0x62, 0xf1, 0x7c, 0x48, 0x58, register, 0x75, 0xec, 0xc3]);
            code
        };
        let here = shape(&code(0x100, 0x2000, 0xc1), 0x1000);
        assert_eq!(shape(&code(0x1f0, 0x1234, 0xc1), 0x9000), here);
        assert_ne!(shape(&code(0x100, 0x2000, 0xc2), 0x1000), here);
    }

    #[test]
    fn a_function_ends_with_its_bytes() {
        let function = |from, bytes| Function {
            from,
            code: vec![0xc3; bytes],
            name: String::new(),
        };
        let functions = [function(16, 16), function(64, 8)];
        let found = [0, 16, 31, 32, 64, 71, 72, u64::MAX].map(|at| function_at(&functions, at));
        let (first, second) = (Some(0), Some(1));
        assert_eq!(
            found,
            [None, first, first, None, second, second, None, None]
        );
    }

    #[test]
    fn a_changed_function_has_no_match_in_the_other_build() {
        let function = |name: &str, code: &[u8]| Function {
            from: 64,
            code: code.into(),
            name: name.into(),
        };
        // On x86-64: ret; nop, ret.
        let a = [
            function("same", &[0xc3; 4]),
            function("changed", &[0xc3; 4]),
        ];
        let b = [
            function("changed", &[0x90, 0x90, 0x90, 0xc3]),
            function("new", &[0xc3; 4]),
            function("same", &[0xc3; 4]),
        ];
        assert_eq!(unmatched(&a, &b), [false, true]);
        assert_eq!(unmatched(&b, &a), [true, true, false]);
    }

    #[inline(never)]
    fn to_be_found() {
        std::hint::black_box(());
    }

    #[test]
    fn this_program_has_functions() {
        to_be_found();
        let own = std::env::current_exe().expect("a program");
        let program = std::fs::read(own).expect("read");
        if cfg!(target_os = "linux") {
            let functions = functions(&program).expect("ELF");
            assert!(functions.iter().any(|f| f.name.contains("to_be_found")));
        }
    }
}
