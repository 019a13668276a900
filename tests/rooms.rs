//! Calls between rooms go down only: the table in `src/lib.rs` says which way is down.
//!
//! The table is read from the documentation itself, so that it cannot say one thing while
//! the code does another.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

/// Which rooms a room may use.
type Rule = BTreeMap<String, Names>;

/// The rows of the table: `| rooms | what they may use |`, names in backticks.
fn rule(lib: &str) -> Rule {
    let rows: Vec<(Names, &str)> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! |")?.split_once('|'))
        .map(|(rooms, may_use)| (quoted(rooms), may_use))
        .filter(|(rooms, _)| !rooms.is_empty())
        .collect();
    let all: Names = rows.iter().flat_map(|(rooms, _)| rooms.clone()).collect();
    rows.into_iter()
        .flat_map(|(rooms, may_use)| {
            let used = if may_use.contains("everything") { all.clone() } else { quoted(may_use) };
            rooms.into_iter().map(move |room| (room, used.clone()))
        })
        .collect()
}

fn quoted(cell: &str) -> Names {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rooms that a source file names, by `crate::room`, `crate::{room, …}`, or from
/// outside the library `cnm_cni::room`.
fn named(source: &str) -> Names {
    let code: Vec<_> =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    ["crate::", "cnm_cni::"]
        .iter()
        .flat_map(|root| code.split(root).skip(1))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group_heads(group),
            None => vec![identifier(rest)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// What each part of `a, b::c, d::{e, f}}…` begins with.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![identifier(group)];
    let mut depth = 0;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(identifier(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The arrows out of `room` that the rule does not have.
fn forbidden(rule: &Rule, room: &str, source: &str) -> Names {
    let allowed = rule.get(room).cloned().unwrap_or_default();
    named(source).into_iter().filter(|name| name != room && !allowed.contains(name)).collect()
}

/// The first part of the path below `src`: a folder, or a file without its extension.
fn room(file: &Path) -> String {
    let first = file.components().next().expect("a path below src has a part");
    Path::new(&first).file_stem().unwrap().to_string_lossy().into_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_room_uses_one_that_the_table_does_not_allow() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rule = rule(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let file = path.strip_prefix(&src).unwrap();
        let room = room(file);
        if room == "lib" {
            continue;
        }
        assert!(rule.contains_key(&room), "{room} has no row in the table of src/lib.rs");
        for used in forbidden(&rule, &room, &fs::read_to_string(&path).unwrap()) {
            wrong.push(format!("src/{}: {room} may not use {used}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let rule = rule(
        "//! | room | may use |\n//! |---|---|\n//! | `top` (with `main`) | everything |\n\
         //! | `mid` | the types of `low` and `side` |\n//! | `low`, `side` | nobody |\n",
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
    assert_eq!(rule["top"], names(&["top", "main", "mid", "low", "side"]));
    assert_eq!(rule["main"], rule["top"]);
    assert_eq!(rule["mid"], names(&["low", "side"]));
    assert_eq!(rule["side"], names(&[]));
}

#[test]
fn every_way_to_name_a_room_is_seen() {
    let rule = rule("//! | `mid` | `low` |\n//! | `low` | nobody |\n");
    let seen = |source: &str| forbidden(&rule, "mid", source).into_iter().collect::<Vec<_>>();
    assert_eq!(seen("use crate::top;"), ["top"]);
    assert_eq!(seen("use crate::top::{self, Thing};"), ["top"]);
    assert_eq!(seen("fn f() { crate::top::act(crate::side::X) }"), ["side", "top"]);
    assert_eq!(
        seen("use crate::{\n    low::{A, B},\n    side::C, // why\n    top,\n};"),
        ["side", "top"]
    );
    assert_eq!(seen("use crate::top as bottom;"), ["top"]);
    assert_eq!(seen("use cnm_cni::top::Thing;"), ["top"]);
    assert!(seen("use crate::low; use crate::mid::part; // crate::top\n").is_empty());
    assert!(seen("/// Like [`crate::top`].\nfn f() {}").is_empty());
}
