//! Selection of element types.

use super::output::note;
use crate::networks::{in_type, requested_type};
use crate::record::{LayerRef, Text};
use crate::units::plural;
use anyhow::{Result, bail};
use convroof_kernels::Problem;
use convroof_kernels::dtype::DType;

/// Option for element types.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct Types {
    /// Element types of the layers, separated by commas: f32, bf16, u8 (with weights of s8) [default: f32]
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = requested_type)]
    dt: Vec<DType>,
}

impl Types {
    /// True if the option is given.
    pub(super) fn are_chosen(&self) -> bool {
        !self.dt.is_empty()
    }

    /// Each layer in each of the types. All forms of a layer follow each other, so that they are measured close together.
    /// Operations that have no form in a type stay f32, and a note says so.
    ///
    /// # Errors
    /// When a layer states types of its own.
    pub(super) fn of(&self, layers: Vec<LayerRef>) -> Result<Vec<LayerRef>> {
        if self.dt.is_empty() {
            return Ok(layers);
        }
        let mut types: Vec<DType> = Vec::new();
        for &dtype in &self.dt {
            if !types.contains(&dtype) {
                types.push(dtype);
            }
        }
        let mut typed = Vec::new();
        let mut kept = Kept::default();
        for layer in layers {
            let problem = layer.problem.parsed()?;
            if !layer.dt.is(&DType::F32) {
                bail!("'{problem}' states its own types: leave them out, or omit --dt");
            }
            for &dtype in &types {
                typed.push(LayerRef {
                    dt: Text::of(dtype),
                    problem: Text::of(kept.form(&layer, &problem, dtype)),
                    ..layer.clone()
                });
            }
        }
        if let Some(line) = kept.line() {
            note(&line);
        }
        Ok(typed)
    }
}

/// Layers that stay f32.
#[derive(Default)]
struct Kept {
    /// Names of these layers, each once.
    names: Vec<String>,
    /// Reason for the first.
    why: String,
}

impl Kept {
    /// The layer's problem in a type, or unchanged if it has no such form.
    fn form(&mut self, layer: &LayerRef, problem: &Problem, dtype: DType) -> Problem {
        in_type(problem, dtype).unwrap_or_else(|why| {
            let name = format!("{}/{}", layer.network, layer.layer);
            if self.names.is_empty() {
                self.why = why;
            }
            if !self.names.contains(&name) {
                self.names.push(name);
            }
            *problem
        })
    }

    /// A line about these layers; none if there are none.
    fn line(&self) -> Option<String> {
        let first = self.names.first()?;
        let stay = match self.names.len() {
            1 => format!("{first} stays"),
            n => format!("{}, {first} first, stay", plural(n, "layer")),
        };
        Some(format!("{stay} f32: {}", self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(network: &str, layer: &str, problem: &str) -> LayerRef {
        let problem: Problem = problem.parse().expect("a problem");
        LayerRef {
            network: network.into(),
            dt: Text::of(problem.dtypes.src),
            layer: layer.into(),
            kind: "conv".into(),
            count: 2,
            problem: Text::of(problem),
        }
    }

    fn types(dt: &[DType]) -> Types {
        Types { dt: dt.to_vec() }
    }

    #[test]
    fn each_layer_has_all_its_forms_in_turn() {
        let layers = vec![
            layer("nin", "a", "mb1ic16ih8oc16oh8kh3ph1"),
            layer("nin", "prob", "--softmax 1x1000x1x1"),
        ];
        assert_eq!(types(&[]).of(layers.clone()).expect("layers"), layers);
        let both = types(&[DType::U8, DType::F32, DType::U8]).of(layers.clone());
        let both = both.expect("layers");
        let found: Vec<_> = both.iter().map(|l| (&*l.layer, l.dt.as_str())).collect();
        assert_eq!(
            found,
            [("a", "u8"), ("a", "f32"), ("prob", "u8"), ("prob", "f32")]
        );
        assert!(
            both[0].problem.starts_with("--dt=u8:s8:u8 "),
            "{}",
            both[0].problem
        );
        assert_eq!(both[1], layers[0]);
        assert_eq!(both[2].problem, both[3].problem);
        assert_eq!(both[0].count, 2);
    }

    #[test]
    fn layers_that_stay_f32_are_named() {
        let mut kept = Kept::default();
        assert_eq!(kept.line(), None);
        let softmax = layer("nin", "prob", "--softmax 1x1000x1x1");
        let problem = softmax.problem.parsed().expect("a problem");
        for dtype in [DType::Bf16, DType::U8] {
            assert_eq!(kept.form(&softmax, &problem, dtype), problem);
        }
        let line = kept.line().expect("a line");
        assert!(
            line.starts_with("nin/prob stays f32: ") && line.contains("f32 only"),
            "{line}"
        );
    }

    #[test]
    fn a_layer_with_types_of_its_own_is_refused() {
        let own = vec![layer(
            "custom",
            "x",
            "--dt=u8:s8:u8 mb1ic16ih8oc16oh8kh3ph1",
        )];
        let error = types(&[DType::F32]).of(own).expect_err("two types");
        assert!(error.to_string().contains("omit --dt"), "{error}");
    }
}
