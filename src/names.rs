//! The nearest of the known names: what an error about a misspelt one offers.

/// The name of `known`, not empty, that is the fewest edits from `name`: what an error about a misspelt name offers.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> &'a str {
    known.into_iter().min_by_key(|known| edits(name, known)).unwrap_or_default()
}

/// The edits from `name`, in small letters, to `known`.
pub(crate) fn edits(name: &str, known: &str) -> usize {
    strsim::damerau_levenshtein(&name.to_lowercase(), known)
}
