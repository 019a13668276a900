//! The name of an attachment, which its plugins, namespaces and interface are named after.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Uuid, Version};

use crate::cnm::Id;
use crate::lifecycle::{error, host_folders};

/// The id of an attachment: the `CNI_CONTAINERID` of its chain. It is not one of Docker's ids: plugins use
/// it as the only key for what they leave on the host, so every attachment needs its own.
///
/// It is a random UUID, written as 32 lower-case hexadecimal digits. It is random from the first digit on,
/// like the ids of container runtimes, because many plugins name an interface after the first seven to
/// thirteen digits. It has no dash, because some plugins use the id as a part of a name. It is half as long
/// as a runtime's id, so that the two are not confused in a lease or a rule.
///
/// Version 0.1.0 made time-ordered UUIDs, with dashes. They are read, and written as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttachmentId(Uuid);

impl AttachmentId {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The attachment with the id `text`; none if `text` is not in the form of this driver's ids.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Self(Uuid::try_parse(text).ok()?);
        let is_ours = matches!(id.0.get_version(), Some(Version::Random | Version::SortRand));
        (is_ours && id.to_string() == text).then_some(id)
    }

    /// The id in the form of Docker's ids.
    pub(crate) fn without_dashes<Of>(self) -> Id<Of> {
        Id::hexadecimal(self.0.as_u128())
    }

    /// When the attachment was made. Only ids of version 0.1.0 contain this.
    pub(crate) fn made(self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        Some(UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    }

    /// Whether an interface may have been given this name by [`AttachmentId::if_name`].
    pub(crate) fn is_if_name(name: &str) -> bool {
        let digits = name.strip_prefix("cni").unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        digits.len() == 12 && digits.bytes().all(is_digit)
    }

    /// The attachments after which the files of a folder are named.
    ///
    /// # Errors
    /// The folder exists, and cannot be read.
    pub(crate) fn in_folder(folder: &Path) -> error::Result<HashSet<Self>> {
        let names = host_folders::entries(folder)?.into_iter();
        let ids = names.filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Self::parse(name.split('.').next()?)
        });
        Ok(ids.collect())
    }

    /// The `CNI_IFNAME`: `cni` and the id's last twelve digits. 15 bytes, the longest that the
    /// kernel allows.
    pub(crate) fn if_name(self) -> String {
        const NODE: u128 = (1 << 48) - 1;
        format!("cni{:012x}", self.0.as_u128() & NODE)
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get_version() {
            Some(Version::SortRand) => self.0.hyphenated().fmt(f),
            _ => self.0.simple().fmt(f),
        }
    }
}

impl Serialize for AttachmentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttachmentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no id of an attachment")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id that version 0.1.0 made on 19 August 2025.
    const OF_0_1_0: &str = "0198c0de-93a5-7356-9b59-65a1b676428f";

    #[test]
    fn an_interface_name_fits_the_kernel_and_belongs_to_one_attachment() {
        let (one, other) = (AttachmentId::new(), AttachmentId::new());
        assert_eq!(one.if_name().len(), 15);
        assert!(one.to_string().ends_with(&one.if_name()[3..]));
        assert_ne!(one.if_name(), other.if_name());
        assert!(AttachmentId::is_if_name(&one.if_name()));
        assert!(!AttachmentId::is_if_name("cni0") && !AttachmentId::is_if_name("cniABCDEF012345"));
    }

    #[test]
    fn ids_that_are_made_at_once_differ_in_their_first_seven_digits() {
        let beginnings = (0..100).map(|_| AttachmentId::new().to_string()[..7].to_owned());
        let different: std::collections::HashSet<_> = beginnings.collect();
        // Two of a hundred are the same in one run of fifty thousand.
        assert!(different.len() >= 99, "{different:?}");
    }

    #[test]
    fn an_id_is_known_by_its_form() {
        let id = AttachmentId::new();
        let text = id.to_string();
        assert!(text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
        assert_eq!(text, text.to_lowercase());
        assert_eq!(AttachmentId::parse(&text), Some(id));
        for other in [
            "",
            "4f3c",
            // The form of one version is not the form of another.
            &text.to_uppercase(),
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            &OF_0_1_0.replace('-', ""),
            // An id of a container runtime.
            "4f3c9a7e00000000000000000000000000000000000000000000000000000000",
        ] {
            assert_eq!(AttachmentId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_id_of_0_1_0_is_written_as_it_was_and_tells_when_it_was_made() {
        let id = AttachmentId::parse(OF_0_1_0).unwrap();
        assert_eq!(id.to_string(), OF_0_1_0);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{OF_0_1_0}\""));
        assert_eq!(id.if_name(), "cni65a1b676428f");
        let made = id.made().unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(made.as_secs() / 86_400, 20_319);
        assert_eq!(AttachmentId::new().made(), None);
    }
}
