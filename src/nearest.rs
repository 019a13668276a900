//! Which known word was probably meant by one that is not known.

use strsim::normalized_damerau_levenshtein;

/// Half of the letters are the same, and in the same places.
pub(crate) const ALIKE: f64 = 0.5;

/// The one of the known words that was probably meant; none if nothing is like it.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    most_alike(known.iter().map(|known| (*known, alike(word, known))), ALIKE)
}

/// How much alike two words are: 1 if they are the same but for upper and lower case, 0 if nothing is.
pub(crate) fn alike(one: &str, other: &str) -> f64 {
    normalized_damerau_levenshtein(&one.to_lowercase(), &other.to_lowercase())
}

/// The word that is most alike, if it is more alike than this.
pub(crate) fn most_alike<'k>(
    words: impl Iterator<Item = (&'k str, f64)>,
    least: f64,
) -> Option<&'k str> {
    let best = words.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.filter(|(_, alike)| *alike > least).map(|(word, _)| word)
}
