//! A container's sandbox: endpoints join and leave it, and one is its gateway.

use axum::Router;
use axum::routing::post;

use super::error::Error;
use super::json::Json;
use super::opening::{Opened, Opening};
use crate::cnm::{
    Empty, EndpointRequest, JoinRequest, JoinResponse, ProgramExternalConnectivityRequest,
};

pub(super) fn routes() -> Router<Opening> {
    Router::new()
        .route("/NetworkDriver.Join", post(join))
        .route("/NetworkDriver.Leave", post(leave))
        .route("/NetworkDriver.ProgramExternalConnectivity", post(program_external_connectivity))
        .route("/NetworkDriver.RevokeExternalConnectivity", post(revoke_external_connectivity))
}

async fn join(
    Opened(driver): Opened,
    Json(request): Json<JoinRequest>,
) -> Result<Json<JoinResponse>, Error> {
    Ok(Json(driver.join(request).await?))
}

async fn leave(Opened(driver): Opened, Json(request): Json<EndpointRequest>) -> Json<Empty> {
    driver.leave(request).await;
    Json(Empty {})
}

async fn program_external_connectivity(
    Opened(driver): Opened,
    Json(request): Json<ProgramExternalConnectivityRequest>,
) -> Result<Json<Empty>, Error> {
    driver.program_external_connectivity(request).await?;
    Ok(Json(Empty {}))
}

async fn revoke_external_connectivity(
    Opened(driver): Opened,
    Json(request): Json<EndpointRequest>,
) -> Result<Json<Empty>, Error> {
    driver.revoke_external_connectivity(request).await?;
    Ok(Json(Empty {}))
}
