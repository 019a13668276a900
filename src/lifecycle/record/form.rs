//! An attachment's record on disk: which versions of it are read, and which one is written.
//!
//! The forms are separate from the types that the program works with. Those types may change freely. A form
//! may change only if existing records keep their meaning. Any other change needs a new version; a record
//! of the old version is then converted to the next one.

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
