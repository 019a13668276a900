//! Who may use whom: between rooms calls go down only, and no files use each other in a circle. No file
//! is too long.
//!
//! A room is a folder of `src/`, or a file there. The tables in the documentation of `src/lib.rs` and
//! of `src/lifecycle/mod.rs` say which way is down. They are read from there, so that a table cannot
//! say one thing while the code does another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod arrows;
mod picture;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrows::{Arrows, Sources};
use picture::Picture;

/// How long a file of `src/` may be, with its comments and its tests.
const MOST_LINES: usize = 400;

type Names = BTreeSet<String>;

/// Which rooms a room may use.
type Rule = BTreeMap<String, Names>;

/// The rows of the table: `| rooms | … | what they may use |`, names in backticks. A row that says
/// "and what that may use" allows what the rows of the rooms that it names allow.
fn rule(documentation: &str) -> Rule {
    let rows: Vec<(Names, &str)> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("//! |")?.trim_end_matches('|').split_once('|'))
        .map(|(rooms, rest)| (quoted(rooms), rest.rsplit('|').next().unwrap()))
        .filter(|(rooms, _)| !rooms.is_empty())
        .collect();
    let all: Names = rows.iter().flat_map(|(rooms, _)| rooms.clone()).collect();
    // From the bottom up: a row may refer to those below.
    let mut rule = Rule::new();
    for (rooms, may_use) in rows.into_iter().rev() {
        let mut used = if may_use.contains("everything") { all.clone() } else { quoted(may_use) };
        if may_use.contains("may use") {
            let further = used.iter().filter_map(|room| rule.get(room)).flatten().cloned();
            used.extend(further.collect::<Names>());
        }
        rule.extend(rooms.into_iter().map(|room| (room, used.clone())));
    }
    rule
}

fn quoted(cell: &str) -> Names {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The room of a file below `folder`: a folder in it, or a file without its extension.
fn room<'f>(folder: &str, file: &'f str) -> Option<&'f str> {
    let first = file.strip_prefix(folder)?.split('/').next()?;
    Some(first.trim_end_matches(".rs"))
}

/// The arrows between the rooms of `folder` that its rule does not have.
fn forbidden(rule: &Rule, folder: &str, arrows: &Arrows) -> Vec<String> {
    let mut forbidden = Vec::new();
    for (file, used) in arrows {
        let Some(from) = room(folder, file) else { continue };
        let allowed = rule.get(from).unwrap_or_else(|| panic!("{from} has no row in the table"));
        for used in used {
            let Some(to) = room(folder, used) else { continue };
            if from != to && !allowed.contains(to) {
                forbidden.push(format!("{file} uses {used}: {from} may not use {to}"));
            }
        }
    }
    forbidden
}

/// Files that use each other, each such group once; none of one file.
fn circles(arrows: &Arrows) -> Vec<Names> {
    let reached_from = |file: &String| {
        let mut reached = Names::new();
        let mut ahead: Vec<&String> = arrows.get(file).into_iter().flatten().collect();
        while let Some(next) = ahead.pop() {
            if reached.insert(next.clone()) {
                ahead.extend(arrows.get(next).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&String, Names> =
        arrows.keys().map(|file| (file, reached_from(file))).collect();
    let circles: BTreeSet<Names> = (reached.iter())
        .filter(|(file, ahead)| ahead.contains(**file))
        .map(|(file, ahead)| {
            let leads_back =
                |other: &&String| reached.get(other).is_some_and(|it| it.contains(*file));
            ahead.iter().filter(leads_back).cloned().collect()
        })
        .collect();
    circles.into_iter().collect()
}

#[test]
fn no_room_uses_one_that_the_table_does_not_allow() {
    let arrows = Sources::read(&src()).arrows();
    let mut wrong = Vec::new();
    for (table, folder) in
        [("lib.rs", ""), ("lifecycle/mod.rs", "lifecycle/"), ("cni/mod.rs", "cni/")]
    {
        let rule = self::table(table);
        wrong.extend(forbidden(&rule, folder, &arrows));
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles = circles(&Sources::read(&src()).arrows());
    let told: Vec<String> = circles.iter().map(|circle| format!("{circle:?}")).collect();
    assert!(circles.is_empty(), "files that use each other:\n{}", told.join("\n"));
}

/// Files of more lines than [`MOST_LINES`], by their path from `src`, with their number of lines.
fn too_long<'f>(files: impl Iterator<Item = (&'f str, String)>) -> Vec<(&'f str, usize)> {
    files
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect()
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let paths = arrows::files(&src());
    let read = |path: &'_ PathBuf| fs::read_to_string(path).unwrap();
    let long = too_long(paths.iter().map(|path| (path.to_str().unwrap(), read(path))));
    let told: Vec<_> = long.iter().map(|(file, lines)| format!("{file}: {lines} lines")).collect();
    assert!(
        long.is_empty(),
        "files of more than {MOST_LINES} lines; find the second subject in each and give it a file \
         of its own (or move unit tests to tests.rs beside the file):\n{}",
        told.join("\n")
    );
}

#[test]
fn a_file_of_the_most_lines_passes_and_one_more_does_not() {
    let lines = |count| "//\n".repeat(count);
    let files = [("short.rs", lines(MOST_LINES)), ("long.rs", lines(MOST_LINES + 1))];
    assert_eq!(too_long(files.into_iter()), [("long.rs", MOST_LINES + 1)]);
}

/// Every room of a table of the documentation in `src/`, and what it may use.
fn table(file: &str) -> Rule {
    rule(&fs::read_to_string(src().join(file)).unwrap())
}

fn picture() -> Picture {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    Picture::read(&fs::read_to_string(docs.join("architecture.txt")).unwrap())
}

#[test]
fn the_picture_shows_each_room_and_no_arrow_that_the_tables_forbid() {
    let (picture, rooms) = (picture(), table("lib.rs"));
    let shared = picture.item("shared_rooms").holds.iter().map(String::as_str);
    let drawn: Names = picture.rooms().chain(shared).chain(["main"]).map(str::to_owned).collect();
    assert_eq!(drawn, rooms.keys().cloned().collect::<Names>());
    for arrow in &picture.arrows {
        if let (Some(allowed), true) = (rooms.get(&arrow.from), rooms.contains_key(&arrow.to)) {
            assert!(allowed.contains(&arrow.to), "{} may not use {}", arrow.from, arrow.to);
        }
    }
    for (room, file) in [("lifecycle", "lifecycle/mod.rs"), ("cni", "cni/mod.rs")] {
        for inner in &picture.item(room).holds {
            assert!(table(file).contains_key(inner), "{room} has no room {inner}");
        }
    }
}

#[test]
fn the_picture_is_drawn_from_its_source() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.svg");
    let svg = picture().svg();
    // As `make picture` does.
    if std::env::var_os("CNM_CNI_DRAW").is_some() {
        fs::write(&file, &svg).unwrap();
    }
    let drawn = fs::read_to_string(&file).unwrap_or_default();
    assert!(drawn == svg, "docs/architecture.svg is not what its source says; run: make picture");
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let rule = rule(
        "//! | room | its part | may use |\n//! |---|---|---|\n\
         //! | `top` (with `main`) | all of `it` | everything |\n\
         //! | `high` | more | `mid`, and what that may use |\n\
         //! | `mid` | some | the types of `low` and `side` |\n//! | `low`, `side` | less | nobody |\n",
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
    assert_eq!(rule["top"], names(&["top", "main", "high", "mid", "low", "side"]));
    assert_eq!(rule["high"], names(&["mid", "low", "side"]));
    assert_eq!(rule["main"], rule["top"]);
    assert_eq!(rule["mid"], names(&["low", "side"]));
    assert_eq!(rule["side"], names(&[]));
}

/// The files that `mid/part.rs` uses if this is its text.
fn used_by_mid(text: &str) -> Vec<String> {
    let mut sources = Sources::default();
    sources.add("lib.rs", "mod low; mod mid; mod top;");
    sources.add("mid/mod.rs", "mod part; mod other; pub use other::Other;");
    sources.add("mid/other.rs", "pub struct Other;");
    sources.add("low.rs", "pub struct Low; pub fn act() {} pub const LIMIT: u8 = 1;");
    sources.add("top/mod.rs", "mod deep; pub use deep::{Thing as Renamed, *};");
    sources.add("top/deep.rs", "pub struct Thing; pub enum Kind { One }");
    sources.add("mid/part.rs", text);
    sources.arrows().remove("mid/part.rs").unwrap_or_default().into_iter().collect()
}

#[test]
fn every_way_to_name_a_file_is_seen() {
    assert_eq!(used_by_mid("use crate::low::Low; fn f(_: Low) {}"), ["low.rs"]);
    assert_eq!(used_by_mid("use crate::low; fn f() { low::act() }"), ["low.rs"]);
    assert_eq!(used_by_mid("use crate::low::{self}; fn f() -> u8 { low::LIMIT }"), ["low.rs"]);
    assert_eq!(used_by_mid("fn f() { crate::low::act() }"), ["low.rs"]);
    assert_eq!(used_by_mid("fn f() { println!(\"{}\", crate::low::LIMIT) }"), ["low.rs"]);
    assert_eq!(used_by_mid("use super::Other; impl Other { fn f() {} }"), ["mid/other.rs"]);
    assert_eq!(used_by_mid("fn f(_: super::super::low::Low) {}"), ["low.rs"]);
    // Through re-exports, to where it is defined.
    assert_eq!(used_by_mid("use crate::top::Renamed; fn f(_: Renamed) {}"), ["top/deep.rs"]);
    assert_eq!(used_by_mid("use crate::top::Kind; fn f() { Kind::One; }"), ["top/deep.rs"]);
    assert_eq!(used_by_mid("use crate::top as up; type T = up::Kind;"), ["top/deep.rs"]);
}

#[test]
fn what_is_not_used_by_the_program_is_no_arrow() {
    assert!(used_by_mid("use std::fmt; fn f(_: fmt::Error) {} // crate::top::Kind").is_empty());
    assert!(
        used_by_mid("#[cfg(test)] mod tests { use crate::low::Low; fn f(_: Low) {} }").is_empty()
    );
    assert!(used_by_mid("struct Own; fn f(_: Own) { self::g() } fn g() {}").is_empty());

    let mut sources = Sources::default();
    sources.add("lib.rs", "mod low; #[cfg(test)] mod tests;");
    sources.add("low.rs", "pub struct Low;");
    sources.add("tests/mod.rs", "mod deep; use crate::low::Low; fn f(_: Low) {}");
    sources.add("tests/deep.rs", "use crate::low::Low; fn f(_: Low) {}");
    assert!(sources.arrows().is_empty(), "{:?}", sources.arrows());
}

#[test]
fn circles_are_found_and_lines_are_not() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows = Arrows::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        arrows
    };
    let circle = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<Names>();
    assert!(circles(&arrows(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    assert_eq!(
        circles(&arrows(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "e"), ("e", "d")])),
        [circle(&["b", "c"]), circle(&["d", "e"])]
    );
}
