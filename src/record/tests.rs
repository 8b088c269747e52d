use super::*;

/// A small record with something in every list.
pub(crate) fn sample() -> Run {
    let measurement = Measurement {
        problem: "mb1ic64ih56oc64oh56kh3ph1".into(),
        variant: "direct/avx2/st".into(),
        implementation: None,
        threads: 1,
        cache: "warm".into(),
        runs_per_sample: 1,
        samples_ns: vec![2.0e6, 2.1e6, 2.05e6],
        rounds: vec![0, 1, 2],
        peak_gflops: vec![118.0, 117.5, 118.1],
        flops_nominal: 231_211_008,
        flops_executed: 228_000_000,
        bytes_read: 950_272,
        bytes_written: 802_816,
        packed_bytes: 147_712,
        workspace_bytes: 4096,
        working_set_bytes: 1_753_344,
        error_l2: 1e-7,
        error_max: 2e-7,
        tolerance: 1e-5,
        verified: true,
        errors_by_input: vec![InputError {
            input: "post-relu".into(),
            l2: 1e-7,
            max: 2e-7,
        }],
        phases: vec![PhaseTime {
            phase: "multiply".into(),
            ns: 1.8e6,
            flops: 228_000_000,
            bytes_read: 950_000,
            bytes_written: 802_816,
            scratch_read: 0,
            scratch_written: 0,
        }],
        ablation: Some(AblationTimes {
            full_ns: vec![2.0e6, 2.1e6, 2.05e6],
            loads_only_ns: vec![0.8e6, 0.84e6, 0.82e6],
            arith_only_ns: vec![1.94e6, 2.04e6, 1.99e6],
            one_panel_ns: vec![2.0e6, 2.1e6, 2.05e6],
        }),
        cold_read: Some(ColdRead {
            bytes: 147_712,
            ns: vec![9.2e3, 9.3e3, 9.2e3],
            arena_bytes: 96 << 20,
        }),
        counters: vec![CounterValue {
            event: "page-faults".into(),
            source: CounterSource::Software,
            per_run: 0.0,
            running_fraction: 1.0,
        }],
    };
    let bandwidth = |level, gbps| Bandwidth {
        level,
        op: "read".into(),
        isa: "avx2".into(),
        threads: 1,
        working_set_bytes: 16384,
        gbps,
        spread: 0.01,
    };
    Run {
        kind: KIND.into(),
        schema: SCHEMA,
        started: "2026-11-23T20:00:00Z".into(),
        tool: Tool {
            version: "0.1.0".into(),
            profile: "release".into(),
            ..Tool::default()
        },
        fingerprint: Fingerprint {
            id: "test".into(),
            arch: "x86_64".into(),
            os: "linux".into(),
            isas: vec!["scalar".into(), "avx2".into()],
            online_cpus: 2,
            physical_cores: 2,
            caches: [(1, 32 << 10), (2, 1 << 20), (3, 32 << 20)]
                .map(|(level, bytes)| CacheInfo {
                    level,
                    bytes,
                    shared_by: 1,
                    source: "sysfs".into(),
                })
                .into(),
            ..Fingerprint::default()
        },
        calibration: Calibration {
            peaks: vec![Peak {
                isa: "avx2".into(),
                dt: "f32".into(),
                threads: 1,
                gflops: 118.0,
                spread: 0.01,
            }],
            bandwidths: vec![
                bandwidth(Level::L1, 230.0),
                bandwidth(Level::L2, 110.0),
                bandwidth(Level::L3, 50.0),
                bandwidth(Level::Dram, 20.0),
            ],
            capacities: vec![Capacity {
                level: Level::L3,
                threads: 1,
                bytes: 32 << 20,
            }],
            starts: vec![Start {
                threads: 1,
                ns: 2.0,
            }],
            notes: vec![],
        },
        conditions: Conditions {
            threads: vec![1],
            batch: 1,
            cache: "warm".into(),
            interleaved: true,
            pinned: true,
            cpus: vec![2, 0],
            quota_cpus: Some(1.5),
            throttling: Some(Throttling {
                periods: 3,
                us: 4500,
            }),
            ..Conditions::default()
        },
        layers: vec![LayerRef {
            network: "resnet50".into(),
            dt: "f32".into(),
            layer: "conv2_x.3x3".into(),
            kind: "conv".into(),
            count: 3,
            problem: measurement.problem.clone(),
        }],
        refusals: vec![Refusal {
            problem: measurement.problem.clone(),
            variant: "gemm-1x1/avx2/st".into(),
            reason: "the kernel is not 1x1".into(),
        }],
        measurements: vec![measurement],
        peers: vec!["oneDNN 3.2.0".into()],
        counters: vec![CounterStatus {
            event: "cycles".into(),
            source: CounterSource::Pmu,
            available: false,
            reason: Some("not exposed by the hypervisor".into()),
        }],
        noise: vec![NoisePeriod {
            during: "before".into(),
            seconds: 0.1,
            load_average: Some(0.1),
            steal: Some(0.0),
            others: Some(0.01),
            switches: Some(0),
            mhz: Some((3400.0, 3500.0)),
        }],
        complete: true,
        notes: vec![],
    }
}

/// The small record with its layer in u8, too: twice as fast, under twice the peak.
pub(crate) fn in_two_types() -> Run {
    let mut run = sample();
    let int8 = Peak {
        dt: "u8".into(),
        gflops: 236.0,
        ..run.calibration.peaks[0].clone()
    };
    run.calibration.peaks.push(int8);
    let problem: Text<Problem> = "--dt=u8:s8:u8 mb1ic64ih56oc64oh56kh3ph1".into();
    run.layers.push(LayerRef {
        dt: "u8".into(),
        problem: problem.clone(),
        ..run.layers[0].clone()
    });
    let mut m = run.measurements[0].clone();
    m.problem = problem;
    m.samples_ns.iter_mut().for_each(|ns| *ns /= 2.0);
    m.peak_gflops = vec![236.0; m.samples_ns.len()];
    for ns in m.phases.iter_mut().map(|p| &mut p.ns) {
        *ns /= 2.0;
    }
    m.ablation = None;
    run.measurements.push(m);
    run
}

#[test]
fn types_are_absent_for_f32_and_read_back() {
    let run = in_two_types();
    let json = serde_json::to_value(&run).expect("JSON");
    let dt = |path: &str| json.pointer(path).cloned();
    assert_eq!(dt("/calibration/peaks/0/dt"), None);
    assert_eq!(dt("/layers/0/dt"), None);
    assert_eq!(dt("/calibration/peaks/1/dt"), Some("u8".into()));
    assert_eq!(dt("/layers/1/dt"), Some("u8".into()));
    assert_eq!(serde_json::from_value::<Run>(json).expect("a record"), run);
    assert_eq!(run.measurements[1].arithmetic(), Arithmetic::Int8);
    let newer = Peak {
        dt: "s4".into(),
        ..run.calibration.peaks[0].clone()
    };
    assert_eq!(newer.arithmetic(), None);
}

fn error(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    std::fs::write(&path, text).expect("written");
    load(&path).expect_err("not a record").to_string()
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/run.json");
    let mut run = sample();
    // A seed may have any value.
    run.conditions.seed = u64::MAX;
    save(&run, &path).expect("saved");
    assert_eq!(load(&path).expect("loaded"), run);
    let files = std::fs::read_dir(path.parent().expect("a folder"))
        .expect("listed")
        .count();
    assert_eq!(files, 1, "no temporary file is left");
}

#[test]
fn two_runs_of_one_second_have_a_file_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = save_new(&sample(), folder.path()).expect("saved");
    let mut other = sample();
    other.notes.push("another run".into());
    let second = save_new(&other, folder.path()).expect("saved");
    assert_eq!(
        first.file_name(),
        Some("2026-11-23T20-00-00Z.json".as_ref())
    );
    assert_eq!(
        second.file_name(),
        Some("2026-11-23T20-00-00Z-02.json".as_ref())
    );
    assert_eq!(load(&first).expect("loaded"), sample());
    assert_eq!(load(&second).expect("loaded"), other);
}

#[test]
fn bad_records_are_refused_in_one_line() {
    let text = serde_json::to_string(&sample()).expect("JSON");
    let newer = text.replace("\"schema\":1", "\"schema\":2");
    let path = text.replace("\"id\":\"test\"", "\"id\":\"../x\"");
    let typo = text.replace("\"level\":\"l2\"", "\"level\":\"l9\"");
    let huge = text.replace(
        "\"bytes_read\":950272",
        "\"bytes_read\":18446744073709551615",
    );
    for (text, part) in [
        ("", "damaged"),
        ("{\"kind\":\"other\"}", "kind is not convroof-run"),
        (&text[..text.len() / 2], "damaged"),
        (&newer, "has schema 2, this program reads up to 1"),
        (&path, "is no id of a machine"),
        (&typo, "unknown variant `l9`"),
        (&huge, "18446744073709551615 is too large for a count"),
    ] {
        let error = error(text);
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn records_of_programs_that_knew_no_quota_and_no_noise_are_read() {
    let mut old = serde_json::to_value(sample()).expect("JSON");
    let conditions = old["conditions"].as_object_mut().expect("an object");
    for key in ["cpus", "quota_cpus", "throttling"] {
        assert!(conditions.remove(key).is_some(), "{key}");
    }
    old.as_object_mut().expect("an object").remove("noise");
    let run: Run = serde_json::from_value(old).expect("an old record");
    assert_eq!((run.conditions.cpus.len(), run.noise.len()), (0, 0));
    assert_eq!(
        (run.conditions.quota_cpus, run.conditions.throttling),
        (None, None)
    );
}

/// A core's sibling threads run no worker of ours, so their share of a cache belongs to the core.
#[test]
fn caches_are_shared_by_cores() {
    let cache = |level, shared_by| CacheInfo {
        level,
        bytes: 1 << 20,
        shared_by,
        source: "sysfs".into(),
    };
    let of = |shared_by: [usize; 3]| {
        let caches = [
            cache(1, shared_by[0]),
            cache(2, shared_by[1]),
            cache(3, shared_by[2]),
        ];
        [0, 1, 2].map(|i| caches[i].cores(&caches))
    };
    assert_eq!(of([2, 2, 16]), [1, 1, 8], "two threads a core");
    assert_eq!(of([1, 1, 8]), [1, 1, 8]);
    assert_eq!(of([1, 4, 10]), [1, 4, 10], "a cluster's L2");
    assert_eq!(of([0, 0, 0]), [1, 1, 1], "a damaged record");
}

#[test]
fn records_fit_the_committed_schema() {
    let schema = include_str!("../../results/schema/run-v1.json");
    let schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let good = serde_json::to_value(in_two_types()).expect("JSON");
    let errors: Vec<String> = validator
        .iter_errors(&good)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    for (path, value) in [
        ("/schema", serde_json::json!(2)),
        ("/calibration/peaks/1/dt", serde_json::json!("s4")),
        ("/layers/1/dt", serde_json::json!("s32")),
        ("/calibration/bandwidths/0/level", serde_json::json!("l9")),
        ("/measurements/0/samples_ns/0", serde_json::json!("fast")),
        ("/measurements/0/threads", serde_json::json!(0)),
        ("/conditions/cpus/0", serde_json::json!(-1)),
        ("/conditions/quota_cpus", serde_json::json!(0)),
        ("/conditions/throttling/us", serde_json::json!(0.5)),
        ("/noise/0/steal", serde_json::json!(-0.5)),
        ("/noise/0/mhz", serde_json::json!([3400.0])),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).expect("there") = value;
        assert!(!validator.is_valid(&bad), "{path}");
    }
}
