//! Colours and rules of pictures and of the HTML page. The page switches between the two palettes by a class, a
//! standalone picture by the reader's preference.
//!
//! Families have the colours of Okabe and Ito (2008), which colour-blind readers can distinguish, and different
//! shapes. Verdicts have other colours: indigo for arithmetic, lilac for the rest of the core, and yellow to dark red
//! the farther away the data are.
//! Their names always stand beside them.

/// Colours on light paper.
pub(crate) const LIGHT: &str = "--ink:#1c2430;--soft:#56616d;--line:#dfe4ea;--grid:#e6eaef;--paper:#ffffff;--page:#f5f7f9;--accent:#0072b2;\
--direct:#0072b2;--im2col:#cc79a7;--gemm:#009e73;--winograd:#d55e00;--pool:#a87900;--other:#777777;--peer:#1c2430;\
--compute:#5b5fc7;--l1:#f7dc7a;--l2:#f2b544;--l3:#e07a3f;--dram:#b2233c;--core:#b9a7e6;--overhead:#8a94a0;--undecided:#c9d0d8";

/// Colours on dark paper.
pub(crate) const DARK: &str = "--ink:#e6eaf0;--soft:#a3aeb9;--line:#2d3640;--grid:#242c35;--paper:#171c22;--page:#0f1317;--accent:#56b4e9;\
--direct:#56b4e9;--im2col:#e39cc4;--gemm:#2fcf9f;--winograd:#ff9248;--pool:#e3bd4a;--other:#aaaaaa;--peer:#e6eaf0;\
--compute:#8b8ff0;--l1:#f7e08f;--l2:#f0b84a;--l3:#f08a50;--dram:#e0566c;--core:#c9b8f5;--overhead:#7f8a96;--undecided:#4a545f";

/// Rules of the picture.
pub(crate) const PICTURE: &str = ".paper{fill:var(--paper)}.grid{stroke:var(--grid);fill:none}\
.tick,.axis,.roof-label,.label{fill:var(--soft);font-size:12.5px}.label{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}.axis{font-size:13.5px}.title{fill:var(--ink);font-size:17px;font-weight:600}\
.roof{stroke:var(--ink);fill:none;stroke-width:1.6}.roof.minor{stroke:var(--soft);stroke-dasharray:4 4;stroke-width:1}\
.direct{--c:var(--direct)}.im2col{--c:var(--im2col)}.gemm{--c:var(--gemm)}.winograd{--c:var(--winograd)}.pool{--c:var(--pool)}.other{--c:var(--other)}.peer{--c:var(--peer)}\
.dot{fill:var(--c);fill-opacity:.78;stroke:var(--paper);stroke-width:1.2}.bf16 .dot,.int8 .dot{stroke:var(--ink)}.bf16 .dot{stroke-dasharray:3 2}.ghost{fill:var(--paper);stroke:var(--c);stroke-width:1.7}.link{stroke:var(--c);stroke-opacity:.5}.phase .link{stroke-opacity:.18}.phase:hover .link,.phase:focus .link{stroke-opacity:.9}.lead{stroke:var(--soft);stroke-width:.8;fill:none}";

/// The style of a standalone picture.
pub(super) fn standalone() -> String {
    format!(
        "<style>svg{{{LIGHT};font-family:system-ui,sans-serif}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}{PICTURE}</style>"
    )
}
