//! Questions after near misses: "did you mean 'resnet50'?"

/// A question that names similar arguments; none without any.
pub(super) fn did_you_mean(similar: &[impl AsRef<str>]) -> Option<String> {
    let similar: Vec<_> = similar
        .iter()
        .map(|name| format!("'{}'", name.as_ref()))
        .collect();
    let similar: Vec<_> = similar.iter().map(String::as_str).collect();
    Some(format!("did you mean {}?", either(&similar)?))
}

/// "a", "a or b", "a, b or c".
pub(super) fn either(names: &[&str]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some((*one).into()),
        [first @ .., last] => Some(format!("{} or {last}", first.join(", "))),
    }
}
