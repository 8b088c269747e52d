//! Instruction sets that extend another one, their *base*, by dot products. All other operations are those of the base, and
//! f32 tasks aren't compiled again for them ([`Isa::base`](crate::Isa::base)).

/// Defines operations as those of a field of `self`.
macro_rules! delegated {
    ($to:tt:) => {};
    (
        $to:tt: fn $name:ident $(<const $n:ident: usize>)? ($($arg:ident: $type:ty),*) $(-> $out:ty)?;
        $($rest:tt)*
    ) => {
        #[inline(always)]
        fn $name $(<const $n: usize>)? (self, $($arg: $type),*) $(-> $out)? {
            self.$to.$name $(::<$n>)? ($($arg),*)
        }
        $crate::arch::extension::delegated! { $to: $($rest)* }
    };
    (
        $to:tt: unsafe fn $name:ident $(<const $n:ident: usize>)? ($($arg:ident: $type:ty),*) $(-> $out:ty)?;
        $($rest:tt)*
    ) => {
        #[inline(always)]
        unsafe fn $name $(<const $n: usize>)? (self, $($arg: $type),*) $(-> $out)? {
            // SAFETY: the caller's promise.
            unsafe { self.$to.$name $(::<$n>)? ($($arg),*) }
        }
        $crate::arch::extension::delegated! { $to: $($rest)* }
    };
}
pub(super) use delegated;

/// Defines an instruction set: a token of its base on CPUs that have another `feature`. Tasks run in the function `enter`.
/// Dot products are in the braces, or those of the base.
macro_rules! extension {
    (
        $(#[$doc:meta])*
        $name:ident: $base:ty, feature: $detected:ident!($feature:tt), enter: $enter:ident,
        of base: $($dot:ident)*;
        { $($own:tt)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name($base);

        impl $name {
            /// The token, if this CPU has the instruction set.
            pub(crate) fn try_new() -> Option<Self> {
                let base = <$base>::try_new()?;
                std::arch::$detected!($feature).then_some($name(base))
            }

            /// Token of its base.
            #[inline(always)]
            pub(crate) fn base(self) -> $base {
                self.0
            }
        }

        impl $crate::arch::sealed::Sealed for $name {}
        impl KernelSimd for $name {
            type f32s = <$base as KernelSimd>::f32s;
            type m32s = <$base as KernelSimd>::m32s;
            const REGISTER_COUNT: usize = <$base as KernelSimd>::REGISTER_COUNT;
            const NATIVE: bool = <$base as KernelSimd>::NATIVE;

            #[inline(always)]
            fn enter<K: SimdTask, T: Twin>(self, task: K) -> K::Output {
                // SAFETY: the token proves the features.
                unsafe { task.$enter::<T>(self) }
            }

            $($own)*

            $crate::arch::extension::delegated! { 0:
                $(fn $dot(sums: Self::f32s, x: Self::f32s, w: Self::f32s) -> Self::f32s;)*
                fn splat_f32s(x: f32) -> Self::f32s;
                fn add_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn sub_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn mul_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn div_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn mul_add_e_f32s(a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s;
                fn max_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn min_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn abs_f32s(a: Self::f32s) -> Self::f32s;
                fn neg_f32s(a: Self::f32s) -> Self::f32s;
                fn raise_f32s(a: Self::f32s, n: Self::f32s) -> Self::f32s;
                fn sqrt_f32s(a: Self::f32s) -> Self::f32s;
                fn inverse_sqrt_f32s(a: Self::f32s) -> Self::f32s;
                fn equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
                fn less_than_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
                fn less_than_or_equal_f32s(a: Self::f32s, b: Self::f32s) -> Self::m32s;
                fn and_m32s(a: Self::m32s, b: Self::m32s) -> Self::m32s;
                fn select_f32s(mask: Self::m32s, yes: Self::f32s, no: Self::f32s) -> Self::f32s;
                fn reduce_sum_f32s(a: Self::f32s) -> f32;
                fn add_s32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn flip_bytes(a: Self::f32s) -> Self::f32s;
                fn push_bytes(words: Self::f32s, x: Self::f32s) -> Self::f32s;
                fn push_halves(words: Self::f32s, x: Self::f32s) -> Self::f32s;
                fn sub_s32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn quarters_of_s32s(a: Self::f32s) -> Self::f32s;
                fn add_s16s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn sub_s16s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn floats_of_s32s(a: Self::f32s) -> Self::f32s;
                fn s32s_of_floats(a: Self::f32s) -> Self::f32s;
                fn bf16s_of_floats(a: Self::f32s) -> Self::f32s;
                fn max_u8s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn max_s8s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn max_s16s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn and_bits(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn or_bits(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn shift_up(a: Self::f32s, by: u32) -> Self::f32s;
                fn shift_down(a: Self::f32s, by: u32) -> Self::f32s;
                fn keys_of_bf16s(a: Self::f32s) -> Self::f32s;
                fn bf16s_of_keys(keys: Self::f32s) -> Self::f32s;
                unsafe fn load_u8s(at: *const u8) -> Self::f32s;
                unsafe fn load_s8s(at: *const i8) -> Self::f32s;
                unsafe fn load_u8_pairs(at: *const u8) -> Self::f32s;
                unsafe fn load_s8_pairs(at: *const i8) -> Self::f32s;
                unsafe fn load_bf16s(at: *const u16) -> Self::f32s;
                unsafe fn store_low_bytes(to: *mut u8, y: Self::f32s);
                unsafe fn store_bytes<const N: usize>(to: *mut u8, y: [Self::f32s; N]);
                unsafe fn store_low_halves(to: *mut u16, y: Self::f32s);
                fn opaque(x: Self::f32s) -> Self::f32s;
                unsafe fn load_f32s(at: *const f32) -> Self::f32s;
                unsafe fn store_f32s(to: *mut f32, y: Self::f32s);
                fn first_lanes(lanes: usize) -> Self::m32s;
                unsafe fn load_masked_f32s(mask: Self::m32s, at: *const f32) -> Self::f32s;
                unsafe fn store_masked_f32s(mask: Self::m32s, to: *mut f32, y: Self::f32s);
                fn load_part_f32s(from: &[f32]) -> Self::f32s;
                fn store_part_f32s(to: &mut [f32], y: Self::f32s);
                fn at_least(least: Self::f32s, y: Self::f32s) -> Self::f32s;
                unsafe fn broadcast<const N: usize>(from: *const f32, index: usize) -> Self::f32s;
                fn swap_lanes<const DISTANCE: usize>(x: Self::f32s) -> Self::f32s;
                fn prefetch(at: *const f32);
                fn prefetch_l2(at: *const f32);
                unsafe fn stream_f32s(to: *mut f32, value: Self::f32s);
                unsafe fn load_fours(at: &[*const f32]) -> Self::f32s;
                fn evens_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn odds_f32s(a: Self::f32s, b: Self::f32s) -> Self::f32s;
                fn transpose_fours(rows: [Self::f32s; 4]) -> [Self::f32s; 4];
            }
        }
    };
}
pub(super) use extension;

#[cfg(test)]
mod tests {
    /// Names of the functions that lines begin with, `fn` or `unsafe fn`.
    fn names<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let name = |line: &'a str| {
            let line = line.trim_start();
            let rest = line.strip_prefix("unsafe ").unwrap_or(line);
            rest.strip_prefix("fn ")?.split(['(', '<']).next()
        };
        lines.filter_map(name).collect()
    }

    /// An operation without a line in the macro would be the trait's loop over lanes.
    #[test]
    fn an_extension_has_each_operation_of_its_base() {
        let operations = include_str!("mod.rs").lines();
        let operations = operations
            .skip_while(|line| !line.starts_with("pub trait KernelSimd"))
            .take_while(|line| *line != "}")
            .filter(|line| !line.starts_with("     "));
        let here = names(include_str!("extension.rs").lines());
        for operation in names(operations) {
            // `call` enters the set's own function by `enter`.
            let own = operation.starts_with("dot_") || operation == "call";
            assert!(own || here.contains(&operation), "{operation}");
        }
    }
}
