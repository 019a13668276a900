//! The plugin itself: what it implements, what it is capable of, and news about hosts.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::json::Json;
use super::opening::Opening;
use crate::cnm::{Capabilities, Empty};

pub(super) fn routes() -> Router<Opening> {
    Router::new()
        .route("/Plugin.Activate", post(activate))
        .route("/NetworkDriver.GetCapabilities", post(get_capabilities))
        .route("/NetworkDriver.DiscoverNew", post(discover))
        .route("/NetworkDriver.DiscoverDelete", post(discover))
}

/// dockerd remembers this answer until it restarts: nothing is announced that does not
/// work. It may come while the driver opens, and does not wait for that.
async fn activate(State(opening): State<Opening>) -> Json<Value> {
    opening.activate();
    Json(json!({"Implements": ["NetworkDriver"]}))
}

/// `global` connectivity makes Docker share the addresses of a swarm network's containers among
/// its nodes, without which the name of a service resolves to nothing, on no node. Networks
/// outside of a swarm are not concerned.
async fn get_capabilities() -> Json<Capabilities> {
    Json(Capabilities { scope: "local", connectivity_scope: "global", gw_alloc_checker: false })
}

/// Swarm sends drivers of every scope the news of its nodes. Which hosts a network spans is the
/// conflist's business.
async fn discover(Json(IgnoredAny): Json<IgnoredAny>) -> Json<Empty> {
    Json(Empty {})
}
