//! How the sessions of a route outlive the connections of their clients.

use std::time::Duration as StdDuration;

use super::{Resolver, routes::Surroundings};
use crate::{
    config::{
        Listener,
        document::At,
        file::ResumeSetting,
        values::{Duration, Size},
    },
    routing::{RouteAction, RouteEntry},
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
        if longest >= SHORTEST && beat >= SHORTEST && beat * 5 / 2 >= longest {
            let help =
                "a client finds out after two and a half beats that its connection is dead, and is too late then";
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
        // A proxy that we trust may take the TLS off.
        if surroundings.trusts_proxies {
            return;
        }
        let Some(clear) = surroundings.listeners.iter().find(|listener| is_open(listener)) else { return };
        for (entry, at) in entries.iter().zip(places).filter(|(entry, _)| entry.route.resume.is_some()) {
            let leads_away = |other: &RouteEntry| {
                matches!(other.route.action, RouteAction::Redirect(_))
                    && other.host == entry.host
                    && other.path == entry.path
            };
            if !entries.iter().any(leads_away) {
                let message = format!("`resume` on a listener without TLS: {}", clear.bind);
                let help = "whoever reads a token on its way has its session: write tls in the listener, or name the proxy that takes \
                            the TLS off in `trusted_proxies`";
                self.warn(at.key("resume"), message, help);
            }
        }
    }
}

/// Whether clients of other machines come in the clear.
fn is_open(listener: &Listener) -> bool {
    listener.tls.is_none() && listener.bind.tcp().is_some_and(|bind| !bind.ip().to_canonical().is_loopback())
}
