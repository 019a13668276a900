//! The operator's calls: what `cnm-cni` asks the running driver for. They use the same socket and form as
//! Docker's calls, so that there is only one socket, which only root can open.

use axum::Router;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::json::Json;
use super::opening::{Opened, Opening};
use crate::lifecycle::inventory::Inventory;
use crate::lifecycle::{Check, Collection, Finding, Orphan, Retried};

/// `/Control.RetryOrphans`; the answer is a list of [`Retried`].
pub const RETRY_ORPHANS: &str = "Control.RetryOrphans";
/// `/Control.ForgetOrphan`; the answer is the [`Orphan`].
pub const FORGET_ORPHAN: &str = "Control.ForgetOrphan";

/// `/Control.Collect`, with a [`Collection`]; the answer is a list of [`Finding`].
pub const COLLECT: &str = "Control.Collect";

/// `/Control.Check`, with a [`WhatToCheck`]; the answer is a list of [`Check`].
pub const CHECK: &str = "Control.Check";

/// `/Control.Reload`, with a [`WhatToReload`]; the answer is a list of [`Check`].
pub const RELOAD: &str = "Control.Reload";

/// `/Control.Inventory`, with nothing; the answer is an [`Inventory`].
pub const INVENTORY: &str = "Control.Inventory";
/// `/Control.InterfaceNames`, with [`Attachments`]; the answer is a list of pairs: an attachment's id, and
/// the name of its interface in the container.
pub const INTERFACE_NAMES: &str = "Control.InterfaceNames";

/// `/Control.Metrics`, with nothing; the answer is a text, as Prometheus reads it.
pub const METRICS: &str = "Control.Metrics";

/// A call that asks for everything.
#[derive(Debug, Serialize, Deserialize)]
pub struct Everything {}

/// Some attachments, or all of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attachments {
    /// Their ids; none for all.
    pub attachments: Vec<String>,
}

/// What to check, and whether to repair it.
#[derive(Debug, Serialize, Deserialize)]
pub struct WhatToCheck {
    /// See [`Driver::check`](crate::lifecycle::Driver::check); none for all.
    pub which: Vec<String>,
    /// Whether to repair what differs.
    pub repair: bool,
    /// Whether to look at the host's side only; then nothing is repaired. A driver of version 0.1.0 does not know this,
    /// and looks at everything.
    #[serde(default)]
    pub host_only: bool,
}

/// Of what the host's rules are to be put back.
#[derive(Debug, Serialize, Deserialize)]
pub struct WhatToReload {
    /// As for [`WhatToCheck`]; none for all.
    pub which: Vec<String>,
}

/// An attachment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The beginning of the attachment's or the endpoint's id; empty for all, where the call allows that.
    pub id: String,
}

pub(super) fn routes() -> Router<Opening> {
    Router::new()
        .route(&format!("/{RETRY_ORPHANS}"), post(retry_orphans))
        .route(&format!("/{FORGET_ORPHAN}"), post(forget_orphan))
        .route(&format!("/{COLLECT}"), post(collect))
        .route(&format!("/{CHECK}"), post(check))
        .route(&format!("/{RELOAD}"), post(reload))
        .route(&format!("/{INVENTORY}"), post(inventory))
        .route(&format!("/{INTERFACE_NAMES}"), post(interface_names))
        .route(&format!("/{METRICS}"), post(metrics))
}

async fn retry_orphans(
    Opened(driver): Opened,
    Json(subject): Json<Subject>,
) -> Result<Json<Vec<Retried>>, Error> {
    Ok(Json(driver.retry_orphans(&subject.id).await?))
}

async fn forget_orphan(
    Opened(driver): Opened,
    Json(subject): Json<Subject>,
) -> Result<Json<Orphan>, Error> {
    Ok(Json(driver.forget_orphan(&subject.id).await?))
}

async fn collect(
    Opened(driver): Opened,
    Json(wanted): Json<Collection>,
) -> Result<Json<Vec<Finding>>, Error> {
    Ok(Json(driver.collect(&wanted).await?))
}

async fn check(Opened(driver): Opened, Json(wanted): Json<WhatToCheck>) -> Json<Vec<Check>> {
    Json(match wanted.host_only {
        true => driver.check_host(&wanted.which).await,
        false => driver.check(&wanted.which, wanted.repair).await,
    })
}

async fn reload(Opened(driver): Opened, Json(wanted): Json<WhatToReload>) -> Json<Vec<Check>> {
    Json(driver.reload(&wanted.which).await)
}

async fn inventory(
    Opened(driver): Opened,
    Json(Everything {}): Json<Everything>,
) -> Result<Json<Inventory>, Error> {
    Ok(Json(driver.inventory().await?))
}

async fn metrics(
    Opened(driver): Opened,
    Json(Everything {}): Json<Everything>,
) -> Result<Json<String>, Error> {
    Ok(Json(driver.metrics().await?))
}

async fn interface_names(
    Opened(driver): Opened,
    Json(of): Json<Attachments>,
) -> Result<Json<Vec<(String, String)>>, Error> {
    Ok(Json(driver.interface_names(of.attachments).await?))
}
