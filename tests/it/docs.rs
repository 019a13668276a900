//! The documentation names tests; they exist.

use std::fs;
use std::path::Path;

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
                [room, "tests", test] => (format!("src/{room}/tests.rs"), test),
                _ => panic!("{name} is no test's path"),
            };
            let source = fs::read_to_string(root.join(&file)).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}")), "{name} is not in {file}");
        }
    }
}
