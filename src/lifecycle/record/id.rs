//! The name of an attachment, which its plugins, namespaces and interface are named after.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cnm::Id;
use crate::lifecycle::error::Result;
use crate::lifecycle::files;

/// Which attachment: the `CNI_CONTAINERID` of its chain. Ours, not Docker's: plugins key
/// what they leave on the host by it alone, so no two attachments may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct AttachmentId(Uuid);

impl AttachmentId {
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The attachment that `text` names; none if no attachment of this driver's has such an id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7);
        id.filter(|id| id.to_string() == text).map(Self)
    }

    /// The id as one that Docker could have given.
    pub(crate) fn without_dashes<Of>(self) -> Id<Of> {
        Id::hexadecimal(self.0.as_u128())
    }

    /// How long ago the attachment was made; nothing if the clock was set back since.
    pub(crate) fn age(self) -> Duration {
        let made = self.0.get_timestamp().map(|timestamp| timestamp.to_unix());
        let made = made.map_or(UNIX_EPOCH, |(s, ns)| UNIX_EPOCH + Duration::new(s, ns));
        SystemTime::now().duration_since(made).unwrap_or_default()
    }

    /// Whether an interface may have been given this name by [`AttachmentId::if_name`].
    pub(crate) fn is_if_name(name: &str) -> bool {
        let digits = name.strip_prefix("cni").unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        digits.len() == 12 && digits.bytes().all(is_digit)
    }

    /// The attachments that a folder's files are named after.
    ///
    /// # Errors
    /// The folder is there, and cannot be read.
    pub(crate) fn in_folder(folder: &Path) -> Result<HashSet<Self>> {
        let names = files::entries(folder)?.into_iter();
        let ids = names.filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Self::parse(name.split('.').next()?)
        });
        Ok(ids.collect())
    }

    /// The `CNI_IFNAME`: `cni` and the id's last twelve hex digits, which are random. 15
    /// bytes, the longest that the kernel allows.
    pub(crate) fn if_name(self) -> String {
        const NODE: u128 = (1 << 48) - 1;
        format!("cni{:012x}", self.0.as_u128() & NODE)
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_fits_the_kernel_and_belongs_to_one_attachment() {
        let (one, other) = (AttachmentId::new(), AttachmentId::new());
        assert_eq!(one.if_name().len(), 15);
        assert!(one.to_string().replace('-', "").ends_with(&one.if_name()[3..]));
        assert_ne!(one.if_name(), other.if_name());
        assert!(AttachmentId::is_if_name(&one.if_name()));
        assert!(!AttachmentId::is_if_name("cni0") && !AttachmentId::is_if_name("cniABCDEF012345"));
    }

    #[test]
    fn an_id_is_known_by_its_form_and_tells_its_age() {
        let id = AttachmentId::new();
        assert_eq!(AttachmentId::parse(&id.to_string()), Some(id));
        assert!(id.age() < Duration::from_secs(60), "{:?}", id.age());
        for other in ["", "4f3c", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert_eq!(AttachmentId::parse(other), None, "{other}");
        }
    }
}
