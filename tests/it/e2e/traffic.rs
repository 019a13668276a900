//! A ping from one container to another every ten milliseconds, and whether each is answered.

use std::time::Duration;

use super::host::{Host, within};

/// The file with a line for each answer, in the container that sends.
const ANSWERS: &str = "/tmp/answers";
/// How many answers are enough: the event itself may have been shorter.
const ENOUGH: usize = 100;

/// Pings under way.
#[derive(Debug)]
pub(super) struct Traffic<'h> {
    host: &'h Host,
    from: &'h str,
}

impl<'h> Traffic<'h> {
    /// Begins to send.
    #[track_caller]
    pub(super) fn between(host: &'h Host, from: &'h str, to: &str) -> Self {
        host.ping(from, to).unwrap();
        let ping = format!("exec ping -i 0.01 {to} >{ANSWERS}");
        host.docker(&["exec", "-d", from, "sh", "-c", &ping]);
        Self { host, from }
    }

    /// Stops once enough pings were sent, and fails if one was not answered.
    #[track_caller]
    pub(super) fn assert_that_no_packet_was_lost(self) {
        self.wait_for("enough answers", |answers| sequence(answers).len() >= ENOUGH);
        self.host.docker(&["exec", self.from, "killall", "-INT", "ping"]);
        let answers = self.wait_for("ping's last words", |answers| answers.contains("round-trip"));
        let seen = sequence(&answers);
        let all: Vec<usize> = (0..seen.len()).collect();
        assert_eq!(seen, all, "a packet was lost, or came too late");
        // The last one may have been under way.
        let sent = answers.split_once(" packets transmitted").unwrap().0;
        let sent: usize = sent.rsplit(['\n', ' ']).next().unwrap().parse().unwrap();
        assert!(sent <= seen.len() + 1, "{answers}");
        eprintln!("{} pings, all of them answered", seen.len());
    }

    /// The answers up to now, as soon as they are correct.
    #[track_caller]
    fn wait_for(&self, what: &str, as_it_should: impl Fn(&str) -> bool) -> String {
        let mut answers = String::new();
        let came = within(Duration::from_secs(10), || {
            answers = self.host.docker(&["exec", self.from, "cat", ANSWERS]);
            as_it_should(&answers)
        });
        assert!(came, "{what} did not come: {answers}");
        answers
    }
}

/// The numbers of the pings that were answered, in the order of the answers.
fn sequence(answers: &str) -> Vec<usize> {
    answers
        .lines()
        .filter_map(|line| line.split_once(" seq=")?.1.split(' ').next()?.parse().ok())
        .collect()
}
