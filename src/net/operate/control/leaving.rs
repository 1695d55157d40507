//! The end of a running proxy: its listeners close, or a successor gets them.

use std::{io, time::Duration};

use super::Control;
use crate::net::{
    front::{parcel::Sockets, tickets::Tickets},
    worker::plan::StickySecret,
};

impl Control {
    /// Whether another process keeps the listening sockets. New clients then wait for a successor when this process ends.
    #[must_use]
    pub fn has_kept_sockets(&self) -> bool {
        self.listeners.are_kept()
    }

    /// Makes the files of the listening sockets ours, because the predecessor that passed them has gone. From now on they
    /// are removed with their listeners.
    pub fn take_files(&self) {
        self.listeners.take_files();
    }

    /// Whether the process is about to end. No order takes that back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.orders.is_announced()
    }

    /// Tells load balancers to look away.
    pub(in crate::net) fn announce(&self) {
        self.orders.announce();
        self.shared.fleet.begin_leaving();
    }

    /// Tells the fleet that this instance has gone. Ready soon, whatever the server does.
    pub(in crate::net) async fn leave_fleet(&self) {
        self.shared.fleet.leave().await;
    }

    /// Tells every session to leave, over `longest` at most, and closes the listeners. Ready when nothing is accepted any more.
    pub(in crate::net) async fn close(&self, longest: Duration) {
        self.rebalancing.stop();
        self.orders.close(longest);
        self.shared.fleet.begin_leaving();
        self.listeners.close().await;
    }

    /// The listening sockets, for a successor. From now on it may accept the clients that wait there.
    pub(in crate::net::operate) fn lend_sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        self.listeners.lend(&mut sockets)?;
        self.desk.as_ref().map_or(Ok(()), |desk| desk.lend(&mut sockets))?;
        Ok(sockets)
    }

    /// Takes the sockets back, because the successor did not take over.
    pub(in crate::net::operate) fn take_back_sockets(&self) {
        self.listeners.take_back();
        if let Some(desk) = &self.desk {
            desk.take_back();
        }
    }

    /// Leaves the sockets to a successor, which accepts from them: the clients that wait there are its own. Ready when
    /// we accept no more.
    pub(in crate::net::operate) async fn leave_listeners(&self) {
        self.announce();
        if let Some(desk) = &self.desk {
            desk.leave_to_successor();
        }
        self.listeners.close().await;
    }

    /// Whether nothing is accepted here any more.
    pub(in crate::net) fn has_left(&self) -> bool {
        self.listeners.are_closed()
    }

    /// The process's own key of sticky cookies, for a successor.
    pub(in crate::net::operate) const fn sticky_secret(&self) -> &StickySecret {
        self.plans.sticky_secret()
    }

    /// The keys of TLS tickets, for a successor.
    pub(in crate::net::operate) fn tickets(&self) -> &Tickets {
        self.listeners.tickets()
    }
}
