//! Disassembler of x86-64.

use super::loops::{Does, Instruction};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, InstructionInfoFactory, Mnemonic,
    NasmFormatter, OpAccess, OpKind, Register,
};

/// Beginnings of the names of dot products, without `v`: sums of products of neighbouring elements of bf16 or integers.
/// All but the last also add to a third operand.
const DOTS: [&str; 4] = ["dpbf16", "pdpb", "pdpw", "pmaddwd"];

/// Names of floating-point arithmetic in vector registers, without `v` and without the type of the elements.
const ARITHMETIC: [&str; 15] = [
    "add", "sub", "mul", "div", "max", "min", "sqrt", "rcp", "rsqrt", "round", "rndscale", "cmp",
    "hadd", "dp", "scalef",
];

/// Instructions of a function whose bytes begin at the address `from`.
pub(super) fn disassemble(code: &[u8], from: u64) -> Vec<Instruction> {
    let decoded: Vec<_> = Decoder::with_ip(64, code, from, DecoderOptions::NONE)
        .into_iter()
        .collect();
    let framed = decoded.iter().any(makes_frame);
    let (mut formatter, mut factory) = (formatter(), InstructionInfoFactory::new());
    let instruction = |i: &iced_x86::Instruction| {
        let mut text = String::new();
        formatter.format(i, &mut text);
        let flow = i.flow_control();
        let direct = matches!(
            flow,
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        Instruction {
            address: i.ip(),
            bytes: i.len(),
            text,
            does: does(i, framed, &mut factory),
            target: direct.then(|| i.near_branch_target()),
            falls_through: !matches!(
                flow,
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Exception
            ),
        }
    };
    decoded.iter().map(instruction).collect()
}

/// Short texts, with numbers as other tools write them.
fn formatter() -> NasmFormatter {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_show_branch_size(false);
    options.set_branch_leading_zeros(false);
    options.set_rip_relative_addresses(true);
    formatter
}

/// True if the instruction makes `rbp` point into the stack.
fn makes_frame(i: &iced_x86::Instruction) -> bool {
    i.op0_register() == Register::RBP
        && match i.mnemonic() {
            Mnemonic::Mov => i.op1_register() == Register::RSP,
            Mnemonic::Lea => i.memory_base() == Register::RSP,
            _ => false,
        }
}

/// Effects of an instruction. In a function with a frame, `rbp` points into the stack.
fn does(i: &iced_x86::Instruction, framed: bool, factory: &mut InstructionInfoFactory) -> Does {
    let access = (0..i.op_count())
        .find(|&n| i.op_kind(n) == OpKind::Memory)
        .map_or(OpAccess::None, |n| factory.info(i).op_access(n));
    let vector = (0..i.op_count())
        .any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_vector_register());
    let name = format!("{:?}", i.mnemonic()).to_lowercase();
    let name = name.strip_prefix('v').unwrap_or(&name);
    let of_floats = ["ps", "ss", "pd", "sd"].iter().any(|t| name.ends_with(t));
    let one_of = |names: &[&str]| vector && of_floats && names.iter().any(|n| name.starts_with(n));
    let dot = vector && DOTS.iter().any(|n| name.starts_with(n));
    // A dot product that adds to no third operand is followed by this sum.
    let sum_of_dots = vector && name == "paddd";
    Does {
        fma: dot || one_of(&["fmadd", "fmsub", "fnmadd", "fnmsub"]),
        arithmetic: !dot && (sum_of_dots || one_of(&ARITHMETIC)),
        load: matches!(
            access,
            OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        ),
        store: matches!(
            access,
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        ),
        stack: match i.memory_base() {
            Register::RSP => true,
            Register::RBP => framed,
            _ => false,
        },
        jump: matches!(
            i.flow_control(),
            FlowControl::ConditionalBranch
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
        ),
        call: matches!(
            i.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{Counts, loops};
    use std::ops::Range;

    /// push rbp; mov rbp,rsp; vmovups ymm1,[rsi]; vfmadd231ps ymm0,ymm1,[rdi+32]; vmaxps ymm2,ymm2,ymm0;
    /// vmovups [rbp-64],ymm2; vmovups [rdx],ymm0; add dword [rsp+8],1; lea rax,[rsp+8]; prefetcht0 [rsi+64];
    /// dec rcx; jne (the first vmovups); call (the next instruction); ret
    const CODE: [&[u8]; 14] = [
        &[0x55],
        &[0x48, 0x89, 0xe5],
        &[0xc5, 0xfc, 0x10, 0x0e],
        &[0xc4, 0xe2, 0x75, 0xb8, 0x47, 0x20],
        &[0xc5, 0xec, 0x5f, 0xd0],
        &[0xc5, 0xfc, 0x11, 0x55, 0xc0],
        &[0xc5, 0xfc, 0x11, 0x02],
        &[0x83, 0x44, 0x24, 0x08, 0x01],
        &[0x48, 0x8d, 0x44, 0x24, 0x08],
        &[0x0f, 0x18, 0x4e, 0x40],
        &[0x48, 0xff, 0xc9],
        &[0x75, 0xd6],
        &[0xe8, 0, 0, 0, 0],
        &[0xc3],
    ];

    #[test]
    fn a_loop_is_found_and_counted() {
        let code = disassemble(&CODE.concat(), 0x1000);
        assert_eq!(code.len(), CODE.len(), "{code:#?}");
        assert_eq!(loops(&code), [Range { start: 2, end: 12 }], "{code:#?}");
        let counts = Counts {
            instructions: 10,
            bytes: 42,
            fmas: 1,
            other_arithmetic: 1,
            // An address and a prefetch read nothing.
            loads: 3,
            stores: 3,
            // [rbp-64] once, [rsp+8] twice.
            spills: 3,
            jumps: 1,
            calls: 0,
        };
        assert_eq!(Counts::of(&code[2..12]), counts, "{code:#?}");
        assert_eq!(Counts::of(&code[12..]).calls, 1);
        let texts = [3, 11].map(|i| code[i].text.as_str());
        assert_eq!(texts, ["vfmadd231ps ymm0,ymm1,[rdi+0x20]", "jne 0x1004"]);
    }

    #[test]
    fn rbp_is_the_stack_only_in_a_frame() {
        let without = disassemble(&CODE[2..].concat(), 0x1000);
        assert_eq!(Counts::of(&without).spills, 2, "{without:#?}");
    }

    #[test]
    fn dot_products_count_as_fmas() {
        // vpdpbusd zmm0,zmm1,[rdi]; {vex} vpdpbusd ymm0,ymm1,ymm2; {vex} vpdpwssd ymm0,ymm1,ymm2;
        // vdpbf16ps zmm0,zmm1,zmm2; vpmaddwd ymm0,ymm1,ymm2; vpaddd ymm0,ymm0,ymm1
        let code = [
            &[0x62, 0xf2, 0x75, 0x48, 0x50, 0x07][..],
            &[0xc4, 0xe2, 0x75, 0x50, 0xc2],
            &[0xc4, 0xe2, 0x75, 0x52, 0xc2],
            &[0x62, 0xf2, 0x76, 0x48, 0x52, 0xc2],
            &[0xc5, 0xf5, 0xf5, 0xc2],
            &[0xc5, 0xfd, 0xfe, 0xc1],
        ];
        let code = disassemble(&code.concat(), 0);
        let counts = Counts::of(&code);
        assert_eq!((counts.instructions, counts.fmas), (6, 5), "{code:#?}");
        assert_eq!((counts.other_arithmetic, counts.loads), (1, 1), "{code:#?}");
        assert!(code[0].text.starts_with("vpdpbusd zmm0,zmm1,"), "{code:#?}");
    }

    #[test]
    fn other_integers_and_moves_are_no_arithmetic() {
        // vpaddq ymm0,ymm0,ymm1; vmovss xmm0,[rax]; add rax,8; vbroadcastss ymm0,[rax]; cmpsd (of strings)
        let code = [
            &[0xc5, 0xfd, 0xd4, 0xc1][..],
            &[0xc5, 0xfa, 0x10, 0x00],
            &[0x48, 0x83, 0xc0, 0x08],
            &[0xc4, 0xe2, 0x7d, 0x18, 0x00],
            &[0xa7],
        ];
        let counts = Counts::of(&disassemble(&code.concat(), 0));
        assert_eq!((counts.fmas, counts.other_arithmetic), (0, 0));
        assert_eq!((counts.instructions, counts.loads), (5, 2));
    }
}
