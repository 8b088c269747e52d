//! Colours and rules of pictures and of the HTML page. The page switches between the two palettes by a class, a
//! standalone picture by the reader's preference.
//!
//! Colours are verdicts: indigo for arithmetic, lilac for the rest of the core, and yellow to dark red the farther away
//! the data are. Colour-blind readers can distinguish them by lightness, and their names always stand beside them. Shapes
//! are families of algorithms.

/// Colours on light paper.
pub(crate) const LIGHT: &str = "--ink:#1c2430;--soft:#56616d;--line:#dfe4ea;--grid:#e6eaef;--paper:#ffffff;--page:#f5f7f9;--accent:#0072b2;\
--compute:#5b5fc7;--l1:#f7dc7a;--l2:#f2b544;--l3:#e07a3f;--dram:#b2233c;--core:#b9a7e6;--overhead:#8a94a0;--undecided:#c9d0d8";

/// Colours on dark paper.
pub(crate) const DARK: &str = "--ink:#e6eaf0;--soft:#a3aeb9;--line:#2d3640;--grid:#242c35;--paper:#171c22;--page:#0f1317;--accent:#56b4e9;\
--compute:#8b8ff0;--l1:#f7e08f;--l2:#f0b84a;--l3:#f08a50;--dram:#e0566c;--core:#c9b8f5;--overhead:#7f8a96;--undecided:#4a545f";

/// Rules of the picture.
pub(crate) const PICTURE: &str = ".paper{fill:var(--paper)}.grid{stroke:var(--grid);fill:none}\
.tick,.axis,.roof-label,.label{fill:var(--soft);font-size:12.5px}.label{fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}.axis{font-size:13.5px}.title{fill:var(--ink);font-size:17px;font-weight:600}\
.roof{stroke:var(--ink);fill:none;stroke-width:1.6}.roof.minor{stroke:var(--soft);stroke-dasharray:4 4;stroke-width:1}\
.compute{--c:var(--compute)}.l1{--c:var(--l1)}.l2{--c:var(--l2)}.l3{--c:var(--l3)}.dram{--c:var(--dram)}.core{--c:var(--core)}.overhead{--c:var(--overhead)}.undecided{--c:var(--undecided)}.family{--c:var(--soft)}\
.dot{fill:var(--c);fill-opacity:.85;stroke:var(--ink);stroke-opacity:.55;stroke-width:.8}.bf16 .dot,.int8 .dot{stroke-opacity:1;stroke-width:1.8}.bf16 .dot{stroke-dasharray:3 2}.ghost{fill:var(--paper);stroke:var(--c);stroke-width:1.7}.lead{stroke:var(--soft);stroke-width:.8;fill:none}";

/// The style of a standalone picture.
pub(super) fn standalone() -> String {
    format!(
        "<style>svg{{{LIGHT};font-family:system-ui,sans-serif}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}{PICTURE}</style>"
    )
}
