//! Others' text in each format: users choose the names of containers, networks and interfaces.
//!
//! What moves a cursor or begins a line is escaped first, in every format ([`plain::line`]).

use std::fmt::Write as _;

use crate::plain;

/// In the text and the attributes of XML and HTML.
pub(super) fn xml(text: &str) -> String {
    plain::line(text).chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            // No characters of XML.
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            letter => escaped.push(letter),
        }
        escaped
    })
}

/// Between the quotes of a label of Mermaid, which has HTML, Markdown and entities of its own in it.
pub(super) fn mermaid(text: &str) -> String {
    plain::line(text).chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            ' ' | '.' | ':' | '/' | '-' | '*' | '_' | ',' | '(' | ')' => escaped.push(letter),
            letter if letter.is_alphanumeric() => escaped.push(letter),
            // Writing to a string cannot fail.
            letter => drop(write!(escaped, "#{};", u32::from(letter))),
        }
        escaped
    })
}

/// Between the quotes of a string of dot, where `\` begins what stands for other text.
pub(super) fn dot(text: &str) -> String {
    plain::line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

/// The beginning of a text, so long that it fits; `…` stands for the rest. A letter that is not of
/// ASCII may be twice as wide.
pub(super) fn fitting(text: &str, most: usize) -> String {
    let text = plain::line(text);
    let width = |letter: char| if letter.is_ascii() { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= most {
        return text.into_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = text.chars().take_while(|letter| {
        let own = width(*letter);
        let fits = own <= left;
        left = left.saturating_sub(own);
        fits
    });
    fits.collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\"]<script>alert('1')</script>\\N&amp;`b`\n\x1b[2J\u{202e}";

    #[test]
    fn nothing_leaves_its_place_in_any_format() {
        let xml = xml(HOSTILE);
        assert!(!xml.contains(['<', '>', '"', '\'', '\n', '\x1b', '\u{202e}']), "{xml}");
        assert!(xml.contains("&amp;amp;"), "{xml}");
        let mermaid = mermaid(HOSTILE);
        assert!(!mermaid.contains(['<', '>', '"', '`', '\\', '&', ']', '\n']), "{mermaid}");
        let dot = dot(HOSTILE);
        assert!(dot.starts_with("a\\\"]") && dot.contains("\\\\N&amp;"), "{dot}");
        assert!(!dot.contains('\n'), "{dot}");
        let unescaped = dot.replace("\\\\", "").replace("\\\"", "");
        assert!(!unescaped.contains(['"', '\\']), "{unescaped}");
    }

    #[test]
    fn what_does_not_fit_is_cut_where_it_shows() {
        assert_eq!(fitting("shop-web-1", 10), "shop-web-1");
        assert_eq!(fitting("shop-web-10", 10), "shop-web-…");
        assert_eq!(fitting("網網網網", 5), "網網…");
        assert_eq!(fitting("web", 0), "…");
    }
}
