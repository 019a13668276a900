//! Reading the journal, also while a driver writes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::event::Event;
use super::files::{folder, numbers, path};
use crate::trust;

/// No line is near this size, in bytes.
const LONGEST: usize = 1 << 20;

/// Reads a journal from its oldest file on.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// The files that follow the open one.
    next: VecDeque<u64>,
    open: Option<Open>,
}

/// The file that is read.
#[derive(Debug)]
struct Open {
    number: u64,
    file: File,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events, in the order in which they were written.
    pub events: Vec<Event>,
    /// What could not be read: a sentence for each line or file.
    pub damaged: Vec<String>,
}

impl Reader {
    /// Reads the journal below `state_dir`. No journal is one without events.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let folder = folder(state_dir);
        let next = numbers(&folder)?.into();
        Ok(Self { folder, next, open: None })
    }

    /// The same without files that were last written before that time: they have nothing from later.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_since(state_dir: &Path, since: SystemTime) -> io::Result<Self> {
        let mut reader = Self::open(state_dir)?;
        let folder = &reader.folder;
        reader.next.retain(|number| {
            let found = std::fs::metadata(path(folder, *number));
            found.and_then(|found| found.modified()).is_ok_and(|written| written >= since)
        });
        Ok(reader)
    }

    /// Reads all whole lines that are there by now, and were not read yet.
    ///
    /// # Errors
    /// A file system refuses.
    pub fn read(&mut self) -> io::Result<Batch> {
        let mut batch = Batch::default();
        loop {
            // First what follows: nothing is added to a file that has a successor.
            let last = self.open.as_ref().map_or(0, |open| open.number);
            let last = self.next.back().copied().unwrap_or(last);
            self.next.extend(numbers(&self.folder)?.into_iter().filter(|number| *number > last));
            if let Some(open) = &mut self.open {
                open.read_to_end(&mut batch)?;
            }
            let Some(number) = self.next.pop_front() else { return Ok(batch) };
            if let Some(open) = self.open.take() {
                open.end(&mut batch);
            }
            let path = path(&self.folder, number);
            match trust::open_own_to_read(&path) {
                Ok(file) => self.open = Some(Open { number, file, rest: Vec::new() }),
                // It was the oldest.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::Other => {
                    batch.damaged.push(format!("{} is passed over: {error}", path.display()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the reading. Returns what is wrong with the last line: the driver may have been killed while it
    /// wrote it.
    #[must_use]
    pub fn end(self) -> Vec<String> {
        let mut batch = Batch::default();
        if let Some(open) = self.open {
            open.end(&mut batch);
        }
        batch.damaged
    }
}

impl Open {
    fn read_to_end(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = match self.file.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            if length == 0 {
                return Ok(());
            }
            for line in piece[..length].split_inclusive(|byte| *byte == b'\n') {
                self.rest.extend(line);
                if line.ends_with(b"\n") || self.rest.len() > LONGEST {
                    let line = std::mem::take(&mut self.rest);
                    self.add(&line, batch);
                }
            }
        }
    }

    fn add(&self, line: &[u8], batch: &mut Batch) {
        let line = line.trim_ascii();
        match serde_json::from_slice(line) {
            Ok(event) => batch.events.push(event),
            Err(_) if line.is_empty() => {}
            Err(error) => {
                let number = self.number;
                batch
                    .damaged
                    .push(format!("a damaged line of {number:08}.jsonl is skipped: {error}"));
            }
        }
    }

    /// Nothing more comes.
    fn end(self, batch: &mut Batch) {
        self.add(&self.rest, batch);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::event::Kind;
    use super::super::files::{Bounds, Files};
    use super::*;

    fn line(number: u32) -> Vec<u8> {
        let event = Event { attempt: Some(number), ..Event::now(Kind::Retry) };
        [serde_json::to_vec(&event).unwrap(), b"\n".to_vec()].concat()
    }

    fn read(reader: &mut Reader) -> Vec<u32> {
        let batch = reader.read().unwrap();
        assert_eq!(batch.damaged, Vec::<String>::new());
        batch.events.iter().map(|event| event.attempt.unwrap()).collect()
    }

    /// A file for three lines. A time that ends in zeros makes a line shorter, or this one.
    fn small() -> Bounds {
        Bounds { size: 7 * line(1).len() as u64 / 2, files: 3 }
    }

    #[test]
    fn who_reads_along_misses_nothing_when_a_file_is_followed_by_the_next() {
        let state = tempfile::tempdir().unwrap();
        let mut files = Files::open(state.path(), small()).unwrap();
        let mut reader = Reader::open(state.path()).unwrap();
        let mut seen = Vec::new();
        for number in 0..40 {
            files.append(&line(number)).unwrap();
            // Sometimes there is nothing new, and sometimes more than a file.
            if number % 5 == 0 {
                seen.extend(read(&mut reader));
                seen.extend(read(&mut reader));
            }
        }
        seen.extend(read(&mut reader));
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
        assert_eq!(reader.end(), Vec::<String>::new());
        let kept = read(&mut Reader::open(state.path()).unwrap());
        assert!(kept.len() <= 9 && kept.ends_with(&[38, 39]), "{kept:?}");
    }

    #[test]
    fn who_reads_too_slowly_goes_on_with_the_oldest_that_is_left() {
        let state = tempfile::tempdir().unwrap();
        let mut files = Files::open(state.path(), small()).unwrap();
        files.append(&line(0)).unwrap();
        let mut reader = Reader::open(state.path()).unwrap();
        assert_eq!(read(&mut reader), [0]);
        (1..40).for_each(|number| files.append(&line(number)).unwrap());
        let seen = read(&mut reader);
        // The open file is read to its end, although it has no name any more.
        assert!(seen.starts_with(&[1, 2]) && seen.ends_with(&[38, 39]), "{seen:?}");
    }

    #[test]
    fn a_damaged_line_is_skipped_with_a_word() {
        let state = tempfile::tempdir().unwrap();
        Files::open(state.path(), small()).unwrap().append(&line(1)).unwrap();
        let file = path(&folder(state.path()), 1);
        let whole = fs::read(&file).unwrap();
        let half = &whole[..whole.len() / 2];
        fs::write(&file, [&whole[..], b"\xff\xfe{\n", &whole, half].concat()).unwrap();
        let mut reader = Reader::open(state.path()).unwrap();
        let batch = reader.read().unwrap();
        assert_eq!(batch.events.len(), 2);
        assert_eq!(batch.damaged.len(), 1);
        assert!(batch.damaged[0].starts_with("a damaged line of 00000001.jsonl"));
        // The last line may be under way.
        fs::write(&file, [&whole[..], b"\xff\xfe{\n", &whole, &whole].concat()).unwrap();
        assert_eq!(read(&mut reader), [1]);
        fs::write(&file, [&whole[..], half].concat()).unwrap();
        let mut reader = Reader::open(state.path()).unwrap();
        assert_eq!(read(&mut reader), [1]);
        assert!(reader.end()[0].contains("damaged line"), "killed within it");
    }

    #[test]
    fn what_is_not_the_drivers_own_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        Files::open(state.path(), small()).unwrap().append(&line(1)).unwrap();
        let file = |number| path(&folder(state.path()), number);
        fs::rename(file(1), file(2)).unwrap();
        std::os::unix::fs::symlink(file(2), file(1)).unwrap();
        let batch = Reader::open(state.path()).unwrap().read().unwrap();
        assert_eq!(batch.events.len(), 1);
        assert!(batch.damaged[0].ends_with("00000001.jsonl is passed over: it is a link"));
        assert!(
            Reader::open(&state.path().join("none")).unwrap().read().unwrap().events.is_empty()
        );
    }
}
