//! Clients that go away and come back, in the loop of a worker. The wire of the protocol is that of docs/resume.md.

use tokio::{sync::oneshot, task::yield_now};

use super::*;
use crate::{
    net::{
        session::reclaim::{Claim, Comeback, Likeness, Lodging, ResumeSecret},
        stream::plain_or_tls::MOST_SEALED,
    },
    ws::{resume_token::ResumeId, session::Claimed},
};

const ID: ResumeId = ResumeId([7; ResumeId::BYTES]);
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAA:";
/// Long enough that no test sees one.
const TERMS: ResumeTerms = ResumeTerms { longest: STOPPED, replay: 4096, beat: STOPPED };

/// The kinds of a client that goes, and of the one that comes back.
const CLIENTS: [[Kind; 2]; 6] = [
    [Kind::Socket, Kind::Socket],
    [Kind::Unix, Kind::Unix],
    [Kind::Tls, Kind::Tls],
    [Kind::Tls, Kind::Socket],
    [Kind::Socket, Kind::Tls],
    [Kind::Memory(ROOM), Kind::Memory(ROOM)],
];

impl World {
    /// A session to which its client may come back, in the loop.
    async fn resumable(&self, client: Kind, terms: ResumeTerms) -> [Far; 2] {
        let (held, fars) = self.resumable_apart(client, terms).await;
        self.arrive.send(Arrival::Session(held)).await.unwrap();
        fars
    }

    /// The same for a session that is on its way to the loop.
    async fn resumable_apart(&self, client: Kind, terms: ResumeTerms) -> (Box<Held>, [Far; 2]) {
        let likeness = Likeness { route: "*/".to_owned(), certificate: None, origin: Vec::new(), granted: None };
        let lodging = Lodging::new(0, likeness, localhost().counted_as(), (terms, None), ResumeSecret(SECRET.into()));
        let reclaimable = self.reclaims.add(ID, lodging);
        let (near, far_client) = connected(Client, client).await;
        let (backend, far_backend) = connected(Backend, Kind::Socket).await;
        let sides = [near, backend].map(|stream| (stream, Bytes::new()));
        let held = self.held_on(sides, SETTINGS, (None, Some((terms, reclaimable))));
        (held, [far_client, far_backend])
    }

    async fn claim(&self, attempt: u64, count: u64) -> Claimed {
        let (answer, answered) = oneshot::channel();
        self.arrive.send(Arrival::Claim(Box::new(Claim { id: ID, attempt, count, answer }))).await.unwrap();
        answered.await.unwrap()
    }

    /// The client of this attempt is there. Returns its far end.
    async fn come_back(&self, attempt: u64, kind: Kind, early: &[u8]) -> Far {
        let (mut stream, far) = connected(Client, kind).await;
        stream.leave_thread().unwrap();
        let (early, client) = (Bytes::copy_from_slice(early), localhost());
        let comeback =
            Comeback { id: ID, attempt, stream, early, client, permit: None, expires: None, patience: STOPPED };
        self.arrive.send(Arrival::Comeback(Box::new(comeback))).await.unwrap();
        far
    }
}

fn text(from: Side, payload: &str) -> Vec<u8> {
    frame(from, TEXT, payload)
}

fn count(from: Side, count: u64) -> Vec<u8> {
    frame(from, TEXT, format!("{SECRET}{count}"))
}

/// Runs a test for each pair of kinds, and expects that the session gives back what it held.
fn with_each(test: impl AsyncFn(&mut World, [Kind; 2]) + Send + Sync) {
    for kinds in CLIENTS {
        println!("{kinds:?}");
        with_worker(async |world| {
            test(world, kinds).await;
            while world.live.sessions() > 0 {
                world.ended().await;
            }
            assert_eq!((world.counts(), world.reclaims.away(), world.reclaims.kept.bytes()), ((0, 0), 0, 0));
            assert!(world.reclaims.find(ID).is_none());
        });
    }
}

#[test]
fn a_client_that_comes_back_reads_what_it_missed_once_and_so_does_the_backend() {
    with_each(async |world, [before, after]| {
        let [mut client, mut backend] = world.resumable(before, TERMS).await;
        client.send([text(Client, "one"), text(Client, "two")].concat()).await;
        backend.expect([text(Client, "one"), text(Client, "two")].concat()).await;
        backend.send([text(Backend, "ONE"), text(Backend, "TWO")].concat()).await;
        client.expect([text(Backend, "ONE"), text(Backend, "TWO")].concat()).await;
        client.send([count(Client, 1), text(Client, "half")[..7].to_vec()].concat()).await;
        client.stream.shutdown().await.unwrap();
        client.expect_gone().await;
        backend.send(text(Backend, "THREE")).await;
        assert_eq!(world.claim(1, 1).await, Claimed::Ready { received: 2 });
        let mut client = world.come_back(1, after, &text(Client, "three")).await;
        client.expect([text(Backend, "TWO"), text(Backend, "THREE")].concat()).await;
        backend.expect(text(Client, "three")).await;
        backend.send(text(Backend, "FOUR")).await;
        client.expect(text(Backend, "FOUR")).await;
        client.send_and_finish(close(Client, 1000, "")).await;
        backend.expect(close(Client, 1000, "")).await;
        backend.send_and_finish(close(Backend, 1000, "")).await;
        client.expect(close(Backend, 1000, "")).await;
        assert_eq!(world.ended().await, ("client_close".to_owned(), true));
    });
}

#[test]
fn a_claim_takes_the_session_from_a_client_that_is_there() {
    with_each(async |world, [before, after]| {
        let [mut client, mut backend] = world.resumable(before, TERMS).await;
        client.send(text(Client, "one")).await;
        backend.expect(text(Client, "one")).await;
        assert_eq!(world.claim(5, 0).await, Claimed::Ready { received: 1 });
        client.expect_gone().await;
        assert_eq!(world.claim(5, 0).await, Claimed::Stale);
        assert_eq!(world.claim(4, 0).await, Claimed::Stale);
        assert_eq!(world.claim(6, 0).await, Claimed::Ready { received: 1 });
        let mut late = world.come_back(5, after, b"").await;
        late.expect_gone().await;
        let mut client = world.come_back(6, after, b"").await;
        backend.send(text(Backend, "ONE")).await;
        client.expect(text(Backend, "ONE")).await;
        drop((client, backend));
    });
}

#[test]
fn a_backend_is_read_only_as_far_as_there_is_room_for_a_client_that_is_away() {
    with_each(async |world, [before, after]| {
        let [client, mut backend] = world.resumable(before, TERMS).await;
        client.reset();
        let messages: Vec<_> = (0..2000).map(|n| text(Backend, &format!("{n:0100}"))).collect();
        let sent = messages.concat();
        let sending = backend.send(&sent);
        let coming_back = async {
            assert_eq!(world.claim(1, 0).await, Claimed::Ready { received: 0 });
            let mut client = world.come_back(1, after, b"").await;
            client.expect(&sent).await;
            client
        };
        let (_, client) = tokio::join!(sending, coming_back);
        assert!(world.reclaims.kept.bytes() <= TERMS.replay, "{}", world.reclaims.kept.bytes());
        drop((client, backend));
    });
}

#[test]
fn what_no_client_comes_back_to_ends_when_its_time_is_over() {
    with_each(async |world, [before, _]| {
        let terms = ResumeTerms { longest: Duration::from_millis(20), ..TERMS };
        let [client, mut backend] = world.resumable(before, terms).await;
        client.reset();
        backend.expect_close(Backend, 1001, "client lost").await;
        backend.send_and_finish(close(Backend, 1001, "")).await;
        assert_eq!(world.ended().await.0, "client_lost");
        assert_eq!(world.claim(1, 0).await, Claimed::Gone);
    });
}

#[test]
fn a_session_that_would_be_away_beyond_the_limit_ends_with_its_client() {
    with_each(async |world, [before, _]| {
        world.reclaims.set_limits(Some(0), None);
        let [mut client, mut backend] = world.resumable(before, TERMS).await;
        backend.send(text(Backend, "before the end")).await;
        client.expect(text(Backend, "before the end")).await;
        client.stream.shutdown().await.unwrap();
        client.expect_close(Client, 1001, "client lost").await;
        client.expect_gone().await;
        backend.expect_close(Backend, 1001, "client lost").await;
        backend.send_and_finish(close(Backend, 1001, "")).await;
        assert_eq!(world.ended().await.0, "client_lost");
    });
}

#[test]
fn a_session_that_keeps_too_much_keeps_no_more() {
    with_each(async |world, [before, _]| {
        world.reclaims.set_limits(None, Some(100));
        let [mut client, mut backend] = world.resumable(before, TERMS).await;
        let message = text(Backend, &"x".repeat(120));
        backend.send(&message).await;
        client.expect(&message).await;
        // What has gone is not kept, so that nobody can come back to the session.
        client.stream.shutdown().await.unwrap();
        backend.expect_close(Backend, 1001, "client lost").await;
        drop((client, backend));
        assert_eq!(world.ended().await.0, "client_lost");
    });
}

#[test]
fn a_claim_may_come_before_the_session_is_taken_in() {
    with_each(async |world, [before, after]| {
        let (held, [mut client, mut backend]) = world.resumable_apart(before, TERMS).await;
        let claims = [1, 2].map(|attempt| {
            let (answer, answered) = oneshot::channel();
            (Arrival::Claim(Box::new(Claim { id: ID, attempt, count: 0, answer })), answered)
        });
        let [(first, one), (second, other)] = claims;
        for arrival in [first, second, Arrival::Session(held)] {
            world.arrive.send(arrival).await.unwrap();
        }
        assert_eq!([one.await.unwrap(), other.await.unwrap()], [Claimed::Ready { received: 0 }; 2]);
        client.expect_gone().await;
        let mut client = world.come_back(2, after, &text(Client, "one")).await;
        backend.expect(text(Client, "one")).await;
        backend.send(text(Backend, "ONE")).await;
        client.expect(text(Backend, "ONE")).await;
        drop((client, backend));
        world.ended().await;
        // Nobody waits for a session that is over.
        assert!(world.reclaims.find(ID).is_none());
        assert_eq!(world.claim(3, 0).await, Claimed::Gone);
    });
}

#[test]
fn what_is_sent_again_is_not_counted_among_what_waits_for_slow_readers() {
    with_each(async |world, [before, after]| {
        let (replay, length) = (16 << 20, 12 << 20);
        let [client, mut backend] = world.resumable(before, ResumeTerms { replay, ..TERMS }).await;
        client.reset();
        let message = frame(Backend, BINARY, vec![0x33; length]);
        backend.send(&message).await;
        // What the kernel still has when the client comes back is sent to it for the first time.
        while world.reclaims.kept.bytes() < length {
            yield_now().await;
        }
        assert_eq!(world.claim(1, 0).await, Claimed::Ready { received: 0 });
        let mut client = world.come_back(1, after, b"").await;
        // It reads nothing yet.
        client.send(text(Client, "one")).await;
        backend.expect(text(Client, "one")).await;
        assert!(world.unsent.bytes() <= MOST_SEALED, "{}", world.unsent.bytes());
        client.expect(&message).await;
        drop((client, backend));
    });
}

#[test]
fn a_client_that_comes_back_too_late_reads_how_its_session_has_ended() {
    for is_gone in [true, false] {
        with_each(async |world, [before, after]| {
            let [client, mut backend] = world.resumable(before, TERMS).await;
            client.reset();
            assert_eq!(world.claim(1, 0).await, Claimed::Ready { received: 0 });
            let (code, words) = if is_gone {
                backend.reset();
                assert_eq!(world.ended().await.0, "backend_lost");
                (1001, "client lost")
            } else {
                // The session is there until the backend has closed too.
                backend.send(frame(Backend, 0x83, b"")).await;
                backend.expect_close(Backend, 1002, "reserved opcode").await;
                (1011, "backend broke the protocol")
            };
            let mut late = world.come_back(1, after, b"").await;
            late.expect_close(Client, code, words).await;
            late.expect_gone().await;
        });
    }
}
