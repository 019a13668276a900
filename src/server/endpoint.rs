//! Endpoints: create, inspect, delete.

use axum::Router;
use axum::routing::post;

use super::error::Error;
use super::json::Json;
use super::opening::{Opened, Opening};
use crate::cnm::{
    CreateEndpointRequest, CreateEndpointResponse, Empty, EndpointOperInfoResponse, EndpointRequest,
};

pub(super) fn routes() -> Router<Opening> {
    Router::new()
        .route("/NetworkDriver.CreateEndpoint", post(create_endpoint))
        .route("/NetworkDriver.EndpointOperInfo", post(endpoint_oper_info))
        .route("/NetworkDriver.DeleteEndpoint", post(delete_endpoint))
}

async fn create_endpoint(
    Opened(driver): Opened,
    Json(request): Json<CreateEndpointRequest>,
) -> Result<Json<CreateEndpointResponse>, Error> {
    Ok(Json(driver.create_endpoint(request).await?))
}

async fn endpoint_oper_info(
    Opened(driver): Opened,
    Json(request): Json<EndpointRequest>,
) -> Result<Json<EndpointOperInfoResponse>, Error> {
    Ok(Json(driver.endpoint_oper_info(request).await?))
}

async fn delete_endpoint(
    Opened(driver): Opened,
    Json(request): Json<EndpointRequest>,
) -> Json<Empty> {
    driver.delete_endpoint(request).await;
    Json(Empty {})
}
