//! What the loop does for sessions that outlive their backend, or their client's connection.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{SETTLES, Sessions, named};
use crate::{
    net::{
        orders::book::spread,
        session::{
            dismissal::Dismissal,
            reclaim::{Claim, Comeback},
            redial::Redialled,
        },
        stream::calls::SessionKey,
    },
    ws::session::Claimed,
};

/// The most claims that wait for their sessions. A client may read its hello, and come back, before its session is taken in.
const EARLY: usize = 64;

impl Sessions {
    /// Lets go of the backend of a session, and has another one asked.
    pub(super) fn call_successor(&mut self, place: u32, now: Instant) {
        let generation = self.next_generation();
        let Some(running) = self.running.get_mut(place as usize) else { return };
        let Some(outliving) = self.outliving.get_mut(&place) else { return };
        let key = SessionKey { place, generation };
        let Some((order, dismissal)) = running.session.let_go(outliving.attempts, now) else { return };
        // What the old stream still says is for nobody.
        running.session.give_streams_to(key, &self.calls);
        if let Some(dismissal) = dismissal {
            tokio::spawn(dismissal.send());
        }
        outliving.call = Some((outliving.redial.calls)(key, order));
        self.wakes_tasks = true;
        // What was heard of the old backend says nothing any more.
        running.session.hear(&self.orders, Some(&outliving.redial), now);
        if !mem::replace(&mut running.queued, true) {
            self.rota.push(place, running.had);
        }
    }

    /// Gives a session the backend that was found for it, or says that none was.
    pub(super) fn note_redialled(&mut self, key: SessionKey, came: Redialled) {
        let (generation, now) = (self.next_generation(), Instant::now());
        let running = named(&mut self.running, key);
        let Some((running, outliving)) = running.zip(self.outliving.get_mut(&key.place)) else {
            if let Redialled::Taken(successor, _) = came {
                self.dismiss(successor.dismiss());
            }
            return;
        };
        match came {
            Redialled::Taken(successor, attempts) => {
                let leaves = running.session.leaves_in_rebalance();
                let gap = match running.session.take_successor(successor, now) {
                    Ok(gap) => gap,
                    Err(successor) => return self.dismiss(successor.dismiss()),
                };
                if leaves {
                    self.departures.note_moved(key.place);
                }
                running.session.give_streams_to(SessionKey { generation, ..key }, &self.calls);
                outliving.attempts = attempts;
                if let Some(call) = outliving.call.take() {
                    call.succeed(gap);
                }
                // Orders for the old backend are not for the new one.
                running.session.hear(&self.orders, Some(&outliving.redial), now);
                // A new backend's socket gets its lasting options like that of a new session.
                running.settled = false;
            }
            Redialled::Failed(failure) => running.session.note_resume_failure(failure, now),
            Redialled::GaveUp(failure, most) => {
                let given_up = outliving.call.as_mut().map_or(0, |call| call.fail(failure));
                running.session.prolong_hold(spread(most, given_up));
                running.session.note_resume_failure(failure, now);
            }
        }
        if !mem::replace(&mut running.queued, true) {
            self.rota.push(key.place, running.had);
        }
        let due = running.session.due().map_or(now + SETTLES, |due| due.min(now + SETTLES));
        self.expect(key.place, Some(due), now);
    }

    /// Has an end told that no session has it.
    fn dismiss(&mut self, dismissal: Dismissal) {
        tokio::spawn(dismissal.send());
        self.wakes_tasks = true;
    }

    /// A client wants to come back to its session. If nobody waits for the answer any more, nothing happens.
    pub(super) fn note_claim(&mut self, Claim { id, attempt, count, answer }: Claim) {
        if answer.is_closed() {
            return;
        }
        let Some(place) = self.resumable.get(&id).copied() else {
            return self.defer(Claim { id, attempt, count, answer });
        };
        let Some(running) = self.running.get_mut(place as usize) else { return };
        let (metrics, now) = (&self.process.metrics, Instant::now());
        let session = &mut running.session;
        let claimed = catch_unwind(AssertUnwindSafe(|| session.claim((attempt, count), metrics, now)));
        let _ = answer.send(claimed.as_ref().copied().unwrap_or(Claimed::Gone));
        match claimed {
            Ok(_) => self.rouse(place, now),
            Err(_) => self.end_panicked(place as usize),
        }
    }

    /// Lets a claim wait for its session, if there is one.
    fn defer(&mut self, claim: Claim) {
        self.early.retain(|claim| !claim.answer.is_closed());
        if self.early.len() < EARLY && self.process.reclaims.find(claim.id).is_some() {
            self.early.push(claim);
        } else {
            let _ = claim.answer.send(Claimed::Gone);
        }
    }

    /// Gives a session the client that has come back to it. Returns how many bytes that client is sent at once.
    pub(super) fn note_comeback(&mut self, comeback: Comeback) -> usize {
        let now = Instant::now();
        let place = self.resumable.get(&comeback.id).copied().unwrap_or(u32::MAX);
        let Some(running) = self.running.get_mut(place as usize) else {
            comeback.dismiss().into_iter().for_each(|dismissal| self.dismiss(dismissal));
            return 0;
        };
        let (session, calls) = (&mut running.session, &self.calls);
        let taken = catch_unwind(AssertUnwindSafe(|| session.take_client(comeback, (place, calls), now)));
        match taken {
            Ok(Err(dismissal)) => dismissal.into_iter().for_each(|dismissal| self.dismiss(dismissal)),
            Ok(Ok(replayed)) => {
                if (self.process.shares_limits)() {
                    session.join_fleet(&self.process.fleet);
                }
                // Somebody may observe the frames of clients at its address.
                let redial = self.outliving.get(&place).map(|outliving| &outliving.redial);
                session.hear(&self.orders, redial, now);
                self.rouse(place, now);
                return replayed;
            }
            Err(_) => self.end_panicked(place as usize),
        }
        0
    }

    /// Lets go of the client of a session, which waits for it to come back.
    pub(super) fn part_from_client(&mut self, place: u32, now: Instant) {
        if let Some(running) = self.running.get_mut(place as usize) {
            running.session.part_from_client(&self.process.metrics, now);
            self.rouse(place, now);
        }
    }
}
