//! A ping from one container to another every ten milliseconds, and whether each is answered.

use std::time::Duration;

use super::host::{Host, within};

/// Where each answer has a line, in the container that asks.
const ANSWERS: &str = "/tmp/answers";

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

    /// Stops, and fails if one was not answered, or if none was sent to speak of.
    #[track_caller]
    pub(super) fn assert_that_no_packet_was_lost(self) {
        self.host.docker(&["exec", self.from, "killall", "-INT", "ping"]);
        let answers = || self.host.docker(&["exec", self.from, "cat", ANSWERS]);
        assert!(
            within(Duration::from_secs(5), || answers().contains("round-trip")),
            "{}",
            answers()
        );
        let answers = answers();
        let seen: Vec<usize> = answers
            .lines()
            .filter_map(|line| line.split_once(" seq=")?.1.split(' ').next()?.parse().ok())
            .collect();
        assert!(seen.len() > 50, "too few to tell: {answers}");
        let all: Vec<usize> = (0..seen.len()).collect();
        assert_eq!(seen, all, "a packet was lost, or came too late");
        // The last one may have been under way.
        let sent = answers.split_once(" packets transmitted").unwrap().0;
        let sent: usize = sent.rsplit(['\n', ' ']).next().unwrap().parse().unwrap();
        assert!(sent <= seen.len() + 1, "{answers}");
        eprintln!("{} pings, all of them answered", seen.len());
    }
}
