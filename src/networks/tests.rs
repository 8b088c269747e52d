use super::*;
use std::collections::HashSet;

/// Parameters, and multiply-accumulates in units of 10^3, as published (torchvision) or recomputed from the layers'
/// definitions.
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
            let conv = matches!(layer.problem.op, Op::Conv(_));
            assert_eq!(epilogue.bias, conv, "{name}");
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
        (format!("{same}c block x1 a b +"), "no layer 'b' before"),
        (format!("{same}c block x1 a"), "a + behind the path"),
        (format!("{same}c block 1 a +"), "expected x and"),
    ] {
        let table = format!("title T\ninput 1x8x8\n{lines}");
        let error = parse("t", &table).expect_err(&lines);
        assert!(error.contains(part), "{lines}: {error}");
    }
}

fn graph(name: &str) -> Graph {
    Graph::new(find(name).expect("a network")).expect("a graph")
}

#[test]
fn graphs_have_every_layer_as_often_as_it_occurs() {
    for network in all() {
        let name = network.name.clone();
        let graph = Graph::new(network).unwrap_or_else(|e| panic!("{name}: {e}"));
        let layers = graph.nodes.iter().filter_map(|node| match node.op {
            NodeOp::Layer(layer) => Some(&graph.network.layers[layer]),
            NodeOp::Concat(_) => None,
        });
        let parameters: u64 = layers.clone().map(Layer::parameters).sum();
        assert_eq!(parameters, graph.network.parameters(), "{name}");
        let macs: u64 = layers.map(Layer::macs).sum();
        assert_eq!(macs, graph.network.macs(), "{name}");
    }
}

#[test]
fn shapes_fit_along_every_edge() {
    for network in all() {
        let graph = Graph::new(network.with_batch(2).expect("two images")).expect("a graph");
        for (i, node) in graph.nodes.iter().enumerate() {
            for &input in node.inputs.iter().chain(&node.residual) {
                assert!(input < Source::Node(i), "{}: behind its inputs", node.name);
            }
            let dst = graph.dims(Source::Node(i));
            match graph.problem(i) {
                Some(problem) => {
                    assert_eq!(graph.dims(node.inputs[0]), problem.src_dims());
                    assert_eq!(node.residual.is_some(), problem.epilogue.residual);
                    assert!(node.residual.is_none_or(|r| graph.dims(r) == dst));
                }
                None => {
                    let channels: usize = node.inputs.iter().map(|&s| graph.dims(s)[1]).sum();
                    assert_eq!(channels, dst[1], "{}", node.name);
                }
            }
            let used = graph.consumers(Source::Node(i)).count();
            assert_eq!(used > 0, i + 1 < graph.nodes.len(), "{}", node.name);
        }
        let names: HashSet<_> = graph.nodes.iter().map(|n| &n.name).collect();
        assert_eq!(names.len(), graph.nodes.len(), "unique names");
    }
}

/// Blocks as in table 1 of He et al. 2016. In each stage after the second, one shortcut has a layer. With bottlenecks,
/// one in the second stage has, too.
#[test]
fn resnets_have_their_shortcuts() {
    for (name, blocks, projections) in [
        ("resnet18", 8, 3),
        ("resnet34", 16, 3),
        ("resnet50", 16, 4),
        ("resnet101", 33, 4),
        ("resnet152", 50, 4),
    ] {
        let graph = graph(name);
        let added: Vec<Source> = graph.nodes.iter().filter_map(|n| n.residual).collect();
        assert_eq!(added.len(), blocks, "{name}");
        let projected = |source: &&Source| match source {
            Source::Node(node) => graph.nodes[*node].name.ends_with(".down"),
            Source::Input => false,
        };
        assert_eq!(
            added.iter().filter(projected).count(),
            projections,
            "{name}"
        );
    }
}

#[test]
fn inception_blocks_have_four_branches() {
    for name in ["googlenet", "googlenet-tv"] {
        let graph = graph(name);
        let concats = graph
            .nodes
            .iter()
            .filter(|n| matches!(n.op, NodeOp::Concat(_)));
        assert_eq!(concats.clone().count(), 9, "{name}");
        for (i, node) in graph.nodes.iter().enumerate() {
            if !matches!(node.op, NodeOp::Concat(_)) {
                continue;
            }
            assert_eq!(node.inputs.len(), 4, "{name}/{}", node.name);
            // Every branch leads back to the same tensor, over one layer or two.
            let starts: HashSet<Source> = node
                .inputs
                .iter()
                .map(|&part| {
                    let mut at = part;
                    while let Source::Node(n) = at {
                        if !graph.nodes[n].name.starts_with(&format!("{}.", node.name)) {
                            break;
                        }
                        at = graph.nodes[n].inputs[0];
                    }
                    at
                })
                .collect();
            assert_eq!(starts.len(), 1, "{name}/{}", node.name);
            assert_eq!(
                graph.consumers(*starts.iter().next().expect("one")).count(),
                4
            );
            assert!(graph.consumers(Source::Node(i)).count() > 0);
        }
    }
}

#[test]
fn what_does_not_fit_together_says_so() {
    let layer = |name: &str, rest: &str| format!("{name} x1 conv mb1ic2ih8oc{rest}\n");
    let (a, b) = (layer("a", "2kh3ph1"), layer("b", "4kh3ph1"));
    for (lines, part) in [
        (
            format!("{a}{b}{}", layer("c", "2kh3ph1")),
            "its input is [1, 4, 8, 8]",
        ),
        (format!("{a}x block x1 a +\n"), "adds something"),
        (format!("{a}{b}i concat b\n"), "b is none of its branches"),
        (
            layer("i.a", "2kh3ph1").replace("x1", "x2") + "i concat i.a\n",
            "i.a occurs 1 times, and not 2",
        ),
        (
            format!(
                "{}i concat i.a\n",
                layer("i.a", "2kh3ph1") + &layer("i.b", "2kh3ph1")
            ),
            "no part",
        ),
    ] {
        let table = format!("title T\ninput 2x8x8\n{lines}");
        let network = parse("t", &table).expect(&table);
        let error = Graph::new(network).expect_err(&table);
        assert!(error.contains(part), "{lines}: {error}");
    }
}
