//! Tests of peer libraries: the host's protocol, and `bench --peers` with the compiled-in peers. Installed libraries
//! are tested if they exist (`target/peers`).
#![cfg(feature = "peers")]

mod command;

use command::convroof;
use convroof::peers::protocol::{LayerShape, REPLY, Reply, Request, floats, receive, send};
use convroof_kernels::conformance::Data;
use convroof_kernels::conformance::Deviation;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::{Isa, Problem, reference};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Sends requests to a host. Returns its replies, and the floats of an output.
fn talk(library: &[&str], requests: &[(Request, Vec<&[f32]>)]) -> (Vec<Reply>, Vec<f32>) {
    let mut input = Vec::new();
    for (request, with) in requests {
        send(&mut input, request, with).expect("a vector takes everything");
    }
    let output = convroof()
        .arg("peer-host")
        .args(library)
        .write_stdin(input)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let mut from = output.as_slice();
    let (mut replies, mut result) = (Vec::new(), Vec::new());
    while let Some(reply) = receive::<Reply>(&mut from, REPLY).expect("replies") {
        if let Reply::Output { len } = reply {
            result = floats(&mut from, len).expect("an output");
        }
        replies.push(reply);
    }
    (replies, result)
}

/// Plans, loads, times and reads a problem. Returns the replies and the error of the output.
fn compute(library: &[&str], form: &str, problem: &Problem) -> (Vec<Reply>, f64) {
    let data = Data::new(problem, Fill::Uniform, 3);
    let x = data.operands();
    let plan = Request::Plan {
        problem: problem.to_string(),
        layer: LayerShape::of(problem).expect("a layer"),
        form: form.into(),
    };
    let load = Request::Load {
        plan: 0,
        src: x.src.len(),
        weights: x.weights.len(),
        bias: x.bias.len(),
        residual: x.residual.len(),
    };
    let requests = [
        (plan, vec![]),
        (load, vec![x.src, x.weights, x.bias, x.residual]),
        (Request::Time { plan: 0, runs: 2 }, vec![]),
        (Request::Output { plan: 0 }, vec![]),
    ];
    let (replies, output) = talk(library, &requests);
    let expected = reference::compute(problem, x, &Serial);
    let error = Deviation::between(&output, &expected).max;
    (replies, error)
}

const CONVOLUTIONS: [&str; 5] = [
    "--dir=FWD_B --attr-post-ops=relu mb1ic3ih17oc20oh9kh5sh2ph2",
    "--dir=FWD_B --attr-post-ops=add:f32:per_tensor+relu mb2ic16ih7oc33oh7kh1ph0",
    "g2mb1ic6ih9oc4oh5kh3sh2ph1",
    "mb1ic5ih12oc8oh8kh3ph0dh1",
    "--dir=FWD_B mb1ic40ih1oc10oh1kh1ph0",
];

#[test]
fn products_from_crates_compute_convolutions() {
    for library in ["gemm", "matrixmultiply", "rten"] {
        for text in CONVOLUTIONS {
            let problem = text.parse().expect("a problem");
            let (replies, error) = compute(&[library], "nchw", &problem);
            assert!(error < 1e-5, "{library} {text}: {error}");
            assert!(matches!(&replies[3], Reply::Took { ns } if *ns > 0.0));
        }
    }
}

#[test]
fn a_host_refuses_what_it_cannot() {
    let problem: Problem = "--pool --alg=max mb1ic2ih4oh2kh2sh2"
        .parse()
        .expect("a problem");
    let layer = LayerShape::of(&problem).expect("a layer");
    let (problem, form) = (problem.to_string(), "nchw".to_string());
    let plan = Request::Plan {
        problem,
        layer,
        form,
    };
    let (replies, _) = talk(&["gemm"], &[(plan, vec![])]);
    assert!(matches!(&replies[1], Reply::Refused { reason } if reason.contains("convolutions")));
}

#[test]
fn a_library_that_is_none_is_a_line() {
    let library = std::env::current_exe().expect("a file that is no library");
    let path = library.to_str().expect("a name");
    let (replies, _) = talk(&["onednn", "--path", path], &[]);
    let [Reply::Failed { reason }] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert!(!reason.contains('\n'), "{reason}");
}

#[test]
fn a_bench_goes_on_without_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = convroof()
        .args([
            "bench",
            "--peers",
            "--json",
            "--threads",
            "1",
            "--budget",
            "1",
        ])
        .args([
            "--problem",
            "mb1ic16ih8oc16oh8kh1ph0",
            "--variant",
            "gemm-1x1/scalar/st",
        ])
        .arg("--results")
        .arg(folder.path())
        .arg("--peers-from")
        .arg(folder.path().join("nothing"))
        .assert()
        .success();
    let said = String::from_utf8_lossy(&bench.get_output().stderr).into_owned();
    let without: Vec<&str> = said.lines().filter(|l| l.contains("without")).collect();
    assert!(
        without
            .iter()
            .any(|l| l.contains("onednn") && l.contains("scripts/peers")),
        "{said}"
    );
    let rows: Vec<Value> = String::from_utf8_lossy(&bench.get_output().stdout)
        .lines()
        .map(|l| serde_json::from_str(l).expect("a row"))
        .collect();
    let row = rows
        .iter()
        .find(|r| r["variant"] == "peer-gemm-nchw/auto/st");
    assert_eq!(row.expect("a peer's row")["verified"], true);
    convroof()
        .arg("report")
        .arg("--results")
        .arg(folder.path())
        .assert()
        .success()
        .stdout(predicates::str::contains("other libraries"));
}

/// The folder that scripts/peers fills; none if peers are neither installed nor required.
fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    let there = folder.join("venv/lib/libdnnl.so.3").exists();
    assert!(
        there || std::env::var_os("CONVROOF_REQUIRE_PEERS").is_none(),
        "scripts/peers was not run"
    );
    there.then_some(folder)
}

#[test]
fn onednn_computes_the_same() {
    let Some(folder) = installed() else {
        eprintln!("skipped: scripts/peers was not run");
        return;
    };
    let path = folder.join("venv/lib/libdnnl.so.3");
    let path = path.to_str().expect("a name");
    let pools = [
        "--pool --alg=max mb1ic17ih12oh6kh3sh2ph1",
        "--pool --alg=avg_p mb1ic17ih12oh6kh3sh2ph1",
        "--pool --alg=avg_np mb1ic17ih7oh1kh7",
    ];
    // Blocks of 16 channels need vectors of 16 lanes.
    let refused = Isa::Avx512.detect().is_none();
    let mut blocked = 0;
    for text in CONVOLUTIONS.iter().chain(&pools) {
        for form in ["any", "nchw16c", "nhwc"] {
            if form == "nchw16c" && refused {
                continue;
            }
            let problem = text.parse().expect("a problem");
            let (replies, error) = compute(&["onednn", "--path", path], form, &problem);
            // For some shapes oneDNN has only its reference implementation, which isn't a fair peer.
            if form == "nchw16c" && matches!(replies[1], Reply::Refused { .. }) {
                assert!(matches!(replies[2], Reply::Failed { .. }), "{replies:?}");
                continue;
            }
            assert!(error < 1e-5, "{form} {text}: {error} {replies:?}");
            blocked += usize::from(form == "nchw16c");
        }
    }
    assert!(refused || blocked >= 4, "{blocked} in blocks");
}

#[test]
fn libraries_behind_python_compute_the_same() {
    let Some(folder) = installed() else {
        eprintln!("skipped: scripts/peers was not run");
        return;
    };
    let results = tempfile::tempdir().expect("a folder");
    let mut bench = convroof();
    bench
        .args([
            "bench",
            "--peers",
            "--json",
            "--threads",
            "1",
            "--budget",
            "1",
        ])
        .args([
            "--variant",
            "direct/scalar/st,maxpool/scalar/st,avgpool/scalar/st",
        ])
        .args([
            "--problem",
            "--dir=FWD_B --attr-post-ops=relu mb1ic3ih17oc20oh9kh5sh2ph2",
        ])
        .args(["--problem", "mb1ic16ih9iw6oc24oh5ow6kh3kw1sh2sw1ph1pw0"])
        .args(["--problem", "--pool --alg=max mb1ic17ih12oh6kh3sh2ph1"])
        .args(["--problem", "--pool --alg=avg_np mb1ic17ih12oh6kh3sh2ph1"])
        .arg("--results")
        .arg(results.path())
        .arg("--peers-from")
        .arg(folder);
    let bench = bench.assert().success();
    let text = String::from_utf8_lossy(&bench.get_output().stdout).into_owned();
    let verified = |peer: &str| {
        let rows = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).expect("a row"));
        rows.filter(|r| r["variant"] == peer && r["verified"] == true)
            .count()
    };
    assert_eq!(verified("peer-onnxruntime-nchw/auto/st"), 4);
    assert_eq!(verified("peer-ncnn-nchw/auto/st"), 4);
    assert_eq!(verified("peer-mnn-nchw/auto/st"), 4);
    assert_eq!(verified("peer-onednn-any/auto/st"), 4);
}
