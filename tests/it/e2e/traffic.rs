//! A ping from one container to another every ten milliseconds, and whether each is answered.

use std::time::Duration;

use super::host::{Host, within};

/// Where the pings are counted, in the container that sends them.
const COUNT: &str = "/tmp/pings";

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
        let ping = format!("exec ping -q -i 0.01 {to} >{COUNT} 2>&1");
        host.docker(&["exec", "-d", from, "sh", "-c", &ping]);
        Self { host, from }
    }

    /// Stops, and fails if one was not answered, or if none was sent to speak of.
    #[track_caller]
    pub(super) fn assert_that_no_packet_was_lost(self) {
        self.host.docker(&["exec", self.from, "killall", "-INT", "ping"]);
        let count = || self.host.docker(&["exec", self.from, "cat", COUNT]);
        assert!(within(Duration::from_secs(5), || count().contains("received")), "{}", count());
        let count = count();
        let number = |before: &str| -> usize {
            let (rest, _) = count.split_once(before).unwrap();
            rest.rsplit([' ', '\n']).next().unwrap().parse().unwrap()
        };
        let (sent, back) = (number(" packets transmitted"), number(" packets received"));
        assert!(sent > 50, "too few to tell: {count}");
        // The last one may have been under way.
        assert!(back + 1 >= sent, "{count}");
    }
}
