//! Reasons for a table: the beginning of what a plugin or the kernel said.

/// The first line of a text, cut where a cell ends. The whole is in JSON, and in `cnm-cni show`.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 100;
    let first = text.lines().next().unwrap_or_default();
    match first.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None if first.len() < text.trim_end().len() => format!("{first}…"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!(short("no bridge"), "no bridge");
        assert_eq!(short("no bridge\nat all"), "no bridge…");
        assert_eq!(short(&"ä".repeat(101)), "ä".repeat(100) + "…");
    }
}
