//! What a driver's own chains and tables are called on the host.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The state folder of a driver that was not told of another one.
const USUAL: &str = "/var/lib/cnm-cni";

/// How the name begins of every table that exempts from the policy of FORWARD.
pub(super) const FORWARD_TABLE: &str = "cnm_cni_forward";

/// The names of one driver's chains and tables. A second driver on the host has other ones: each removes
/// the rules that none of its networks asks for.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) sent: String,
    pub(super) out: String,
    pub(super) received: String,
    /// The first rule of FORWARD.
    pub(super) lead: String,
    pub(super) table: String,
    /// The table that exempts from the policy of FORWARD.
    pub(super) forward: String,
}

impl Names {
    /// Those of the driver with that state folder, which is locked.
    pub(super) fn of(state_dir: &Path) -> Self {
        let (dash, underscore) = match state_dir == Path::new(USUAL) {
            true => Default::default(),
            false => {
                let hash = hash_of(state_dir);
                // No chain's name may be longer than 28 characters.
                (format!("-{hash:08x}"), format!("_{hash:08x}"))
            }
        };
        let sent = format!("CNM-CNI-ISOLATE{dash}");
        Self {
            out: format!("CNM-CNI-ISOLATE-OUT{dash}"),
            received: format!("CNM-CNI-ISOLATE-IN{dash}"),
            lead: format!("-A FORWARD -j {sent}"),
            table: format!("cnm_cni{underscore}"),
            forward: format!("{FORWARD_TABLE}{underscore}"),
            sent,
        }
    }

    pub(super) fn chains(&self) -> [&str; 3] {
        [&self.sent, &self.out, &self.received]
    }
}

/// FNV-1a: the same for every build of this program, since rules outlive it.
fn hash_of(folder: &Path) -> u32 {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let bytes = folder.as_os_str().as_bytes().iter();
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
