//! The known name that is nearest to an unknown one, for a hint.
//!
//! It gives no hint when no name is near.

/// The nearest of `names`; `None` when it differs in more than half of its characters.
pub(crate) fn nearest<N: AsRef<str> + Ord>(
    unknown: &str,
    names: impl IntoIterator<Item = N>,
) -> Option<N> {
    let distances =
        names.into_iter().map(|name| (strsim::levenshtein(unknown, name.as_ref()), name));
    let (distance, name) = distances.min()?;
    (distance * 2 <= name.as_ref().len()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_when_half_of_it_is_right() {
        let names = ["host", "port", "publish"];
        for (unknown, expected) in
            [("hots", Some("host")), ("publsh", Some("publish")), ("audience", None), ("", None)]
        {
            assert_eq!(nearest(unknown, names), expected, "{unknown}");
        }
        assert_eq!(nearest("x", [""; 0]), None);
    }
}
