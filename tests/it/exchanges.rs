//! An answer that longwire reads itself and an answer that hyper reads have the same outcome, wherever the answer is cut.

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{Backend, Proxy, Wire, within};

/// Answers of a backend, each with the bytes that the backend sends behind it. A `!` at the end of a body means that the
/// backend hangs up there.
const ANSWERS: [(&str, &str); 49] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\ncontent-LENGTH:\t2 \r\nX-A: 1\r\nx-a:  2\r\nX-Empty:\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", ""),
    ("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 404 Nicht da\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ""),
    ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n", ""),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: a\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nConnection: X-Gone, Close\r\nX-Gone: 1\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok!", ""),
    ("HTTP/1.1 200 OK\r\n\r\nup to the end!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntoo!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n!", ""),
    ("HTTP/1.1 200 OK\r\nContent-Le!", ""),
    ("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", ""),
    ("HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nX-Y : 1\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nX-Y: a\r\n folded\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nX-Y: a\u{1}b\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nX-Y: \u{e9}\r\nContent-Length: 2\r\n\r\nok", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "!"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"),
    ("HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"),
];

/// The reader of a backend's answers.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// hyper. The first answer on the connection comes in chunks, and from then on hyper has the connection.
    Hyper,
    Ours,
}

/// The outcome of an exchange.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Everything that the client reads, of this answer and the next one, without the time of day.
    read: String,
    /// The record of the exchange.
    record: Vec<Value>,
}

/// Gives the answer that the target names: `/ANSWER/CUT`. The answer to `/next` says whether the request came over the same
/// connection.
async fn serve(backend: Backend, mut wire: Wire) {
    let mut was_asked = false;
    while let Some(head) = backend.next_head(&mut wire).await {
        let target = head.first_line().split(' ').nth(1).unwrap().to_owned();
        let sent = match target.as_str() {
            "/ours" => wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwarm").await,
            "/hyper" => {
                wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwarm\r\n0\r\n\r\n").await
            }
            "/next" => {
                let text = if was_asked { "same" } else { "other" };
                let length = text.len();
                wire.try_send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"))
                    .await
            }
            _ => {
                was_asked = true;
                answer(&mut wire, &target).await
            }
        };
        if !sent {
            return;
        }
    }
}

/// Sends an answer in two pieces. Returns `false` if the connection is at its end.
async fn answer(wire: &mut Wire, target: &str) -> bool {
    let mut parts = target.split('/').skip(1).map(|part| part.parse::<usize>().unwrap());
    let (place, cut) = (parts.next().unwrap(), parts.next().unwrap());
    let (answer, behind) = ANSWERS[place];
    let (text, hangs_up) = match answer.strip_suffix('!') {
        Some(text) => (text, true),
        None => (answer, false),
    };
    let all = [text, behind].concat();
    // The bytes behind an answer come with its last bytes. Later they could be the answer to another request.
    let (first, second) = all.as_bytes().split_at(if cut < text.len() { cut } else { all.len() });
    let mut goes_on = wire.try_send(first).await;
    if !second.is_empty() {
        // The task that waits for the first piece has its turn.
        tokio::task::yield_now().await;
        goes_on = goes_on && wire.try_send(second).await;
    }
    if hangs_up {
        wire.finish().await;
        wire.whatever_comes().await;
    }
    goes_on && !hangs_up
}

/// Lets `reader` read an answer that is cut at `cut`, then asks for another answer on the same connection of the client.
async fn exchange(proxy: &mut Proxy, reader: Reader, method: &str, place: usize, cut: usize) -> Outcome {
    let mut client = proxy.client().await;
    let warm = match reader {
        Reader::Hyper => "/hyper",
        Reader::Ours => "/ours",
    };
    assert_eq!(client.get(warm, "").await.text(), "warm");
    // A client of HTTP/1.0 reads no chunks. The sizes of chunks would show where the answer was cut.
    let asked = format!("{method} /{place}/{cut} HTTP/1.0\r\nHost: chat\r\nConnection: keep-alive\r\n\r\n");
    client.send(asked + "GET /next HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n").await;
    let read = within("all answers", client.whatever_comes()).await;
    let read = String::from_utf8_lossy(&read).into_owned();
    assert_eq!(proxy.next_record().await["path"], warm);
    let record = proxy.next_record().await;
    let record = ["status", "cause", "tries", "bytes_to_client", "path"].map(|key| record[key].clone()).into();
    if read.ends_with("same") || read.ends_with("other") {
        assert_eq!(proxy.next_record().await["path"], "/next", "{read}");
    }
    let lines = read.split_inclusive('\n').filter(|line| !line.to_lowercase().starts_with("date:"));
    Outcome { read: lines.collect(), record }
}

fn proxy(backend: &Backend) -> Proxy {
    Proxy::before(&[backend]).upstream("balance: round_robin, max_fails: 0").start()
}

/// Compares what the two readers make of an answer, wherever it is cut.
async fn compare(by_hyper: &mut Proxy, by_us: &mut Proxy, place: usize) {
    let answer = ANSWERS[place].0;
    for method in ["GET", "HEAD"] {
        let whole = answer.len();
        let mut expected = exchange(by_hyper, Reader::Hyper, method, place, whole).await;
        // A body in answer to HEAD counts as bytes behind the answer.
        let cuts = if method == "GET" { 0..whole } else { 0..0 };
        for cut in cuts.chain([whole]) {
            let found = exchange(by_us, Reader::Ours, method, place, cut).await;
            expected.record[4] = found.record[4].clone();
            // If an answer breaks off, hyper may lose the bytes that it has not written yet. longwire loses nothing.
            let is_whole = found.read.starts_with(&expected.read);
            let is_lost = cut < whole && expected.read.starts_with(&found.read);
            if found.record[1] == "backend_lost" && (is_whole || is_lost) {
                expected.read.clone_from(&found.read);
            }
            assert_eq!(found, expected, "{method}, cut after {cut} bytes: {answer:?}");
        }
    }
}

/// The access log writes records at most every 10 ms, so that an exchange mostly waits for its record. Several lanes wait
/// at the same time. Each lane has proxies of its own: records and connections of two exchanges must not mix.
const LANES: usize = 4;

#[tokio::test]
async fn an_answer_comes_to_the_same_whoever_reads_it_and_wherever_it_is_cut() {
    let lanes = (0..LANES).map(|lane| {
        let backend = Backend::raw(serve);
        let (mut by_hyper, mut by_us) = (proxy(&backend), proxy(&backend));
        async move {
            for place in (lane..ANSWERS.len()).step_by(LANES) {
                compare(&mut by_hyper, &mut by_us, place).await;
            }
            // The backend ends when no proxy keeps a connection to it.
            by_us.drain().await;
            by_hyper.stop().await;
            by_us.stop().await;
        }
    });
    join_all(lanes).await;
}
