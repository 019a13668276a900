//! Why there is no lease, in words that say what to do.

use super::answers;
use crate::cni::{self, Failure, NetworkConfigList};
use crate::lifecycle::error::Error;
use crate::translate;

/// The daemon's message when it gives up asking.
const NO_ANSWER: &str = "no more tries";

/// The error of an ADD or DEL. If the daemon does not run, or no server has answered, the error tells that, and
/// what to do.
pub(crate) async fn explained(list: &NetworkConfigList, cause: Error) -> Error {
    let Some(socket) = translate::dhcp_socket(list) else { return cause };
    let of_plugin = match &cause {
        Error::Cni(cni::Error::Plugin(error)) => Some(&error.failure),
        _ => None,
    };
    let why = if of_plugin.is_some_and(|failure| !matches!(failure, Failure::Deadline { .. }))
        && !answers(socket).await
    {
        format!(
            "the daemon of IPAM plugin \"dhcp\" does not answer on {}; start it: systemctl enable --now \
             cni-dhcp.socket, or run 'dhcp daemon' of the plugins' folder",
            socket.display()
        )
    } else if matches!(of_plugin, Some(Failure::Deadline { .. }))
        || matches!(cause, Error::TooSlow { .. })
        || cause.to_string().contains(NO_ANSWER)
    {
        "no DHCP server has answered on the network of the interface; see whether one is reached from there"
            .to_owned()
    } else {
        return cause;
    };
    Error::NoLease { conflist: list.name().to_owned(), why, cause: Box::new(cause) }
}
