//! A spare: an attachment that was made ahead of time, and that no endpoint has.

use std::ops::Deref;

use super::{Attachment, Made, PhaseName, Prepared};
use crate::cnm::EndpointId;
use crate::lifecycle::error::Result;

/// An attachment in the phase Spare. It becomes an endpoint's by a claim, or is given up.
#[derive(Debug)]
pub(crate) struct Spare(Attachment);

impl Deref for Spare {
    type Target = Attachment;

    fn deref(&self) -> &Attachment {
        &self.0
    }
}

impl Spare {
    /// The spare that is made of an attachment whose ADD has succeeded. After an error the attachment is
    /// unchanged.
    ///
    /// # Errors
    /// Its ADD was not running.
    pub(crate) fn ready(
        attachment: &mut Attachment,
        made: Made,
        prepared: Prepared,
    ) -> Result<Self> {
        attachment.keep_ready(made, prepared)?;
        Ok(Self(attachment.clone()))
    }

    /// The attachment that was found on disk, if it is a spare.
    ///
    /// # Errors
    /// The attachment, if it is none.
    #[allow(clippy::result_large_err, reason = "it is not an error, and is passed on once")]
    pub(crate) fn found(attachment: Attachment) -> std::result::Result<Self, Attachment> {
        match attachment.phase.name() {
            PhaseName::Spare => Ok(Self(attachment)),
            _ => Err(attachment),
        }
    }

    /// The endpoint's attachment, from now on.
    ///
    /// # Errors
    /// It is in another phase. This cannot happen.
    pub(crate) fn claim(self, endpoint: EndpointId) -> Result<Attachment> {
        let mut attachment = self.0;
        attachment.claim(endpoint)?;
        Ok(attachment)
    }

    /// The attachment, to be removed.
    pub(crate) fn given_up(self) -> Attachment {
        self.0
    }
}
