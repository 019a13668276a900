//! Runs the steps of the documentation as they are written there.
//!
//! A comment before a code block gives it a name, which is invisible on the page:
//!
//! ```text
//! <!-- test: install-deb -->
//!
//!     sudo apt install ./target/debian/cnm-cni_*.deb
//! ```
//!
//! Blocks are indented by four blanks, or fenced. Those of one name are one sequence of
//! steps, in the order of the page. `docs.rs` fails on a name that no test reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::host::{Host, outcome};

/// Where in a host the steps are done; what they take from the checkout is put there, under
/// the path that it has in the checkout.
pub(super) const FOLDER: &str = "/root/cnm-cni";

/// A host has no sudo, and needs none.
const SUDO: &str = r#"sudo() { while [ "${1#-}" != "$1" ]; do shift; done; "$@"; }"#;

/// A sequence of steps of a page.
#[derive(Debug)]
pub(super) struct Steps {
    title: String,
    commands: String,
}

impl Steps {
    /// Reads them; `page` is relative to the checkout, as `README.md`.
    #[track_caller]
    pub(super) fn read(page: &str, name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        let commands = marked(&text, name);
        assert!(!commands.is_empty(), "{page} has no code block below <!-- test: {name} -->");
        Self { title: format!("{page}, {name}"), commands }
    }

    /// The same steps with one name replaced by another, as whole words.
    pub(super) fn renamed(self, name: &str, other: &str) -> Self {
        let commands = self.commands.replace(&format!(" {name} "), &format!(" {other} "));
        let commands = commands.replace(&format!(" {name})"), &format!(" {other})"));
        let commands = commands.replace(&format!(" {name}\n"), &format!(" {other}\n"));
        Self { commands, ..self }
    }

    /// The same with a value of this site instead of the page's own.
    pub(super) fn with(mut self, example: &str, value: &str) -> Self {
        self.commands = self.commands.replace(example, value);
        self
    }

    /// Runs them in a host, as root in [`FOLDER`]; each must succeed. Returns their output.
    #[track_caller]
    pub(super) fn on(&self, host: &Host) -> String {
        let script = format!("{SUDO}\nmkdir -p {FOLDER}\ncd {FOLDER}\nset -x\n{}", self.commands);
        host.try_exec(&["bash", "-ec", &script])
            .unwrap_or_else(|error| panic!("{}: {error}", self.title))
    }

    /// Runs them on this machine, in the checkout, with these additional variables; each must succeed.
    /// Returns their output.
    #[track_caller]
    pub(super) fn here(&self, variables: &[(&str, &str)]) -> String {
        let output = Command::new("bash")
            .args(["-ec", &format!("{SUDO}\nset -x\n{}", self.commands)])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        outcome(output).unwrap_or_else(|error| panic!("{}: {error}", self.title))
    }
}

/// The code below each `<!-- test: NAME -->`, without its indentation.
fn marked(text: &str, name: &str) -> String {
    let marker = format!("<!-- test: {name} -->");
    let mut lines = text.lines();
    let mut commands = String::new();
    while lines.any(|line| line == marker) {
        let mut rest = lines.clone().skip_while(|line| line.trim().is_empty()).peekable();
        let block: Vec<&str> = if rest.next_if(|line| line.starts_with("```")).is_some() {
            rest.take_while(|line| !line.starts_with("```")).collect()
        } else {
            let indented = |line: &&str| line.starts_with("    ") || line.is_empty();
            rest.take_while(indented)
                .map(|line| line.strip_prefix("    ").unwrap_or(line))
                .collect()
        };
        commands += block.join("\n").trim_matches('\n');
        commands.push('\n');
    }
    commands
}

#[test]
fn marked_blocks_are_read_as_one_sequence() {
    let page = "\
Text.
<!-- test: this -->

    one \\
        and a half

    two

<!-- test: another -->

    not this

<!-- test: this -->
```sh
    three
four
```

    nor this
";
    assert_eq!(marked(page, "this"), "one \\\n    and a half\n\ntwo\n    three\nfour\n");
    assert_eq!(marked(page, "another"), "not this\n");
    assert_eq!(marked(page, "none"), "");
}
