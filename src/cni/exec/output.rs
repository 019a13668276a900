//! What a plugin's standard output says: a result, an error, or neither.
//!
//! What is neither is quoted, so that the user sees it: a warning before the JSON, for example.

use std::process::ExitStatus;

use serde_json::Value;

use crate::cni::lenient::{Fields, Mismatch};
use crate::cni::{AttachResult, Failure, InvalidResult, Version};

/// How many characters are shown of what should have been an error message.
const GARBLED_SHOWN: usize = 1024;

/// How many characters are shown of what should have been a result.
const RESULT_SHOWN: usize = 200;

impl Failure {
    /// What a plugin means that exited with a failure, whatever it wrote.
    #[must_use]
    pub fn read(status: ExitStatus, stdout: &[u8], stderr: &str) -> Self {
        if stdout.trim_ascii().is_empty() {
            return Self::Silent { status, stderr: stderr.to_owned() };
        }
        read_reported(stdout).unwrap_or_else(|problem| {
            let mut stdout = String::from_utf8_lossy(stdout).into_owned();
            if let Some((cut, _)) = stdout.char_indices().nth(GARBLED_SHOWN) {
                stdout.truncate(cut);
            }
            Self::Garbled { stdout, problem }
        })
    }
}

/// What is wrong with the output of a plugin that is not one JSON object, with the beginning of what does
/// not belong there.
pub(in crate::cni) fn not_json(stdout: &[u8]) -> String {
    let stdout = String::from_utf8_lossy(stdout);
    let text = stdout.trim();
    let shown = |text: &str| match text.char_indices().nth(RESULT_SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        None => "it wrote nothing to standard output".to_owned(),
        Some(Ok(Value::Object(_))) => {
            let rest = text[values.byte_offset()..].trim_start();
            format!("behind its JSON, it wrote {} to standard output", shown(rest))
        }
        // A number may be the beginning of a line of a log.
        Some(Ok(_)) => format!("it wrote {} to standard output, which is no JSON", shown(text)),
        Some(Err(error)) => {
            format!("it wrote {} to standard output, which is no JSON: {error}", shown(text))
        }
    }
}

/// Reads what ADD gave; without a version it has the version `asked`, the configuration's.
pub(in crate::cni) fn read_result(stdout: &[u8], asked: Version) -> Result<AttachResult, Failure> {
    AttachResult::parse(stdout, asked).map_err(|problem| match problem {
        InvalidResult::Syntax(_) => Failure::NotJson(not_json(stdout)),
        problem => Failure::Result(problem),
    })
}

/// Reads the last JSON of what a plugin wrote: one that fails after its work, because it was
/// given its own namespace, has written its result before (L33).
fn read_reported(stdout: &[u8]) -> Result<Failure, String> {
    let mut json = Value::Null;
    let stdout = String::from_utf8_lossy(stdout);
    for next in serde_json::Deserializer::from_str(&stdout).into_iter() {
        json = next.map_err(|error| error.to_string())?;
    }
    let read = || {
        let mut fields = Fields::at("the error", json)?;
        Ok(Failure::Reported {
            code: fields.number("code", "an error code")?.unwrap_or(0),
            msg: fields.text("msg")?.unwrap_or_default(),
            details: fields.text("details")?.unwrap_or_default(),
        })
    };
    read().map_err(|mismatch: Mismatch| mismatch.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stdout: &str) -> String {
        read_result(stdout.as_bytes(), Version::LATEST).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_json_is_quoted_from_where_it_is_none() {
        const NOTHING: &str = "its result cannot be used: it wrote nothing to standard output";
        assert_eq!(said(""), NOTHING);
        assert_eq!(said(" \n"), NOTHING);
        let told = said("WARN: \x1b[31mno MTU\n{\"ips\": []}\n");
        let quoted = r#"it wrote "WARN: \u{1b}[31mno MTU\n{\"ips\": []}" to standard output, which is no JSON: "#;
        assert!(told.contains(quoted), "{told}");
        assert!(
            said("2026-08-01 WARN").contains("it wrote \"2026-08-01 WARN\" to standard output")
        );
        assert!(said("2026 WARN").ends_with("\"2026 WARN\" to standard output, which is no JSON"));
        assert!(said("{\"ips\": [").contains("EOF while parsing"), "{}", said("{\"ips\": ["));
        assert_eq!(
            said("{\"ips\": []}\ndone\n"),
            "its result cannot be used: behind its JSON, it wrote \"done\" to standard output"
        );
        assert!(said("{} {}").ends_with("it wrote \"{}\" to standard output"));
        let long = said(&"é".repeat(100_000));
        assert!(long.contains("é\"… to standard output") && long.len() < 600, "{long}");
    }
}
