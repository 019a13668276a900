//! Writing the journal: a queue with an end, and a thread that empties it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::event::{Event, Kind};
use super::files::{Bounds, Files};
use super::named::Named;
use super::names::Names;
use crate::cnm::{EndpointId, NetworkId};

/// How many events may wait to be written.
const QUEUE: usize = 1024;

/// How long the end of the driver waits for the journal.
const FAREWELL: Duration = Duration::from_secs(2);

/// The journal of a driver. Clones are the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    names: Names,
    /// None if the files could not be opened.
    queue: Option<SyncSender<Message>>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Event(Box<Event>),
    /// Answered once all before it is written.
    Written(oneshot::Sender<()>),
}

impl Journal {
    /// Opens the journal below `state_dir`. If that fails, the log says so, and events are in the log alone:
    /// containers need their network more than the driver needs its history.
    #[must_use]
    pub fn open(state_dir: &Path) -> Self {
        let opened = Files::open(state_dir, Bounds::default())
            .and_then(|mut files| Self::writing(QUEUE, move |lines| files.append(lines)));
        opened.unwrap_or_else(|error| {
            tracing::error!(%error, "there is no journal: its file cannot be opened");
            Self { names: Names::default(), queue: None, lost: Arc::default() }
        })
    }

    /// A journal that has `append` write lines, on a thread of its own.
    fn writing(
        queue: usize,
        append: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(queue);
        let lost = Arc::<AtomicU64>::default();
        let of_thread = Arc::clone(&lost);
        let thread = thread::Builder::new().name("journal".to_owned());
        thread.spawn(move || write(&receiver, &of_thread, append))?;
        Ok(Self { names: Names::default(), queue: Some(sender), lost })
    }

    /// Docker's names, as far as they are known.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Tells an event: to the log, and to the journal's file soon. Never waits.
    pub fn tell(&self, event: Event) {
        let mut event = event.cut();
        self.names.follow(&mut event);
        event.log();
        self.send(event);
    }

    /// Notes whose endpoint it is, if the driver has it.
    pub fn learn(&self, endpoint: &EndpointId, names: &Named) {
        if self.names.learn(endpoint, names) {
            let network = self.names.network_of(endpoint);
            self.send(Event { endpoint: Some(endpoint.clone()), network, ..name(names.clone()) });
        }
    }

    /// Notes the new name of a container.
    pub fn rename(&self, container_id: &str, names: &Named) {
        for (endpoint, _) in self.names.endpoints_of(container_id) {
            self.learn(&endpoint, names);
        }
    }

    /// Notes a network's name, if the driver has it.
    pub fn learn_network(&self, network: &NetworkId, name_of_it: &str) {
        if self.names.learn_network(network, name_of_it) {
            let names = Named { network_name: Some(name_of_it.to_owned()), ..Named::default() };
            self.send(Event { network: Some(network.clone()), ..name(names) });
        }
    }

    /// Notes whose an endpoint was to be that Docker could not make.
    pub fn learn_refused(&self, endpoint: EndpointId, network: NetworkId, names: Named) {
        self.send(Event { endpoint: Some(endpoint), network: Some(network), ..name(names) });
    }

    /// Waits until all that was told is written. A disk that hangs is not waited for.
    pub async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (sender, written) = oneshot::channel();
        let flushed = async {
            let mut message = Message::Written(sender);
            while let Err(TrySendError::Full(back)) = queue.try_send(message) {
                message = back;
                sleep(Duration::from_millis(10)).await;
            }
            // It is dropped unanswered if the thread has ended.
            drop(written.await);
        };
        drop(timeout(FAREWELL, flushed).await);
    }

    fn send(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_)) = queue.try_send(Message::Event(Box::new(event))) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// An event that tells nothing but names.
fn name(names: Named) -> Event {
    Event { names, ..Event::now(Kind::Name) }
}

/// Writes what comes, several lines at a time, until the journal is dropped.
fn write(
    queue: &Receiver<Message>,
    lost: &AtomicU64,
    mut append: impl FnMut(&[u8]) -> io::Result<()>,
) {
    /// How many messages are written at once.
    const MOST: usize = 64;
    let mut fails = false;
    while let Ok(first) = queue.recv() {
        let (mut lines, mut count, mut waiting) = (Vec::new(), 0, Vec::new());
        let missing = lost.swap(0, Relaxed);
        if missing > 0 {
            let detail = Some(format!("{missing} events are missing here"));
            add(&mut lines, &Event { detail, ..Event::now(Kind::Lost) });
        }
        for message in std::iter::once(first).chain(queue.try_iter().take(MOST)) {
            match message {
                Message::Event(event) => {
                    add(&mut lines, &event);
                    count += 1;
                }
                Message::Written(sender) => waiting.push(sender),
            }
        }
        if !lines.is_empty() {
            match append(&lines) {
                Ok(()) => fails = false,
                Err(error) => {
                    lost.fetch_add(missing + count, Relaxed);
                    // Once, until it works again.
                    if !std::mem::replace(&mut fails, true) {
                        tracing::warn!(%error, "the journal cannot be written; events are lost");
                    }
                }
            }
        }
        for sender in waiting {
            // Nobody may wait any more.
            let _ = sender.send(());
        }
    }
}

fn add(lines: &mut Vec<u8>, event: &Event) {
    // An event always has a JSON form, and a vector takes any.
    if serde_json::to_writer(&mut *lines, event).is_ok() {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// What was written, and whether writing may go on.
    #[derive(Clone, Default)]
    struct Disk(Arc<Inner>);

    #[derive(Default)]
    struct Inner {
        written: Mutex<Vec<u8>>,
        free: Mutex<bool>,
        changed: Condvar,
    }

    impl Disk {
        fn append(&self, lines: &[u8]) {
            let free = self.0.free.lock().unwrap();
            drop(self.0.changed.wait_while(free, |free| !*free).unwrap());
            self.0.written.lock().unwrap().extend(lines);
        }

        fn free(&self) {
            *self.0.free.lock().unwrap() = true;
            self.0.changed.notify_all();
        }

        fn events(&self) -> Vec<Event> {
            let text = String::from_utf8(self.0.written.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_nobody_up_and_what_is_lost_is_told() {
        let disk = Disk::default();
        let of_journal = disk.clone();
        let append = move |lines: &[u8]| {
            of_journal.append(lines);
            Ok(())
        };
        let journal = Journal::writing(4, append).unwrap();
        for _ in 0..1000 {
            journal.tell(Event::now(Kind::Start));
        }
        disk.free();
        journal.flush().await;
        // Behind the next event it is known how many are missing.
        journal.tell(Event::now(Kind::Stop));
        journal.flush().await;
        let events = disk.events();
        let written = events.iter().filter(|event| event.kind == Kind::Start).count();
        // More than one gap, if the disk hung more than once.
        let lost = events.iter().filter(|event| event.kind == Kind::Lost);
        let lost: Vec<usize> = lost
            .map(|event| event.detail.as_ref().unwrap().split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(lost.iter().sum::<usize>(), 1000 - written, "{events:?}");
        assert!(!lost.is_empty());
        assert!(written >= 4 && events.last().unwrap().kind == Kind::Stop);
    }

    #[tokio::test]
    async fn a_full_disk_loses_events_and_nothing_else() {
        let (disk, full) = (Disk::default(), Arc::new(Mutex::new(true)));
        disk.free();
        let (of_journal, is_full) = (disk.clone(), Arc::clone(&full));
        let append = move |lines: &[u8]| match *is_full.lock().unwrap() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => {
                of_journal.append(lines);
                Ok(())
            }
        };
        let journal = Journal::writing(4, append).unwrap();
        journal.tell(Event::now(Kind::Attach));
        journal.flush().await;
        *full.lock().unwrap() = false;
        journal.tell(Event::now(Kind::Stop));
        journal.flush().await;
        let events = disk.events();
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Lost, Kind::Stop]);
        assert_eq!(events[0].detail.as_deref(), Some("1 events are missing here"));
    }
}
