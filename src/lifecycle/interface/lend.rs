//! The container's interface, lent to plugins under the parameters of its ADD.
//!
//! Docker has moved the interface and renamed it. While it is lent, the container's namespace is pinned at
//! `CNI_NETNS`, over the staging namespace, and `CNI_IFNAME` is an alternative name of the interface: the
//! kernel finds a link by either name. A driver that is killed meanwhile leaves both. The next driver removes
//! them before it answers any call ([`end_interrupted`]), because otherwise Docker could not give the
//! interface its name back.

use std::path::Path;

use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::Result;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::netlink::Netlink;
use crate::netns;

/// Lends the interface for as long as `work` takes; none if `wanted` ended before it. `work` is dropped
/// then: a plugin that runs is killed with all its children.
pub(crate) async fn lent<T>(
    attachment: &Attachment,
    live: &Live<'_>,
    work: impl Future<Output = Result<T>>,
    wanted: impl Future<Output = ()>,
) -> Option<Result<T>> {
    let (staging, if_name) = (&attachment.staging, &attachment.parameters.if_name);
    if let Err(error) = lend(staging, live.path).await {
        return Some(Err(error));
    }
    let named = async {
        if live.link.name != *if_name {
            live.netlink.add_altname(live.link.index, if_name).await?;
        }
        work.await
    };
    let done = tokio::select! {
        done = named => Some(done),
        () = wanted => None,
    };
    let ended = end(staging, if_name).await;
    done.map(|done| done.and_then(|done| ended.map(|()| done)))
}

/// Pins the container's namespace over the staging one.
async fn lend(staging: &Path, sandbox: &Path) -> Result<()> {
    // Code that removes the pin must find another one below.
    if netns::identity(staging)?.is_none() {
        netns::create(staging).await?;
    }
    let (staging, sandbox) = (staging.to_owned(), sandbox.to_owned());
    on_blocking_thread(move || Ok(netns::pin(netns::open(&sandbox)?, &staging)?)).await
}

/// Removes the alternative name and the pin.
pub(crate) async fn end(staging: &Path, if_name: &str) -> Result<()> {
    // In this order: an extra pin shows that there may be an extra name.
    let netlink = Netlink::in_netns(staging).await?;
    if let Some(link) = netlink.link(if_name).await?.filter(|link| link.name != if_name) {
        netlink.remove_altname(link.index, if_name).await?;
    }
    let staging = staging.to_owned();
    // The unmount waits for other processors: some milliseconds.
    on_blocking_thread(move || Ok(netns::unpin(&staging)?)).await
}

/// Ends what a driver was killed in.
pub(crate) async fn end_interrupted(netns_dir: &Path) -> Result<()> {
    for staging in netns::stacked(netns_dir)? {
        let id = staging.file_name().and_then(|name| name.to_str());
        if let Some(id) = id.and_then(AttachmentId::parse) {
            end(&staging, &id.if_name()).await?;
        }
    }
    Ok(())
}
