use super::*;
use std::collections::HashSet;

/// Parameters, and multiply-accumulates in millionths of 10^9, as published (torchvision) or
/// recomputed from the layers' definitions.
const TOTALS: [(&str, u64, u64); 18] = [
    ("nin", 7_595_176, 1_100_189),
    ("nin-cifar10", 966_986, 222_487),
    ("nin-d2l", 1_992_166, 762_297),
    ("resnet18", 11_689_512, 1_814_073),
    ("resnet34", 21_797_672, 3_663_761),
    ("resnet50", 25_557_032, 4_089_184),
    ("resnet101", 44_549_160, 7_801_405),
    ("resnet152", 60_192_808, 11_513_627),
    ("vgg11", 132_863_336, 7_609_090),
    ("vgg13", 133_047_848, 11_308_466),
    ("vgg16", 138_357_544, 15_470_264),
    ("vgg19", 143_667_240, 19_632_062),
    ("googlenet", 6_998_552, 1_582_672),
    ("googlenet-tv", 6_624_904, 1_498_376),
    ("alexnet", 61_100_840, 714_188),
    ("alexnet-original", 60_965_224, 724_407),
    ("lenet5", 431_080, 2_293),
    ("lenet-d2l", 61_706, 417),
];

#[test]
fn totals_are_the_published_ones() {
    let networks = all();
    assert_eq!(networks.len(), TOTALS.len());
    for (network, (name, parameters, macs)) in networks.iter().zip(TOTALS) {
        assert_eq!(network.name, name);
        assert_eq!(network.parameters(), parameters, "{name}");
        assert_eq!((network.macs() as f64 / 1e3).round() as u64, macs, "{name}");
    }
}

#[test]
fn every_layers_input_is_made_by_one_before() {
    for network in all() {
        let [c, h, w] = network.input;
        let mut made = HashSet::from([[1, c, h, w]]);
        for layer in &network.layers {
            let src = layer.problem.src_dims();
            assert!(
                made.contains(&src),
                "{}/{}: nothing makes {src:?}",
                network.name,
                layer.name
            );
            made.insert(layer.problem.dst_dims());
            // A concatenation is there once its last part is.
            for concat in &network.concats {
                if concat.parts.last() == Some(&layer.name) {
                    made.insert(network.concat_dims(concat));
                }
            }
        }
    }
}

#[test]
fn every_output_is_used_behind() {
    for network in all() {
        let parts: HashSet<_> = network.concats.iter().flat_map(|c| &c.parts).collect();
        let (last, before) = network.layers.split_last().expect("layers");
        let [n, c, ..] = last.problem.dst_dims();
        assert_eq!((n, c), (1, if c < 1000 { 10 } else { 1000 }), "classes");
        for (i, layer) in before.iter().enumerate() {
            let dst = layer.problem.dst_dims();
            // A layer that occurs several times is listed where it first does.
            let behind = |(at, l): &(usize, &Layer)| *at > i || l.count > 1;
            let used = network
                .layers
                .iter()
                .enumerate()
                .filter(behind)
                .any(|(_, l)| {
                    l.problem.src_dims() == dst
                        || (l.problem.epilogue.residual && l.problem.dst_dims() == dst)
                });
            assert!(
                used || parts.contains(&layer.name),
                "{}/{}: nothing uses {dst:?}",
                network.name,
                layer.name
            );
        }
    }
}

#[test]
fn epilogues_are_those_of_the_folded_network() {
    for network in all() {
        for layer in &network.layers {
            let epilogue = layer.problem.epilogue;
            let pool = layer.kind == LayerKind::Pool;
            let name = format!("{}/{}", network.name, layer.name);
            assert_eq!(pool, matches!(layer.problem.op, Op::Pool(_)), "{name}");
            assert_eq!(epilogue.bias, !pool, "{name}");
            // ResNet's shortcuts are added to the last convolution of a block.
            let last = ["1x1b", "3x3b"].iter().any(|e| layer.name.ends_with(e));
            let resnet = network.name.starts_with("resnet");
            assert_eq!(epilogue.residual, resnet && last, "{name}");
            if layer.kind == LayerKind::FullyConnected {
                let [_, _, h, w] = layer.problem.dst_dims();
                assert_eq!([h, w], [1, 1], "{name}");
            }
        }
    }
}

#[test]
fn names_are_unique() {
    for network in all() {
        let layers = network.layers.iter().map(|l| &l.name);
        let names: Vec<_> = layers
            .chain(network.concats.iter().map(|c| &c.name))
            .collect();
        let unique: HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), unique.len(), "{}", network.name);
    }
}

#[test]
fn batch_multiplies_the_work() {
    for network in all() {
        let (macs, parameters) = (network.macs(), network.parameters());
        let eight = network.with_batch(8).expect("a small batch");
        assert_eq!((eight.macs(), eight.parameters()), (8 * macs, parameters));
    }
}

#[test]
fn networks_are_found_by_name() {
    for network in all() {
        assert_eq!(find(&network.name), Ok(network));
    }
    let error = find("resnet51").expect_err("no such network").to_string();
    assert!(error.contains("'resnet51'"), "{error}");
    assert!(names().iter().all(|name| error.contains(name)), "{error}");
}

#[test]
fn inception_joins_its_branches() {
    let network = find("googlenet").expect("a network");
    let dims = |name: &str| {
        let concat = network.concats.iter().find(|c| c.name == name);
        network.concat_dims(concat.expect("an inception block"))
    };
    assert_eq!(dims("inception_3a"), [1, 256, 28, 28]);
    assert_eq!(dims("inception_4e"), [1, 832, 14, 14]);
    assert_eq!(dims("inception_5b"), [1, 1024, 7, 7]);
}

#[test]
fn broken_tables_say_what_is_wrong() {
    let conv = |name: &str, sizes: &str| format!("{name} x1 conv mb1ic1ih8oc2{sizes}\n");
    let (same, smaller) = (conv("a", "kh3ph1"), conv("b", "kh3ph0"));
    for (lines, part) in [
        (String::from("a x1"), "expected a count"),
        (String::from("a x1 conv"), "expected a kind"),
        (String::from("a 1 conv mb1ic1ih8oc1kh1"), "expected x and"),
        (
            String::from("a x1 convolution mb1ic1ih8oc1kh1"),
            "unknown kind",
        ),
        (String::from("a x1 conv mb1ic1ih8oc1"), "kh is missing"),
        (format!("{same}c concat a b"), "no layer 'b' before"),
        (format!("{same}{smaller}c concat a b"), "another size"),
        (format!("{same}c concat"), "nothing to join"),
    ] {
        let table = format!("title T\ninput 1x8x8\n{lines}");
        let error = parse("t", &table).expect_err(&lines);
        assert!(error.contains(part), "{lines}: {error}");
    }
}
