//! Rules of netfilter that a chain left in its namespace: read in staging, put into the container, and before
//! DEL into staging again.
//!
//! Such a rule belongs to a namespace, not to an interface, so it would stay behind. Which tables a namespace
//! has, the kernel says at once; nearly all have none. What is in them, only the programs say that wrote it,
//! `nft` and `iptables`, in words that they read again. They are run in the namespace.

mod live;
mod nft;
mod xtables;

use std::fs;
use std::io;
use std::path::Path;

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::Netfilter;
use crate::lifecycle::record::netfilter::{Part, Program, Table};
use crate::netlink::nft_tables;
use crate::process::host;
use crate::{crash, netns};
use live::LiveTable;

/// The tables that `iptables` knows, of those of nftables.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// Reads the rules of a namespace.
///
/// # Errors
/// There are rules, and the program that lists them fails, or is not installed.
pub(crate) async fn read(netns: &Path) -> Result<Netfilter> {
    let nft = async { Ok(nft_tables(netns).await?) };
    let (nft, [v4, v6]) = tokio::try_join!(nft, legacy(netns))?;
    let mut nft: Vec<String> = nft.iter().map(|it| format!("{} {}", it.family, it.name)).collect();
    let mut parts = Vec::new();
    for program in Program::ALL {
        let mut there = match program {
            Program::IptablesNft => of_iptables("ip ", &nft),
            Program::Ip6tablesNft => of_iptables("ip6 ", &nft),
            Program::IptablesLegacy => v4.clone(),
            Program::Ip6tablesLegacy => v6.clone(),
            Program::Nft => nft.clone(),
        };
        if there.is_empty() {
            continue;
        }
        let listed = match (list(program, netns).await?, program) {
            (Some(listed), _) => listed,
            // They may be of `nft`: a table of iptables is known by its contents only.
            (None, Program::IptablesNft | Program::Ip6tablesNft) => continue,
            (None, _) => return Err(missing_program(program, &there[0])),
        };
        let mut tables: Vec<Table> = listed.into_iter().map(|live| live.table).collect();
        tables.retain(|table| there.contains(&table.name));
        there.retain(|name| tables.iter().any(|table| table.name == *name));
        match program {
            Program::IptablesNft => nft.retain(|it| !is_among("ip ", &there, it)),
            Program::Ip6tablesNft => nft.retain(|it| !is_among("ip6 ", &there, it)),
            Program::Nft => {
                if let Some(table) = tables.iter().find(|table| has_iptables_rules(table)) {
                    return Err(missing_program(Program::IptablesNft, &table.name));
                }
            }
            Program::IptablesLegacy | Program::Ip6tablesLegacy => {}
        }
        if program != Program::Nft {
            tables = tables.into_iter().map(xtables::without_defaults).collect();
            tables.retain(|table| !table.chains.is_empty());
        }
        if !tables.is_empty() {
            parts.push(Part { program, tables });
        }
    }
    Ok(Netfilter(parts))
}

/// Adds all of `wanted` that a namespace lacks.
///
/// # Errors
/// A program refuses, or is not installed.
pub(crate) async fn put(wanted: &Netfilter, netns: &Path) -> Result<()> {
    for part in &wanted.0 {
        let live = must_list(part, netns).await?;
        let missing: Vec<_> = lacking(part, &live).collect();
        let script = match part.program {
            Program::Nft => nft::additions(&missing),
            _ => xtables::additions(&missing),
        };
        apply(part.program, netns, "put the plugins' rules into the namespace", &script).await?;
    }
    Ok(())
}

/// All of `wanted` that a namespace lacks, in words.
///
/// # Errors
/// A program fails, or is not installed.
pub(crate) async fn differences(wanted: &Netfilter, netns: &Path) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for part in &wanted.0 {
        let live = must_list(part, netns).await?;
        differences.extend(lacking(part, &live).map(|missing| missing.to_string()));
    }
    Ok(differences)
}

/// Removes all of `ours` from a namespace, but for what is of `others`, too.
///
/// # Errors
/// A program refuses, or is not installed.
pub(crate) async fn remove(ours: &Netfilter, others: &[Netfilter], netns: &Path) -> Result<()> {
    for part in &ours.0 {
        let live = must_list(part, netns).await?;
        let surplus = part.tables.iter().filter_map(|table| {
            let others = others.iter().filter_map(|it| it.table(part.program, &table.name));
            live::surplus(table, &others.collect::<Vec<_>>(), &live)
        });
        let surplus: Vec<_> = surplus.collect();
        let script = match part.program {
            Program::Nft => nft::removals(&surplus),
            _ => xtables::removals(&surplus),
        };
        apply(part.program, netns, "remove the plugins' rules from the namespace", &script).await?;
    }
    Ok(())
}

fn lacking<'w>(part: &'w Part, live: &'w [LiveTable]) -> impl Iterator<Item = live::Missing<'w>> {
    part.tables.iter().filter_map(|table| live::missing(part.program, table, live))
}

async fn must_list(part: &Part, netns: &Path) -> Result<Vec<LiveTable>> {
    let first = part.tables.first().map_or("", |table| &table.name);
    list(part.program, netns).await?.ok_or_else(|| missing_program(part.program, first))
}

/// What a program lists of a namespace; none where the host does not have it.
async fn list(program: Program, netns: &Path) -> Result<Option<Vec<LiveTable>>> {
    let (command, arguments): (_, &[&str]) = match program {
        Program::Nft => ("nft", &nft::LIST),
        Program::IptablesNft => ("iptables-nft-save", &[]),
        Program::Ip6tablesNft => ("ip6tables-nft-save", &[]),
        Program::IptablesLegacy => ("iptables-legacy-save", &[]),
        Program::Ip6tablesLegacy => ("ip6tables-legacy-save", &[]),
    };
    let listed = host::run_in(netns, command, arguments, b"").await;
    let listed = listed.map_err(failed("list the plugins' rules in the namespace", command))?;
    let Some(text) = listed else { return Ok(None) };
    let text = String::from_utf8_lossy(&text);
    Ok(Some(match program {
        Program::Nft => nft::read(&text),
        _ => xtables::read(&text),
    }))
}

/// Has a program do what a script says, all or nothing.
async fn apply(
    program: Program,
    netns: &Path,
    operation: &'static str,
    script: &str,
) -> Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    // Seconds to wait for the lock that the old variant has for all namespaces.
    const WAITING: [&str; 3] = ["--noflush", "--wait", "10"];
    let (command, arguments): (_, &[&str]) = match program {
        Program::Nft => ("nft", &["-f", "-"]),
        Program::IptablesNft => ("iptables-nft-restore", &["--noflush"]),
        Program::Ip6tablesNft => ("ip6tables-nft-restore", &["--noflush"]),
        Program::IptablesLegacy => ("iptables-legacy-restore", &WAITING),
        Program::Ip6tablesLegacy => ("ip6tables-legacy-restore", &WAITING),
    };
    crash::point(format_args!("{command}: run inside"));
    let applied = host::run_in(netns, command, arguments, script.as_bytes()).await;
    crash::point(format_args!("{command}: ended inside"));
    match applied.map_err(failed(operation, command))? {
        Some(_) => Ok(()),
        None => Err(missing_program(program, "")),
    }
}

fn failed(operation: &'static str, program: &'static str) -> impl FnOnce(host::Failed) -> Error {
    move |failed| Error::Netfilter { operation, program, reason: failed.to_string() }
}

/// Makes sure that rules which were read a while ago can still be put into a container.
///
/// # Errors
/// The host has no program for them any more.
pub(crate) fn check_programs(rules: &Netfilter) -> Result<()> {
    let missing = rules.0.iter().find(|part| !host::is_there(listing(part.program).0));
    missing.map_or(Ok(()), |part| {
        let table = part.tables.first().map(|table| table.name.as_str());
        Err(missing_program(part.program, table.unwrap_or_default()))
    })
}

/// What lists the tables of a program, and the package that has it.
fn listing(program: Program) -> (&'static str, &'static str) {
    match program {
        Program::Nft => ("nft", "nftables"),
        Program::IptablesNft => ("iptables-nft-save", "iptables"),
        Program::Ip6tablesNft => ("ip6tables-nft-save", "iptables"),
        Program::IptablesLegacy => ("iptables-legacy-save", "iptables"),
        Program::Ip6tablesLegacy => ("ip6tables-legacy-save", "iptables"),
    }
}

fn missing_program(program: Program, table: &str) -> Error {
    let (program, package) = listing(program);
    Error::NoNetfilterProgram { table: table.to_owned(), program, package }
}

/// The tables of a family that may be of `iptables`, as that names them.
fn of_iptables(family: &str, nft: &[String]) -> Vec<String> {
    let names = nft.iter().filter_map(|table| table.strip_prefix(family));
    names.filter(|name| OF_IPTABLES.contains(name)).map(str::to_owned).collect()
}

fn is_among(family: &str, names: &[String], table: &str) -> bool {
    table.strip_prefix(family).is_some_and(|name| names.iter().any(|it| it == name))
}

/// Whether `nft` shows rules that it cannot write: matches and targets of `iptables`.
fn has_iptables_rules(table: &Table) -> bool {
    let mut rules = table.chains.iter().flat_map(|chain| &chain.rules);
    rules.any(|rule| rule.contains("xt match ") || rule.contains("xt target "))
}

/// The tables of the old variant of `iptables`, and of `ip6tables`: the kernel has a file with their names.
async fn legacy(netns: &Path) -> Result<[Vec<String>; 2]> {
    let read = || ["ip_tables_names", "ip6_tables_names"].map(names);
    let [v4, v6] = netns::run_in(netns, read).await?;
    Ok([v4?, v6?])
}

fn names(file: &str) -> Result<Vec<String>> {
    let path = Path::new("/proc/thread-self/net").join(file);
    match fs::read_to_string(&path) {
        Ok(names) => Ok(names.lines().map(str::to_owned).collect()),
        // The kernel does not know them, or not yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Unreadable { path, source }),
    }
}
