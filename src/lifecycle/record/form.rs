//! An attachment's record on disk: which versions of it are read, and which one is written.
//!
//! The forms are apart from what the program works with. That may change as it likes; a form may change
//! only so that records which are there keep their meaning. What cannot be said so is a new version,
//! and the old one is read by being brought into the form of the next.

use super::Attachment;
use super::form_1::Form1;
use super::form_2::Form2;
use crate::state::{Content, Record};

impl Record for Attachment {
    const FOLDER: &'static str = "attachments";
    const OLDEST: u32 = 1;
    const VERSION: u32 = 2;
    type Form = Form2;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn form(&self) -> Form2 {
        Form2::of(self.clone())
    }

    fn read(version: u32, content: Content<'_>) -> Result<Self, String> {
        let form = match version {
            1 => content.parse::<Form1>()?.into_form_2()?,
            _ => content.parse::<Form2>()?,
        };
        form.into_attachment()
    }
}
