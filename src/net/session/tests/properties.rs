//! What holds for every session, whatever its sides are, say and take, and in whatever pieces.

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    join,
    sync::oneshot,
    task::yield_now,
};

use super::*;

/// What a far end does.
#[derive(Debug, Clone)]
struct Script {
    /// What it sends before the end: whole messages, and Pings and Pongs between their fragments.
    frames: Vec<u8>,
    /// The lengths of the pieces in which it sends, in turn.
    pieces: Vec<usize>,
    /// The lengths of its reads, in turn.
    reads: Vec<usize>,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Socket), Just(Kind::Unix), Just(Kind::Tls), (1..3000usize).prop_map(Kind::Memory)]
}

fn script(from: Side) -> impl Strategy<Value = Script> {
    let lengths = prop_oneof![
        6 => 0..300usize,
        1 => select(&[124, 125, 126, 127, 65_535, 65_536]),
        1 => 48_000..200_000usize,
    ];
    let frames = vec((0..6u8, lengths, any::<u8>()), 0..8).prop_map(move |frames| {
        let mut is_fragmented = false;
        let mut bytes = Vec::new();
        for (kind, length, byte) in frames {
            let payload = vec![byte; length];
            bytes.extend(match kind {
                0 => frame(from, 0x89, &payload[..length.min(125)]),
                1 => frame(from, 0x8A, &payload[..length.min(125)]),
                _ => {
                    let first = if is_fragmented { 0x00 } else { 0x01 + (byte & 1) };
                    is_fragmented = kind == 2;
                    frame(from, first | if is_fragmented { 0 } else { 0x80 }, payload)
                }
            });
        }
        if is_fragmented {
            bytes.extend(frame(from, 0x80, ""));
        }
        bytes
    });
    let lengths = || vec(prop_oneof![1..20usize, 1..2000usize, 1..70_000usize], 1..6);
    (frames, lengths(), lengths()).prop_map(|(frames, pieces, reads)| Script { frames, pieces, reads })
}

async fn write(to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], pieces: &[usize]) -> io::Result<()> {
    let mut pieces = pieces.iter().cycle();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(*pieces.next().unwrap()));
        to.write_all(piece).await?;
        to.flush().await?;
        bytes = rest;
        yield_now().await;
    }
    Ok(())
}

/// Reads to the end. Tells `has_come` when so many bytes have come.
async fn read(
    from: &mut (impl AsyncRead + Unpin),
    lengths: &[usize],
    awaited: usize,
    has_come: oneshot::Sender<()>,
) -> Vec<u8> {
    let (mut all, mut has_come) = (Vec::new(), Some(has_come));
    for length in lengths.iter().cycle() {
        if all.len() >= awaited {
            // Perhaps nobody waits for it.
            let _ = has_come.take().map(|has_come| has_come.send(()));
        }
        let mut buffer = vec![0; *length];
        match from.read(&mut buffer).await {
            Ok(length @ 1..) => all.extend(&buffer[..length]),
            Ok(0) | Err(_) => break,
        }
        yield_now().await;
    }
    all
}

/// Plays both far ends of a session that `first` ends, by a Close if it `closes`, else by a FIN alone. The other end
/// answers with a Close. Returns what the far ends have read, that of `first` first.
async fn play(world: &World, kinds: [Kind; 2], scripts: &[Script; 2], (first, closes): (Side, bool)) -> [Vec<u8>; 2] {
    let [client, backend] = world.session(kinds).await;
    let (one, other) = if first == Client { (client, backend) } else { (backend, client) };
    let (mine, theirs) = (&scripts[first as usize], &scripts[first.other() as usize]);
    let (mut one_reads, mut one_writes) = split(one.stream);
    let (mut other_reads, mut other_writes) = split(other.stream);
    let (has_come, comes) = oneshot::channel();
    let last = if closes { close(first, 4000, "bye") } else { Vec::new() };
    let speaks = async {
        write(&mut one_writes, &[&mine.frames[..], &last].concat(), &mine.pieces).await.unwrap();
        if !closes {
            one_writes.shutdown().await.unwrap();
        }
    };
    let answers = async {
        // The session of a side that is lost may be over before the other side has sent everything.
        let _ = write(&mut other_writes, &theirs.frames, &theirs.pieces).await;
        comes.await.unwrap();
        let _ = write(&mut other_writes, &close(first.other(), 4000, "bye"), &theirs.pieces).await;
        let _ = other_writes.shutdown().await;
    };
    let (nobody, _) = oneshot::channel();
    let reads = read(&mut one_reads, &mine.reads, usize::MAX, nobody);
    // The whole Close, or the start of the Close that says that the side is lost.
    let awaited = mine.frames.len() + last.len().max(1);
    let listens = read(&mut other_reads, &theirs.reads, awaited, has_come);
    let ((), (), one_read, other_read) = join!(speaks, answers, reads, listens);
    [one_read, other_read]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ends_get_all_that_the_other_end_says_and_the_session_gives_everything_back(
        kinds in [kind(), kind()],
        scripts in [script(Client), script(Backend)],
        first in select(&[Client, Backend]),
        closes in any::<bool>(),
    ) {
        with_worker(async |world| {
            let [one, other] = play(world, kinds, &scripts, (first, closes)).await;
            let [mine, theirs] = [first, first.other()].map(|side| &scripts[side as usize].frames);
            let (_, reason, lost) = words_of_loss(first);
            let cause = match first {
                _ if !closes => lost,
                Client => "client_close",
                Backend => "backend_close",
            };
            if closes {
                assert!(other == [&mine[..], &close(first, 4000, "bye")].concat(), "in order and once");
                assert!(one == [&theirs[..], &close(first.other(), 4000, "bye")].concat(), "in order and once");
            } else {
                let (passed, told) = other.split_at(mine.len());
                let mask = if first == Client { 4 } else { 0 };
                assert!(passed == mine && told[0] == 0x88 && told.len() == 4 + mask + reason.len(), "{told:?}");
                // What the other end says to a side that is lost may be cut.
                let common = one.iter().zip(theirs).take_while(|(read, sent)| read == sent).count();
                assert!(one[common..].first().is_none_or(|next| *next == 0x88), "{:?}", &one[common..]);
            }
            assert_eq!(world.ended().await, (cause.to_owned(), closes));
            assert_eq!(world.counts(), (0, 0));
        });
    }
}
