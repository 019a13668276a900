//! The identities that Docker gives its networks and endpoints.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An identity that Docker chose, checked as soon as it arrives.
///
/// Docker sends 64 hex digits, and 25 base-36 digits for a network of swarm scope. Any
/// 1 to 128 ASCII letters and digits are accepted, and nothing else is: the identity
/// becomes part of a file name.
pub struct Id<Of> {
    /// Shared by its copies, of which a driver has several for each endpoint.
    text: Arc<str>,
    of: PhantomData<fn() -> Of>,
}

/// Marks an [`Id`] as a network's.
#[derive(Debug)]
pub enum Network {}

/// Marks an [`Id`] as an endpoint's.
#[derive(Debug)]
pub enum Endpoint {}

/// Which network: `NetworkID` on the wire.
pub type NetworkId = Id<Network>;

/// Which endpoint, that is, which end of which container: `EndpointID` on the wire.
pub type EndpointId = Id<Endpoint>;

/// An identity is empty, too long, or has characters that no Docker identity has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Docker id: expected 1 to {MAX_LEN} ASCII letters and digits")]
pub struct InvalidId(String);

const MAX_LEN: usize = 128;

impl<Of> Id<Of> {
    /// An identity of 32 hex digits.
    #[must_use]
    pub fn hexadecimal(number: u128) -> Self {
        Self { text: format!("{number:032x}").into(), of: PhantomData }
    }

    /// The identity as Docker wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first twelve characters, as `docker network ls` shows it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.text.get(..12).unwrap_or(&self.text)
    }
}

impl<Of> FromStr for Id<Of> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let sound = (1..=MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if sound {
            Ok(Self { text: text.into(), of: PhantomData })
        } else {
            Err(InvalidId(text.chars().take(MAX_LEN).collect()))
        }
    }
}

impl<'de, Of> Deserialize<'de> for Id<Of> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<Of> Serialize for Id<Of> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

// Written by hand because a derive would ask the same of the marker type.
impl<Of> Clone for Id<Of> {
    fn clone(&self) -> Self {
        Self { text: Arc::clone(&self.text), of: PhantomData }
    }
}

impl<Of> PartialEq for Id<Of> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<Of> Eq for Id<Of> {}

impl<Of> std::hash::Hash for Id<Of> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<Of> fmt::Display for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<Of> fmt::Debug for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_dockers_forms_are_accepted() {
        let local = "a0ca6ece2c77192e6a30b8d43e6cc8ecf221af6fbcec1bdea408c1d29c467b9f";
        let swarm = "q2m9x0v1c8b7n6a5s4d3f2g1h";
        assert_eq!(local.parse::<NetworkId>().unwrap().as_str(), local);
        assert_eq!(swarm.parse::<NetworkId>().unwrap().as_str(), swarm);
        assert_eq!(local.parse::<NetworkId>().unwrap().short(), "a0ca6ece2c77");
        assert_eq!("ab".parse::<EndpointId>().unwrap().short(), "ab");
    }

    #[test]
    fn what_could_leave_a_folder_is_refused() {
        for bad in ["", ".", "../x", "a/b", "a b", "é", &"a".repeat(129)] {
            assert!(bad.parse::<EndpointId>().is_err(), "{bad:?} was accepted");
        }
    }
}
