//! The plugin itself: what it implements, its capabilities, and discovery of hosts.

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

/// dockerd remembers this answer until it restarts, so only what works is announced. The call may come
/// while the driver opens, and does not wait for that.
async fn activate(State(opening): State<Opening>) -> Json<Value> {
    opening.activate();
    Json(json!({"Implements": ["NetworkDriver"]}))
}

/// With `global` connectivity Docker shares the addresses of a swarm network's containers among its nodes.
/// Without it the name of a service resolves on no node. It has no effect on networks outside of a swarm.
async fn get_capabilities() -> Json<Capabilities> {
    Json(Capabilities { scope: "local", connectivity_scope: "global", gw_alloc_checker: false })
}

/// Swarm reports its nodes to drivers of every scope. The conflist decides which hosts a network spans.
async fn discover(Json(IgnoredAny): Json<IgnoredAny>) -> Json<Empty> {
    Json(Empty {})
}
