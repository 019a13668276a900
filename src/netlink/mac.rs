//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A six-byte hardware address, written as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A text is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: expected six bytes such as 02:42:ac:11:00:02")]
pub struct InvalidMac(String);

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Reads six pairs of hex digits, with colons or hyphens between.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.chars().take(32).collect());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_and_written_in_the_kernels_form() {
        let mac: Mac = "02:42:AC:11:00:0f".parse().unwrap();
        assert_eq!(mac, Mac([0x02, 0x42, 0xac, 0x11, 0x00, 0x0f]));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:0f");
        assert_eq!("02-42-ac-11-00-0f".parse(), Ok(mac));
        assert_eq!(serde_json::to_string(&mac).unwrap(), r#""02:42:ac:11:00:0f""#);
        assert_eq!(serde_json::from_str::<Mac>(r#""02:42:ac:11:00:0f""#).unwrap(), mac);
    }

    #[test]
    fn what_is_not_six_bytes_is_refused() {
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:0f:01",
            "2:42:ac:11:0:f",
            "02:42:ac:11:00:0g",
            "+2:42:ac:11:00:0f",
            "0242ac11000f",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?} was accepted");
        }
    }
}
