//! Whether bytes are a record, for tests from outside: bytes of unknown origin reach the driver by its
//! files, too.

use super::{Attachment, Network};
use crate::state::{Record, decode, encode};

/// Reads the content of a record's file, an attachment's or a network's, and returns what the driver would
/// write instead.
///
/// # Errors
/// Why it is neither.
pub fn reread_record(bytes: &[u8]) -> Result<Vec<u8>, String> {
    fn reread<R: Record>(bytes: &[u8]) -> Result<Vec<u8>, String> {
        encode(&decode::<R>(bytes)?).map_err(|error| error.to_string())
    }
    reread::<Network>(bytes).or_else(|_| reread::<Attachment>(bytes))
}
