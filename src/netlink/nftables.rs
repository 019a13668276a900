//! Which tables of nftables a namespace has (linux/netfilter/nf_tables.h): one question.
//!
//! Most namespaces have none. What is in a table, only `nft` can write so that it can be read again.

use std::ffi::CStr;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{EOPNOTSUPP, EPROTONOSUPPORT};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};

use super::nfnetlink::{HEADERS, acknowledged, datagram, family, find, message, messages, open};
use super::{Error, Failure};
use crate::netns;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = NFTABLES;
const GET_TABLE: u16 = NFTABLES | 1;

const NFTA_TABLE_NAME: u16 = 1;

/// A table of nftables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    /// Its family, as `nft` writes it: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`.
    pub family: &'static str,
    /// Its name, which is unique in its family.
    pub name: String,
}

/// The tables of the namespace at `path`; none where the kernel has no nftables.
///
/// Fails with [`Error::Namespace`], or [`Error::Request`].
pub async fn nft_tables(path: &Path) -> Result<Vec<NftTable>, Error> {
    netns::run_in(path, tables).await?.map_err(|source| Error::Request {
        operation: "list",
        object: "the tables of nftables".to_owned(),
        place: path.display().to_string(),
        source,
    })
}

/// The tables of the calling thread's namespace.
fn tables() -> Result<Vec<NftTable>, Failure> {
    let socket = match open() {
        Err(error) if error.raw_os_error() == Some(EPROTONOSUPPORT) => return Ok(Vec::new()),
        socket => socket?,
    };
    let mut tables = Vec::new();
    let asked = socket.send(&message(GET_TABLE, NLM_F_REQUEST | NLM_F_DUMP, 0, &[]), 0);
    if asked.as_ref().is_err_and(|error| error.raw_os_error() == Some(EOPNOTSUPP)) {
        return Ok(tables);
    }
    asked?;
    // Ends: the socket is never waited for, and each round takes a datagram off it.
    loop {
        let answer = datagram(&socket)?;
        for (kind, message) in messages(&answer) {
            match kind {
                NLMSG_DONE => return Ok(tables),
                NLMSG_ERROR => match acknowledged(message) {
                    // The answer of a kernel without nftables.
                    Err(Failure::Refused { errno: Errno::EINVAL | Errno::EOPNOTSUPP, .. }) => {
                        return Ok(tables);
                    }
                    acknowledged => acknowledged?,
                },
                NEW_TABLE => tables.extend(table(message)),
                _ => {}
            }
        }
    }
}

/// The table in a message; none of a family that no `nft` knows yet.
fn table(message: &[u8]) -> Option<NftTable> {
    let family = match family(message)? {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    let name = CStr::from_bytes_until_nul(find(message.get(HEADERS..)?, NFTA_TABLE_NAME)?).ok()?;
    Some(NftTable { family, name: name.to_string_lossy().into_owned() })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::netns::tests::Pinned;

    #[tokio::test]
    async fn a_new_namespace_has_no_tables_and_one_has_those_that_were_made() {
        let pinned = Pinned::new().await;
        assert_eq!(nft_tables(&pinned.path).await.unwrap(), []);
        for (program, chain) in [("iptables-nft", "FORWARD"), ("ip6tables-nft", "INPUT")] {
            let made = Command::new("nsenter")
                .arg(format!("--net={}", pinned.path.display()))
                .args([program, "-A", chain, "-j", "ACCEPT"])
                .status();
            assert!(made.unwrap().success(), "{program}");
        }
        let filter = |family| NftTable { family, name: "filter".to_owned() };
        assert_eq!(nft_tables(&pinned.path).await.unwrap(), [filter("ip"), filter("ip6")]);
    }
}
