//! The heart: network and attachment states, undo, recovery.

use std::path::PathBuf;

use crate::cnm;

/// Where the driver finds and keeps its files.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the CNI configuration files.
    pub conf_dir: PathBuf,
    /// Folders of the CNI plugins, searched in order.
    pub cni_path: Vec<PathBuf>,
    /// Folder of the records that survive a reboot.
    pub state_dir: PathBuf,
    /// Folder of the run-time files: pinned namespaces.
    pub run_dir: PathBuf,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// To be replaced.
    #[error("not written yet")]
    Unwritten,
}

/// The driver: every method of the remote driver protocol, without the wire.
#[derive(Debug)]
pub struct Driver {}

impl Driver {
    /// Opens the driver's records and brings every attachment to an end state.
    pub async fn open(_config: Config) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// `NetworkDriver.CreateNetwork`.
    pub async fn create_network(&self, _request: cnm::CreateNetworkRequest) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.DeleteNetwork`.
    pub async fn delete_network(&self, _request: cnm::DeleteNetworkRequest) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.CreateEndpoint`.
    pub async fn create_endpoint(
        &self,
        _request: cnm::CreateEndpointRequest,
    ) -> Result<cnm::CreateEndpointResponse, Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.EndpointOperInfo`.
    pub async fn endpoint_oper_info(
        &self,
        _request: cnm::EndpointRequest,
    ) -> Result<cnm::EndpointOperInfoResponse, Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.DeleteEndpoint`.
    pub async fn delete_endpoint(&self, _request: cnm::EndpointRequest) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.Join`.
    pub async fn join(&self, _request: cnm::JoinRequest) -> Result<cnm::JoinResponse, Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.Leave`.
    pub async fn leave(&self, _request: cnm::EndpointRequest) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.ProgramExternalConnectivity`.
    pub async fn program_external_connectivity(
        &self,
        _request: cnm::ProgramExternalConnectivityRequest,
    ) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// `NetworkDriver.RevokeExternalConnectivity`.
    pub async fn revoke_external_connectivity(
        &self,
        _request: cnm::EndpointRequest,
    ) -> Result<(), Error> {
        Err(Error::Unwritten)
    }

    /// Waits until the operations that are under way have ended.
    pub async fn drain(&self) {}
}
