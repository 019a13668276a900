//! Moves a lease into the container, and releases it at Leave.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::host_name::with_host_name;
use super::{answers, explained, kept};
use crate::crash;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::host::Chains;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::lend;
use crate::lifecycle::record::{Attachment, Joined};
use crate::netns::{self, Identity};
use crate::translate::{self, DHCP};

/// How long a release may take, because Docker waits for it. The daemon only sends one packet, but does not listen
/// while it asks a server that does not answer.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);

/// Whether the addresses of an attachment are leased by `dhcp`.
pub(crate) fn is_leased(attachment: &Attachment) -> bool {
    translate::dhcp_socket(&attachment.list).is_some()
}

/// Moves the lease of an interface into the container, where Docker has put the interface. Does nothing if there
/// is no lease, or if it is there already. Stops as soon as `call_waits` ends.
///
/// # Errors
/// The daemon or the server does not answer, or the server gives another address now. No lease is kept then.
pub(crate) async fn move_in(
    chains: &Chains,
    joined: Joined<'_>,
    live: &Live<'_>,
    call_waits: impl Future<Output = ()>,
) -> Result<()> {
    // To end a lease that is here already would release it, and to ask again would make a second one.
    if !is_leased(&joined) || is_among(&kept().await?, live.path)? {
        return Ok(());
    }
    let (list, parameters) = (&joined.list, &with_host_name(&joined, live.path).await);
    let moved = async {
        chains.del_ipam(list, DHCP, parameters).await?;
        crash::point(format_args!("lease: left staging"));
        let add = chains.add_ipam(list, DHCP, parameters);
        let added = lend::lent(&joined, live, add, call_waits).await;
        crash::point(format_args!("lease: in the container"));
        added.unwrap_or(Err(Error::LeaseInterrupted))
    };
    let result = match moved.await {
        Ok(result) => result,
        Err(error) => return Err(explained(list, error).await),
    };
    let given: HashSet<IpAddr> =
        result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr()).collect();
    // Other plugins of the chain may have added addresses of their own.
    if given.iter().all(|given| joined.addresses().any(|had| had == *given)) {
        tracing::info!(attachment = %joined.id, "its lease is kept in the container");
        return Ok(());
    }
    if let Err(error) = chains.del_ipam(list, DHCP, parameters).await {
        tracing::warn!(attachment = %joined.id, error = chain(&error), "a lease is kept in vain");
    }
    Err(Error::OtherLease {
        conflist: list.name().to_owned(),
        had: in_words(joined.addresses()),
        given: in_words(given.into_iter()),
    })
}

/// Releases a lease that is kept in the container, while the interface is still there to send from.
///
/// # Errors
/// The daemon does not do it in time; the lease runs out then.
pub(crate) async fn release(chains: &Chains, attachment: &Attachment) -> Result<()> {
    let Some(sandbox) = attachment.sandbox().filter(|_| is_leased(attachment)) else {
        return Ok(());
    };
    if !is_among(&kept().await?, sandbox)? {
        return Ok(());
    }
    let release = chains.del_ipam(&attachment.list, DHCP, &attachment.parameters);
    match timeout(RELEASE_WITHIN, release).await {
        Ok(released) => released,
        Err(_) => Err(Error::TooSlow {
            conflist: attachment.list.name().to_owned(),
            limit: RELEASE_WITHIN,
        }),
    }
}

/// What is wrong with the lease of an attachment, in words; none if it is in the container. `kept` are the
/// namespaces in which leases are kept.
///
/// # Errors
/// The container's namespace cannot be read.
pub(crate) async fn fault(joined: Joined<'_>, kept: &HashSet<Identity>) -> Result<Option<String>> {
    let Some(socket) = translate::dhcp_socket(&joined.list) else { return Ok(None) };
    if is_among(kept, joined.sandbox())? {
        return Ok(None);
    }
    let why = match answers(socket).await {
        true => {
            "the daemon of IPAM plugin \"dhcp\" was started again since, could not renew it, or was given another \
             address"
        }
        false => "the daemon of IPAM plugin \"dhcp\" does not run",
    };
    let addresses = in_words(joined.addresses());
    Ok(Some(format!(
        "nobody renews the lease of {addresses}, so the server may give it to another: {why}"
    )))
}

fn is_among(kept: &HashSet<Identity>, sandbox: &Path) -> Result<bool> {
    Ok(netns::identity(sandbox)?.is_some_and(|sandbox| kept.contains(&sandbox)))
}

fn in_words(addresses: impl Iterator<Item = IpAddr>) -> String {
    let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
    addresses.join(" and ")
}
