//! The host's own `iptables` and `ip6tables`, which Docker and the plugins use too: rules are listed, and
//! lines of rules are applied.
//!
//! A host without the program, or a kernel without IPv6, differs from a host without rules: nobody can write rules
//! there. But old rules may still be in the kernel, from before the program was uninstalled.

use std::net::IpAddr;

use crate::crash;
use crate::lifecycle::error::{Error, Result};
use crate::process::host;

/// Seconds to wait for the lock of the tables.
const WAIT: &str = "10";

/// What `ip6tables` says on a kernel without IPv6 (`ipv6.disable=1`).
const NO_FAMILY: &str = "Address family not supported";

/// An address family; each has its own programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Rules of one family; none where the host has no program for it, or the kernel no such family.
pub(crate) type Listed = Option<Vec<String>>;

/// Which rules to list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    /// The chain FORWARD of the table filter.
    Forward,
    /// All chains of the table filter.
    Filter,
    /// All chains of the table nat.
    Nat,
    /// All chains of the table mangle.
    Mangle,
}

impl Table {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Forward => &["-w", WAIT, "-S", "FORWARD"],
            Self::Filter => &["-w", WAIT, "-S"],
            Self::Nat => &["-w", WAIT, "-t", "nat", "-S"],
            Self::Mangle => &["-w", WAIT, "-t", "mangle", "-S"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Forward | Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Mangle => "mangle",
        }
    }
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The program that lists and changes this family's rules.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }

    fn restore(self) -> &'static str {
        match self {
            Self::V4 => "iptables-restore",
            Self::V6 => "ip6tables-restore",
        }
    }

    /// The rules of a table, as `iptables -S` prints them.
    pub(crate) async fn list(self, table: Table) -> Result<Listed> {
        let printed = host::run(self.program(), table.arguments(), b"").await;
        let printed = match printed {
            Err(host::Failed::Exit { stderr, .. }) if stderr.contains(NO_FAMILY) => None,
            printed => printed.map_err(|failed| Error::HostRules {
                operation: "list the host's rules",
                command: self.program(),
                reason: failed.to_string(),
            })?,
        };
        let lines = |text: Vec<u8>| {
            String::from_utf8_lossy(&text).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        Ok(printed.map(lines))
    }

    /// Applies lines of the table filter, all or none. Without the program there is nothing to do.
    pub(crate) async fn apply(self, operation: &'static str, lines: &str) -> Result<()> {
        self.apply_to(Table::Filter, operation, lines).await
    }

    /// Applies lines of a table, all or none. Without the program there is nothing to do.
    pub(crate) async fn apply_to(
        self,
        table: Table,
        operation: &'static str,
        lines: &str,
    ) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let command = self.restore();
        let table = format!("*{}\n{lines}COMMIT\n", table.name());
        crash::point(format_args!("{command}: run"));
        let applied = host::run(command, &["--noflush", "--wait", WAIT], table.as_bytes()).await;
        crash::point(format_args!("{command}: ended"));
        let failed = |failed: host::Failed| Error::HostRules {
            operation,
            command,
            reason: failed.to_string(),
        };
        applied.map(drop).map_err(failed)
    }
}
