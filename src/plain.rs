//! What others wrote, made fit to be shown: plugins, containers and users choose texts that reach
//! root's terminal and log.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How much of one text is shown, in bytes.
pub(crate) const SHOWN: usize = 4 << 10;

/// One line: what moves a cursor, begins a line, or turns the direction of writing is escaped, and
/// what is longer than [`SHOWN`] is cut, and marked as cut.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN && !text.contains(is_unfit) {
        return Cow::Borrowed(text);
    }
    let cut = cut(text);
    let mut shown = String::with_capacity(cut.len());
    for letter in cut.chars() {
        if is_unfit(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// The beginning of a text, marked as such where there is more of it.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN {
        return Cow::Borrowed(text);
    }
    // A letter has four bytes at most.
    let end = (0..=SHOWN).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}… ({} bytes more)", &text[..end], text.len() - end))
}

/// JSON for a terminal: what only its strings may have is escaped as JSON has it.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let is_unfit = |letter| letter != '\n' && is_unfit(letter);
    if !text.contains(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_unfit(letter) {
            // All of them have one code unit. Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

fn is_unfit(letter: char) -> bool {
    letter.is_control()
        // Line and paragraph separators; what changes the direction of writing; what is not seen.
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_a_cursor_or_begin_a_line_is_escaped() {
        assert_eq!(line("veth π 日本"), "veth π 日本");
        assert_eq!(line("a\x1b[2Jb\nc\r\t\u{9b}31m"), "a\\u{1b}[2Jb\\nc\\r\\t\\u{9b}31m");
        assert_eq!(line("user\u{202e}txt.exe"), "user\\u{202e}txt.exe");
    }

    #[test]
    fn what_is_long_is_cut_and_marked() {
        let long = "ä".repeat(3000);
        let shown = line(&long);
        assert!(shown.starts_with("ää") && shown.ends_with("… (1904 bytes more)"), "{shown}");
        assert!(line(&"x".repeat(SHOWN)).len() == SHOWN);
    }

    #[test]
    fn json_stays_json() {
        let text = serde_json::json!({"error": "a\u{9b}31m\u{202e}\u{7f}b\n"}).to_string();
        let shown = json(&text);
        assert!(shown.chars().all(|letter| !is_unfit(letter)), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["error"], "a\u{9b}31m\u{202e}\u{7f}b\n");
    }
}
