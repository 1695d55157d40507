//! One end of a raw connection, of a client or a backend: a test sends bytes and says what it expects.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsStream, client, server};

use super::{
    frames::{CLOSE, Frame},
    within,
};

/// A raw connection, with the bytes that were read but not looked at yet.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// We have reset the connection.
    Gone,
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream: Stream::Tcp(stream), unread: Vec::new() }
    }
}

impl From<UnixStream> for Wire {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), unread: Vec::new() }
    }
}

impl From<client::TlsStream<TcpStream>> for Wire {
    fn from(stream: client::TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream.into())), unread: Vec::new() }
    }
}

impl From<server::TlsStream<TcpStream>> for Wire {
    fn from(stream: server::TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream.into())), unread: Vec::new() }
    }
}

impl Wire {
    /// Writes all of `bytes`, in one segment if they are short.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "the connection takes our bytes");
    }

    /// The same; `false` = the connection is gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let writing = async {
            match &mut self.stream {
                Stream::Tcp(stream) => stream.write_all(bytes).await,
                Stream::Unix(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                Stream::Gone => Err(std::io::ErrorKind::NotConnected.into()),
            }
        };
        within("the other end to take our bytes", writing).await.is_ok()
    }

    /// Sends bytes, and expects others meanwhile.
    pub async fn exchange(&mut self, sent: &[u8], expected: &[u8]) {
        let Self { stream, unread } = self;
        let exchanging = async {
            match stream {
                Stream::Tcp(stream) => exchange(stream, sent, unread, expected.len()).await,
                Stream::Unix(stream) => exchange(stream, sent, unread, expected.len()).await,
                Stream::Tls(stream) => exchange(stream, sent, unread, expected.len()).await,
                Stream::Gone => panic!("the connection was reset"),
            }
        };
        within("bytes to go both ways", exchanging).await;
        self.expect(expected).await;
    }

    /// Sends our FIN, on TLS after a close_notify. The connection can still be read.
    pub async fn finish(&mut self) {
        let ending = async {
            match &mut self.stream {
                Stream::Tcp(stream) => stream.shutdown().await,
                Stream::Unix(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
                Stream::Gone => Ok(()),
            }
        };
        // The other end may have gone first, so nobody is left to tell.
        let _ = within("our FIN to be sent", ending).await;
    }

    /// Sends the last bytes and our FIN, if possible in one segment: the FIN follows the bytes at once.
    pub async fn send_and_finish(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(bytes).await;
        self.finish().await;
    }

    /// Ends the connection by a reset.
    pub fn reset(mut self) {
        self.reset_now();
    }

    /// The same, but the stream can still be looked at. It is at its end.
    pub fn reset_now(&mut self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        self.stream = Stream::Gone;
    }

    /// Ends the TCP connection without a word of TLS before: an EOF without a close_notify.
    pub fn cut(self) {
        socket2::SockRef::from(self.tcp()).shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Splits the connection into a reading and a writing half, which can be used at the same time. Not under TLS.
    pub fn split(self) -> (Self, Self) {
        let unread = self.unread.clone();
        let stream = match &self.stream {
            Stream::Unix(stream) => {
                let reading = std::os::unix::net::UnixStream::from(socket2::SockRef::from(stream).try_clone().unwrap());
                Stream::Unix(UnixStream::from_std(reading).unwrap())
            }
            _ => {
                let reading = std::net::TcpStream::from(socket2::SockRef::from(self.tcp()).try_clone().unwrap());
                Stream::Tcp(TcpStream::from_std(reading).unwrap())
            }
        };
        (Self { stream, unread }, Self { unread: Vec::new(), ..self })
    }

    /// The socket itself. All bytes that were read must have been looked at.
    pub fn into_tcp(self) -> TcpStream {
        assert_eq!(self.unread, b"", "bytes that nobody looked at");
        match self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Unix(_) | Stream::Tls(_) | Stream::Gone => panic!("this is no TCP stream"),
        }
    }

    /// The TLS of this connection. Panics on plain TCP.
    pub fn tls(&self) -> &TlsStream<TcpStream> {
        match &self.stream {
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Gone => panic!("no TLS here"),
            Stream::Tls(stream) => stream,
        }
    }

    /// Expects that the next bytes are exactly these.
    pub async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let expected = bytes.as_ref();
        let found = self.take(expected.len()).await;
        if found != expected {
            // Not `assert_eq!`, because nobody reads a megabyte of numbers.
            let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
            panic!(
                "byte {at} of {} differs: expected {:?}, found {:?}",
                expected.len(),
                excerpt(expected, at),
                excerpt(&found, at)
            );
        }
    }

    /// The next `count` bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let before = self.unread.len();
            if !self.read_more().await {
                panic!("the stream ended after {before} of {count} bytes: {:?}", excerpt(&self.unread, 0));
            }
        }
        self.unread.drain(..count).collect()
    }

    /// The next `count` bytes; `None` = the stream ends before. Waits as long as the test lasts.
    pub async fn try_take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !matches!(self.read().await, Ok(count) if count > 0) {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Frame {
        within("a frame", self.next_frame()).await.expect("a frame before the stream ends")
    }

    /// Every frame up to the end of the stream.
    pub async fn frames_to_the_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = within("a frame or the end of the stream", self.next_frame()).await {
            frames.push(frame);
        }
        frames
    }

    /// The next frame; `None` = the stream ends, by a FIN or a reset. Waits as long as the test lasts.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.unread) {
                self.unread.drain(..length);
                return Some(frame);
            }
            if !matches!(self.read().await, Ok(count) if count > 0) {
                return None;
            }
        }
    }

    /// Expects that the next frame is a Close with this code and reason.
    pub async fn expect_close(&mut self, code: u16, reason: &str) {
        let frame = self.frame().await;
        assert_eq!((frame.first, frame.close_code(), frame.close_reason()), (CLOSE, Some(code), reason.to_owned()));
    }

    /// Expects that the next frame is a Close with this code and any reason.
    pub async fn expect_close_code(&mut self, code: u16) {
        let frame = self.frame().await;
        assert_eq!((frame.first, frame.close_code()), (CLOSE, Some(code)), "{frame:?}");
    }

    /// Expects that the stream ends here by a FIN, on TLS after a close_notify, with nothing before it.
    pub async fn expect_eof(&mut self) {
        let more = self.read_more().await;
        assert!(!more && self.unread.is_empty(), "expected the end, found {:?}", excerpt(&self.unread, 0));
    }

    /// Expects that the stream ends here, by a FIN or a reset, with nothing before it.
    pub async fn expect_gone(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "expected the end, found {:?}", excerpt(&rest, 0));
    }

    /// All bytes to the end of the stream, by a FIN or a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of the stream", self.whatever_comes()).await
    }

    /// The same, but waits as long as the test lasts.
    pub async fn whatever_comes(&mut self) -> Vec<u8> {
        while matches!(self.read().await, Ok(count) if count > 0) {}
        std::mem::take(&mut self.unread)
    }

    /// Waits until there is something to read, and leaves it unread. A Unix socket only.
    pub async fn until_bytes_wait(&self) {
        assert_eq!(self.unread, b"", "bytes that nobody looked at");
        let Stream::Unix(stream) = &self.stream else { panic!("this is no Unix socket") };
        within("bytes", stream.readable()).await.unwrap();
    }

    /// The next HTTP head.
    pub async fn head(&mut self) -> Head {
        self.next_head().await.expect("an HTTP head before the stream ends")
    }

    /// The next HTTP head; `None` = the stream ends before its first byte. Waits as long as the test lasts.
    pub async fn next_head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(Head(String::from_utf8_lossy(&head).into_owned()));
            }
            if !matches!(self.read().await, Ok(count) if count > 0) {
                assert_eq!(String::from_utf8_lossy(&self.unread), "", "the stream ended inside an HTTP head");
                return None;
            }
        }
    }

    /// The next HTTP answer with its whole body.
    pub async fn response(&mut self) -> Response {
        self.next_response().await.expect("an answer before the stream ends")
    }

    /// The next HTTP answer with its whole body; `None` = the stream ends before.
    pub async fn next_response(&mut self) -> Option<Response> {
        let head = within("the head of an answer", self.next_head()).await?;
        let length = head.header("content-length").map(|length| length.parse().unwrap());
        let body = if head.header("transfer-encoding") == Some("chunked") {
            self.chunked_body().await
        } else if let Some(length) = length {
            self.take(length).await
        } else if matches!(head.status(), 204 | 304) {
            Vec::new()
        } else {
            self.rest().await
        };
        Some(Response { head, body })
    }

    async fn chunked_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// The next chunk of a chunked body without trailers. The last chunk is empty.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            size.extend(self.take(1).await);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim_end(), 16).expect("a chunk size");
        let chunk = self.take(size).await;
        self.expect(b"\r\n").await;
        chunk
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Unix(_) => panic!("this is no TCP stream"),
            Stream::Gone => panic!("the connection was reset"),
        }
    }

    /// Reads once; `false` = the end of the stream. A reset fails the test.
    async fn read_more(&mut self) -> bool {
        let count = within("bytes or the end of the stream", self.read()).await;
        count.expect("the connection ends in order, not by a reset") > 0
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read_buf(&mut self.unread).await,
            Stream::Unix(stream) => stream.read_buf(&mut self.unread).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.unread).await,
            Stream::Gone => Ok(0),
        }
    }
}

/// Writes all of `sent`, and reads until `unread` has `length` bytes.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8], unread: &mut Vec<u8>, length: usize) {
    let (mut reads, mut writes) = split(stream);
    let reading = async {
        while unread.len() < length {
            assert!(reads.read_buf(unread).await.unwrap() > 0, "the stream ended");
        }
    };
    let writing = async {
        writes.write_all(sent).await.unwrap();
        writes.flush().await.unwrap();
    };
    tokio::join!(reading, writing);
}

fn excerpt(bytes: &[u8], from: usize) -> String {
    let end = bytes.len().min(from + 80);
    bytes[from.min(end)..end].escape_ascii().to_string()
}

/// An HTTP head with its bytes unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head(String);

impl Head {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The request line or the status line.
    pub fn first_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.first_line().split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    /// The value of the only field with this name; `None` = there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers(name);
        assert!(all.len() < 2, "{name} is there {} times in {}", all.len(), self.0);
        all.first().copied()
    }

    /// The values of all fields with this name, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let fields = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// Asserts that the body is an error of the proxy itself: one line that contains this word.
    pub fn assert_one_line_naming(&self, word: &str) {
        let text = self.text();
        assert_eq!(text.trim_end_matches('\n').lines().count(), 1, "one line: {text:?}");
        assert!(text.to_lowercase().contains(word), "{word:?} is named in {text:?}");
    }
}
