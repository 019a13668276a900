//! Every command of this program that documents and help texts print is one.

use std::fs;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};

use super::Cli;

/// The words of a command at the beginning of a line, as a shell reads them; none if there is another one.
fn words(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
    let line = match line.strip_prefix("docker cni ") {
        Some(rest) => format!("cnm-cni {rest}"),
        None => line.to_owned(),
    };
    if line != "cnm-cni" && !line.starts_with("cnm-cni ") {
        return None;
    }
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '|' | '>' | '<' | ';' | '&' | '#') => break,
            (None, letter) if letter.is_whitespace() => words.push(String::new()),
            (_, letter) => words.last_mut()?.push(letter),
        }
    }
    // Those that go on, or that a shell has to complete, are not read here.
    let is_plain = |word: &String| word != "\\" && !word.contains('$') && !word.contains('…');
    words.retain(|word| !word.is_empty());
    words.iter().all(is_plain).then_some(words)
}

/// Asserts that these lines have such commands, and returns how many.
fn read(lines: &str, place: &str) -> usize {
    let mut count = 0;
    for words in lines.lines().filter_map(words) {
        count += 1;
        let Err(error) = Cli::command().try_get_matches_from(&words) else { continue };
        let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        assert!(is_help, "{place}: {words:?}: {error}");
    }
    count
}

#[test]
fn every_command_that_a_document_prints_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    pages.push(root.join("benches/README.md"));
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(page).unwrap();
        let code: String =
            text.lines().filter(|it| it.starts_with("    ")).map(|it| format!("{it}\n")).collect();
        count += read(&code, &page.display().to_string());
    }
    assert!(count > 50, "{count}");
}

#[test]
fn every_example_of_a_help_text_is_a_command() {
    fn look_at(command: &Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let below = command.get_subcommands().map(look_at).sum::<usize>();
        read(&help, command.get_name()) + below
    }
    let count = look_at(&Cli::command());
    assert!(count > 50, "{count}");
}
