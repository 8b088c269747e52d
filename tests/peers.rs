//! Tests of peer libraries: the host's protocol, and `bench --peers` with the compiled-in peers. Installed libraries
//! are tested if they exist (`target/peers`).
#![cfg(feature = "peers")]

mod command;

use command::convroof;
use convroof::peers::protocol::{LayerShape, REPLY, Reply, Request, outputs, receive, send};
use convroof_kernels::conformance::{Comparison, Data, compare};
use convroof_kernels::cost::Accuracy;
use convroof_kernels::data::Fill;
use convroof_kernels::exec::Serial;
use convroof_kernels::{Isa, Problem, reference};
use serde_json::Value;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;

/// Messages to a host.
fn input(requests: &[(Request, Vec<&[f32]>)]) -> Vec<u8> {
    let mut input = Vec::new();
    for (request, with) in requests {
        let with: Vec<&[u8]> = with.iter().map(|part| bytemuck::cast_slice(part)).collect();
        send(&mut input, request, &with).expect("a vector takes everything");
    }
    input
}

/// Replies of a host, and the numbers of an output.
fn replies(mut from: &[u8]) -> (Vec<Reply>, Vec<f64>) {
    let (mut replies, mut result) = (Vec::new(), Vec::new());
    while let Some(reply) = receive::<Reply>(&mut from, REPLY).expect("replies") {
        if let Reply::Output { len, numbers } = reply {
            result = outputs(&mut from, len, numbers).expect("an output");
        }
        replies.push(reply);
    }
    (replies, result)
}

/// Sends requests to a host. Returns its replies, and the numbers of an output.
fn talk(library: &[&str], requests: &[(Request, Vec<&[f32]>)]) -> (Vec<Reply>, Vec<f64>) {
    let output = convroof()
        .arg("peer-host")
        .args(library)
        .write_stdin(input(requests))
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    replies(&output)
}

fn plan(problem: &Problem, form: &str) -> Request {
    Request::Plan {
        problem: problem.to_string(),
        layer: LayerShape::of(problem).expect("a layer"),
        form: form.into(),
    }
}

/// Plans, loads, times and reads a problem. Returns the replies and the comparison of the output with the reference.
fn compute(library: &[&str], form: &str, problem: &Problem) -> (Vec<Reply>, Comparison) {
    let data = Data::new(problem, Fill::Uniform, 3).with_small_weights();
    let x = data.operands();
    let load = Request::Load {
        plan: 0,
        src: x.src.len(),
        weights: x.weights.len(),
        bias: x.bias.len(),
        residual: x.residual.len(),
        scales: x.scales.len(),
    };
    let operands = vec![x.src, x.weights, x.bias, x.residual, x.scales];
    let requests = [
        (plan(problem, form), vec![]),
        (load, operands),
        (Request::Time { plan: 0, runs: 2 }, vec![]),
        (Request::Output { plan: 0 }, vec![]),
    ];
    let (replies, output) = talk(library, &requests);
    let expected = reference::compute(problem, x, &Serial);
    let accuracy = Accuracy::Sum;
    let magnitude = Fill::Uniform.magnitude();
    let compared = compare(accuracy, problem, magnitude, &output, &expected);
    (replies, compared)
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
            let (replies, compared) = compute(&[library], "nchw", &problem);
            let error = compared.deviation.max;
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
    let (replies, _) = talk(&["gemm"], &[(plan(&problem, "nchw"), vec![])]);
    assert!(matches!(&replies[1], Reply::Refused { reason } if reason.contains("convolutions")));
}

/// Layers of other types than f32, with an f32 layer last.
fn narrow_and_wide() -> [(Request, Vec<&'static [f32]>); 3] {
    [
        "--dt=u8:s8:u8 mb1ic4ih4oc8kh1",
        "--dt=bf16:bf16:f32 mb1ic4ih4oc8kh1",
        "mb1ic4ih4oc8kh1",
    ]
    .map(|text| (plan(&text.parse().expect("a problem"), "nchw"), vec![]))
}

fn assert_narrow_is_refused(library: &str, replies: &[Reply]) {
    let [Reply::Hello { .. }, narrow @ .., Reply::Planned { .. }] = replies else {
        panic!("{library}: {replies:?}");
    };
    assert_eq!(narrow.len(), 2, "{library}: {replies:?}");
    for reply in narrow {
        let Reply::Refused { reason } = reply else {
            panic!("{library}: {reply:?}");
        };
        assert_eq!(reason, "measured in f32 only", "{library}");
    }
}

#[test]
fn libraries_of_f32_refuse_other_types() {
    for library in ["gemm", "matrixmultiply", "rten"] {
        let (replies, _) = talk(&[library], &narrow_and_wide());
        assert_narrow_is_refused(library, &replies);
    }
}

/// The host in Python, with empty modules in place of the libraries: a plan calls none of them.
#[test]
#[cfg(unix)]
fn libraries_behind_python_refuse_other_types() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let modules = tempfile::tempdir().expect("a folder");
    let module = |name: &str| {
        let path = modules.path().join(name).with_extension("py");
        std::fs::write(path, "__version__ = '1'\n").expect("written");
    };
    for library in ["onnxruntime", "openvino", "ncnn"] {
        ["numpy", library].into_iter().for_each(module);
        let mut host = Command::new("python3");
        host.args(["-c", include_str!("../src/peers/host.py"), library, "1"]);
        host.env("PYTHONPATH", modules.path());
        let output = assert_cmd::Command::from_std(host)
            .write_stdin(input(&narrow_and_wide()))
            .assert()
            .success();
        let (replies, _) = replies(&output.get_output().stdout);
        assert_narrow_is_refused(library, &replies);
    }
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
            let (replies, compared) = compute(&["onednn", "--path", path], form, &problem);
            let error = compared.deviation.max;
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

/// Layers of bytes: each pair of types, each part of the epilogue, groups, fully connected layers and poolings.
const BYTES: [&str; 18] = [
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc mb2ic16ih9oc24oh9kh3ph1",
    "--dt=u8:s8:s8 --attr-scales=src:common:0.3+wei:per_oc+dst:common:0.7 mb1ic20ih9oc33oh5kh3sh2ph1",
    "--dt=u8:s8:s32 mb1ic64ih7oc32oh7kh3ph1",
    "--dt=u8:s8:f32 --dir=FWD_B --attr-scales=src:common:0.03+wei:common:0.7 mb1ic16ih7oc32kh1ph0",
    "--dt=s8:s8:s8 --dir=FWD_B --attr-scales=wei:per_oc --attr-post-ops=relu mb1ic32ih9oc48oh9kh3ph1",
    "--dt=s8:s8:u8 --attr-scales=wei:per_oc --attr-zero-points=dst:common:100 mb1ic16ih9oc16kh1ph0",
    "--dt=s8:s8:s32 mb1ic64ih7oc32oh7kh3ph1",
    "--dt=s8:s8:f32 --dir=FWD_B --attr-post-ops=relu mb1ic3ih17oc20oh9kh5sh2ph2",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=src:common:0.05+wei:per_oc+dst:common:0.1 --attr-zero-points=src:common:7+dst:common:128 --attr-post-ops=relu mb1ic16ih9oc24oh9kh3ph1",
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc --attr-post-ops=sum:0.5:3:u8+relu mb1ic16ih9oc24kh1ph0",
    "--dt=u8:s8:s8 --attr-scales=wei:per_oc --attr-post-ops=sum:0.25:0:u8 mb1ic16ih9oc24oh9kh3ph1",
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc --attr-post-ops=add:u8:per_tensor+relu mb1ic16ih9oc24kh1ph0",
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc --attr-post-ops=add:f32:per_tensor mb1ic16ih9oc24oh9kh3ph1",
    "--dt=u8:s8:u8 --attr-scales=wei:per_oc g32mb1ic32ih9oc32oh9kh3ph1",
    "--dt=u8:s8:u8 --dir=FWD_B --attr-scales=wei:per_oc mb1ic200ih1oc30oh1kh1ph0",
    "--pool --alg=max --dt=u8 mb1ic17ih12oh6kh3sh2ph1",
    "--pool --alg=max --dt=s8 mb1ic17ih12oh6kh3sh2ph1",
    "--pool --alg=avg_np --dt=u8 mb1ic17ih7oh1kh7",
];

/// The definition of integer layers is to the last bit, and oneDNN keeps it.
#[test]
fn onednn_computes_the_same_bytes() {
    let Some(folder) = installed() else {
        eprintln!("skipped: scripts/peers was not run");
        return;
    };
    let path = folder.join("venv/lib/libdnnl.so.3");
    let path = path.to_str().expect("a name");
    for text in BYTES {
        for form in ["any", "nhwc"] {
            let problem = text.parse().expect("a problem");
            let (replies, compared) = compute(&["onednn", "--path", path], form, &problem);
            assert_eq!(compared.deviation.max, 0.0, "{form} {text}: {replies:?}");
        }
    }
}

/// oneDNN computes bf16 with AVX-512 alone, in emulation where the CPU has no instructions for it.
#[test]
fn onednn_computes_bf16_within_its_rounding() {
    let Some(folder) = installed() else {
        eprintln!("skipped: scripts/peers was not run");
        return;
    };
    let path = folder.join("venv/lib/libdnnl.so.3");
    let path = path.to_str().expect("a name");
    for text in [
        "--dt=bf16:bf16:bf16 --dir=FWD_B --attr-post-ops=relu mb1ic32ih9oc48oh9kh3ph1",
        "--dt=bf16:bf16:f32 mb1ic64ih9oc32kh1ph0",
        "--dt=bf16:bf16:bf16 --attr-post-ops=add:bf16:per_tensor mb1ic32ih9oc32kh1ph0",
        "--pool --alg=max --dt=bf16 mb1ic32ih12oh6kh3sh2ph1",
    ] {
        let problem = text.parse().expect("a problem");
        let (replies, compared) = compute(&["onednn", "--path", path], "any", &problem);
        match &replies[1] {
            Reply::Refused { reason } if Isa::Avx512.detect().is_none() => {
                assert!(reason.contains("no implementation"), "{text}: {reason}");
            }
            _ => assert!(compared.passes(), "{text}: {compared:?} {replies:?}"),
        }
    }
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
