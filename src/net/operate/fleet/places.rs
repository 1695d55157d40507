//! At which server to try next. PURE.

use crate::{config::FleetServer, fleet::FleetFailure};

/// The most times that a server of a cluster may send us on. More than that, and two of them disagree.
const MOST_MOVES: u32 = 5;

/// The servers of the file, in turn, and the one to which a cluster has sent us.
#[derive(Debug)]
pub(super) struct Places {
    next: usize,
    count: usize,
    moved_to: Option<String>,
    moves: u32,
}

impl Places {
    pub(super) const fn new(servers: &[FleetServer]) -> Self {
        Self { next: 0, count: servers.len(), moved_to: None, moves: 0 }
    }

    /// The server to try now.
    pub(super) fn server(&self, servers: &[FleetServer]) -> FleetServer {
        let mut server = servers.get(self.next).or_else(|| servers.first()).cloned().unwrap_or_else(nowhere);
        if let Some(address) = &self.moved_to {
            server.address.clone_from(address);
        }
        server
    }

    /// What follows from a failure there. Returns whether to try at once.
    pub(super) fn follow(&mut self, failure: &FleetFailure) -> bool {
        if let FleetFailure::Moved(address) = failure
            && let Some(address) = canonical(address)
            && self.moves < MOST_MOVES
        {
            self.moves += 1;
            self.moved_to = Some(address);
            return true;
        }
        self.moves = 0;
        // The place to which a cluster has sent us is not in the file. Its servers know where our keys are now.
        if self.moved_to.take().is_none() {
            self.next = (self.next + 1) % self.count.max(1);
        }
        false
    }
}

/// Nowhere: a file has a server at least.
fn nowhere() -> FleetServer {
    FleetServer { address: String::new(), is_tls: false, user: None, password: None, database: 0 }
}

/// `host:port`, an IPv6 address in brackets. `None` = the server does not say where.
fn canonical(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let is_known = !host.is_empty() && host != "?" && port.parse::<u16>().is_ok();
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    is_known.then(|| if is_bare_v6 { format!("[{host}]:{port}") } else { address.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Vec<FleetServer> {
        ["a:1", "b:2"].map(|address| FleetServer { address: address.to_owned(), ..nowhere() }).to_vec()
    }

    fn moved(address: &str) -> FleetFailure {
        FleetFailure::Moved(address.to_owned())
    }

    #[test]
    fn the_next_server_of_the_list_is_tried_after_each_failure() {
        let (servers, mut places) = (servers(), Places::new(&servers()));
        let failure = FleetFailure::NotNow(String::new());
        let tried: Vec<_> = (0..3)
            .map(|_| {
                let address = places.server(&servers).address;
                assert!(!places.follow(&failure));
                address
            })
            .collect();
        assert_eq!(tried, ["a:1", "b:2", "a:1"]);
    }

    #[test]
    fn a_cluster_sends_us_on_and_two_that_disagree_are_left() {
        let (servers, mut places) = (servers(), Places::new(&servers()));
        assert!(places.follow(&moved("::1:7")));
        assert_eq!(places.server(&servers).address, "[::1]:7");
        assert!((1..MOST_MOVES).all(|_| places.follow(&moved("c:3"))));
        assert!(!places.follow(&moved("d:4")));
        assert_eq!(places.server(&servers).address, "a:1", "who sent us on is asked again");
        for nowhere in ["", ":7", "?:7", "c:x"] {
            assert!(!places.follow(&moved(nowhere)), "{nowhere}");
        }
    }
}
