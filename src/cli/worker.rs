//! `convroof worker`: one side of `convroof ab`.

use crate::regress::ab::worker;
use anyhow::Result;
use convroof_kernels::Registry;

pub(super) fn run(registry: &Registry) -> Result<()> {
    crate::process::die_with_parent()?;
    worker::serve(registry, std::io::stdin().lock(), std::io::stdout().lock())
}
