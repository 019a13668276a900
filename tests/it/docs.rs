//! The documentation names tests, flags and variables; they exist, and none is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_row_of_the_table_of_dockers_flags_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/docker-features.md")).unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| flag ");
    let mut previous = false;
    for row in page.lines().filter(is_row).filter(|row| !row.starts_with("| what ")) {
        let cell = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || (previous && cell.contains("the same")), "untested: {row}");
        previous = true;
        for name in names {
            let parts: Vec<&str> = name.split("::").collect();
            let (file, test) = match parts[..] {
                ["e2e", file] => (format!("tests/it/e2e/{file}.rs"), ""),
                ["e2e", file, _, test] => (format!("tests/it/e2e/{file}.rs"), test),
                [room, "tests", file, test] => (format!("src/{room}/tests/{file}.rs"), test),
                _ => panic!("{name} is no test's path"),
            };
            let source = fs::read_to_string(root.join(&file)).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}")), "{name} is not in {file}");
        }
    }
}

/// The rows of a table's cells, but for its head.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("|---"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// The names of all tests and other functions.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(entry).unwrap();
                let after_fn = source.split("fn ").skip(1);
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                names.extend(
                    after_fn.map(|rest| rest.chars().take_while(|c| is_name(*c)).collect()),
                );
            }
        }
    }
    names
}

#[test]
fn every_promise_of_security_names_tests_that_exist() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, promises) = page.split_once("## What is promised").unwrap();
    let functions = functions();
    let mut seen = 0;
    for cells in rows(promises).filter(|cells| cells[0] != "promise") {
        let tests: Vec<_> = cells[1].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test keeps {cells:?}");
        for test in tests {
            assert!(functions.contains(test), "there is no test {test}");
        }
        seen += 1;
    }
    assert!(seen > 20, "the tables were not found");
}

#[test]
fn every_pod_network_that_is_said_to_be_run_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/kubernetes.md")).unwrap();
    let shown = rows(&page).filter_map(|cells| cells.get(3).copied());
    let run: Vec<&str> = shown.filter(|shown| shown.starts_with("run")).collect();
    assert!(run.len() >= 4, "{run:?}");
    for cell in run {
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{cell}");
        for name in names {
            assert!(root.join(format!("tests/it/e2e/{name}.rs")).exists(), "{name} of {cell}");
        }
    }
}

/// The rules that a cell names: `R7, R10` or `L53–L58`.
fn rules(cell: &str) -> Vec<String> {
    let rule = |text: &str| Some((text.get(..1)?.to_owned(), text.get(1..)?.parse::<u32>().ok()?));
    let between = |part: &str| {
        let (first, last) = part.split_once('–').unwrap_or((part, part));
        let ((letter, first), (_, last)) = (rule(first)?, rule(last)?);
        Some((first..=last).map(move |number| format!("{letter}{number}")))
    };
    cell.split(", ").filter_map(between).flatten().collect()
}

#[test]
fn every_rule_of_cni_has_a_test_of_its_number_or_a_reason_why_not() {
    let page = conformance();
    let mut told = BTreeSet::new();
    let mut excused = BTreeSet::new();
    for cells in rows(&page) {
        let rules = rules(cells[0]);
        if cells.last().unwrap().contains("No test, because") {
            excused.extend(rules.iter().cloned());
        }
        told.extend(rules);
    }
    let tests = functions();
    let prefix = |name: &str| -> Vec<String> {
        name.split('_')
            .map(str::to_uppercase)
            .take_while(|part| part.starts_with(['R', 'L']) && part[1..].parse::<u32>().is_ok())
            .collect()
    };
    let proven: BTreeSet<String> = tests.iter().flat_map(|name| prefix(name)).collect();
    let all = (1..=58).map(|it| format!("R{it}")).chain((1..=62).map(|it| format!("L{it}")));
    for rule in all {
        assert!(told.contains(&rule), "the page says nothing of {rule}");
        let (proven, excused) = (proven.contains(&rule), excused.contains(&rule));
        assert!(proven || excused, "{rule} has neither a test of its number nor a reason why not");
        assert!(!(proven && excused), "{rule} has a test, and the page says that it has none");
    }
    let unknown: Vec<_> = proven.difference(&told).collect();
    assert!(unknown.is_empty(), "tests carry numbers that the page does not have: {unknown:?}");
}

#[test]
fn every_test_that_the_page_on_cni_names_exists() {
    let page = conformance();
    let tests = functions();
    let is_test = |name: &&str| name.matches('_').count() > 2 && !name.contains(['.', '/', ' ']);
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        assert!(tests.contains(name), "{name} is no test");
    }
}

fn conformance() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("docs/cni-conformance.md")).unwrap()
}

#[test]
fn every_code_block_that_is_marked_as_tested_is_read_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str, ending: &str| -> String {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let wanted = entries.filter(|path| path.to_string_lossy().ends_with(ending));
        wanted.map(|path| fs::read_to_string(path).unwrap()).collect()
    };
    let tests = files("tests/it/e2e", ".rs");
    let pages = files(".", ".md") + &files("docs", ".md") + &files("conflists", ".md");
    for rest in pages.split("<!-- test: ").skip(1) {
        let (name, _) = rest.split_once(" -->").unwrap();
        assert!(tests.contains(&format!("\"{name}\"")), "no test does the steps of {name:?}");
    }
}

#[test]
fn every_flag_of_the_driver_is_in_the_readme_with_its_variable() {
    let help = Command::new(env!("CARGO_BIN_EXE_cnm-cni"))
        .args(["serve", "--help"])
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let readme = include_str!("../../README.md");
    let driver = readme.split("Of the driver, `cnm-cni serve`:").nth(1).unwrap();
    let table = driver.split("\n\n").nth(1).unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let names = |prefix: &str| -> BTreeSet<String> {
        let found = help.split(prefix).skip(1);
        found.map(|rest| rest.chars().take_while(|c| is_name(*c)).collect()).collect()
    };
    let flags = names("\n      --");
    assert!(flags.len() > 10, "{flags:?}");
    for flag in flags {
        assert!(table.contains(&format!("`--{flag}`")), "--{flag} is not in the table");
    }
    let variables = names("[env: ");
    for variable in &variables {
        assert!(table.contains(&format!("`{variable}`")), "{variable} is not in the table");
    }
    for variable in table.split('`').filter(|word| word.starts_with("CNM_")) {
        assert!(variables.contains(variable), "serve does not read {variable}");
    }
}
