//! How the sessions of a route outlive the connections of their clients.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration as StdDuration,
};

use super::{Resolver, routes::Surroundings};
use crate::{
    config::{
        Listener,
        document::At,
        file::ResumeSetting,
        values::{Cidr, Duration, Size},
    },
    routing::{RouteAction, RouteEntry},
    sender::Network,
    ws::session::ResumeTerms,
};

/// A client that is away for less has not noticed anything, and a beat that is shorter costs more than it finds out.
const SHORTEST: StdDuration = StdDuration::from_secs(1);

impl Resolver {
    pub(super) fn resume(&mut self, setting: &ResumeSetting, at: &At) -> ResumeTerms {
        let &ResumeSetting { longest: Duration(longest), replay: Size(replay), beat: Duration(beat) } = setting;
        if longest < SHORTEST {
            self.error(at.key("for"), "`for` is 1s or more", "leave `resume` out if no client is to come back");
        }
        if beat < SHORTEST {
            self.error(at.key("beat"), "`beat` is 1s or more", "10s is the default");
        }
        // Two and a half beats, and a sixth of the time to come back.
        if longest >= SHORTEST && beat >= SHORTEST && beat * 3 > longest {
            let help = "a client finds out after two and a half beats that its connection is dead, and may be too late then: a third of \
                        `for` is the most";
            self.warn(at.key("beat"), "`beat` is too long for `for`", help);
        }
        if !(4 << 10..=16 << 20).contains(&replay) {
            self.error(at.key("replay"), "`replay` is 4KiB to 16MiB", "64KiB is the default");
        }
        ResumeTerms { longest, replay: usize::try_from(replay).unwrap_or(usize::MAX), beat }
    }

    /// Warns of routes whose tokens pass in the clear. `places`: where the routes stand, in the same order.
    pub(super) fn tokens_in_the_clear(
        &mut self,
        entries: &[RouteEntry],
        places: &[At],
        surroundings: &Surroundings<'_>,
    ) {
        let is_open = |listener: &&Listener| is_open(listener, surroundings.trusted_proxies);
        let Some(clear) = surroundings.listeners.iter().find(is_open) else { return };
        for (entry, at) in entries.iter().zip(places).filter(|(entry, _)| entry.route.resume.is_some()) {
            let leads_away = |other: &RouteEntry| {
                matches!(other.route.action, RouteAction::Redirect(_))
                    && other.host == entry.host
                    && other.path == entry.path
            };
            if !entries.iter().any(leads_away) {
                let message = format!("`resume` on a listener without TLS: {}", clear.bind);
                let help = "whoever reads a token on its way has its session: write tls in the listener, or name the proxy of another \
                            machine that takes the TLS off in `trusted_proxies`";
                self.warn(at.key("resume"), message, help);
            }
        }
    }
}

/// Whether clients of other machines come in the clear. A proxy that we trust may take the TLS off, if it can come to this listener from
/// another machine.
fn is_open(listener: &Listener, trusted_proxies: &[Cidr]) -> bool {
    let Some(here) = listener.bind.tcp().map(|bind| bind.ip().to_canonical()) else { return false };
    let comes = |Cidr(proxies): &Cidr| match proxies {
        Network::Ip(net) => {
            let there = net.network().to_canonical();
            !there.is_loopback() && (here.is_ipv4() == there.is_ipv4() || here == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        }
        Network::Unix => false,
    };
    listener.tls.is_none() && !here.is_loopback() && !trusted_proxies.iter().any(comes)
}
