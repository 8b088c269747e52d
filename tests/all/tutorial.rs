//! The tutorial shows the code of an example, which every build of the tests compiles.

#[test]
fn the_tutorial_shows_the_example() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let tutorial = read("docs/tutorial.md");
    let (_, from) = tutorial.split_once("```rust\n").expect("a listing");
    let (listing, _) = from.split_once("```").expect("its end");
    assert_eq!(listing, read("examples/axpy_1x1.rs"));
}
