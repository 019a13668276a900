//! Networks: create and delete, and the calls that swarm and Docker 28 make before.

use axum::Router;
use axum::routing::post;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::error::Error;
use super::json::Json;
use super::opening::{Opened, Opening};
use crate::cnm::{CreateNetworkRequest, DeleteNetworkRequest, Empty, GwAllocCheckResponse};

pub(super) fn routes() -> Router<Opening> {
    Router::new()
        .route("/NetworkDriver.GwAllocCheck", post(gw_alloc_check))
        .route("/NetworkDriver.AllocateNetwork", post(allocate_network))
        .route("/NetworkDriver.FreeNetwork", post(free_network))
        .route("/NetworkDriver.CreateNetwork", post(create_network))
        .route("/NetworkDriver.DeleteNetwork", post(delete_network))
}

/// Not announced in the capabilities, and the answer does no harm: Docker reserves gateways as it would
/// without this call.
async fn gw_alloc_check(Json(IgnoredAny): Json<IgnoredAny>) -> Json<GwAllocCheckResponse> {
    Json(GwAllocCheckResponse { skip_ipv4: false, skip_ipv6: false })
}

/// Docker calls this only for drivers of global scope. A driver of local scope has nothing to allocate in
/// advance, and nothing to add to the network's options.
async fn allocate_network(Json(IgnoredAny): Json<IgnoredAny>) -> Json<Value> {
    Json(json!({"Options": {}}))
}

async fn free_network(Json(IgnoredAny): Json<IgnoredAny>) -> Json<Empty> {
    Json(Empty {})
}

async fn create_network(
    Opened(driver): Opened,
    Json(request): Json<CreateNetworkRequest>,
) -> Result<Json<Empty>, Error> {
    driver.create_network(request).await?;
    Ok(Json(Empty {}))
}

async fn delete_network(
    Opened(driver): Opened,
    Json(request): Json<DeleteNetworkRequest>,
) -> Result<Json<Empty>, Error> {
    driver.delete_network(request).await?;
    Ok(Json(Empty {}))
}
