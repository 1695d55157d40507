//! One open WebSocket under load.
//!
//! It is polled by hand, which keeps the tool cheaper than any proxy that it measures: one read and one write serve
//! everything that is in flight, the thread's workspace has the buffers, and payloads are compared where they lie.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{
    message::{Message, Tag},
    tally::{ABNORMAL, BenchTally, NO_CODE},
    workspace::{Phase, SharedWorkspace, Workspace},
};
use crate::{
    tools::opening::{ByteStream, Opened},
    ws::{
        Side,
        close::{CloseCode, CloseFrame},
        frame::{ControlFrame, OpCode},
        pieces::{Frames, Piece},
        tracker::End,
    },
};

/// The mask of control frames; see [`Message`] on masks.
const MASK: [u8; 4] = [0x5b, 0xa3, 0x17, 0xc8];
/// The most bytes of a frame that is put together with others for one write. A longer frame is written from where it lies.
const SMALL: usize = 4096;
/// How many bytes are put together for one write. One frame more may be added.
const BATCH: usize = 64 * 1024;
/// How often one connection reads before the others have their turn.
const READS_PER_TURN: usize = 16;

/// The code of the Close that properly ends a WebSocket (RFC 6455 §7.4.1).
pub(super) const NORMAL: CloseCode = CloseCode(1000);

/// An open WebSocket.
pub(super) struct BenchConnection {
    socket: Box<dyn ByteStream>,
    /// The message to send; `None` = only hold the connection, and do not check what the server sends.
    message: Option<Arc<Message>>,
    place: u64,
    /// The number of the connection in the whole run, for the tag.
    number: u64,
    frames: Frames,
    /// The begin of a header or control frame whose rest has not come yet.
    kept: Vec<u8>,
    /// Frames that go out before anything else. Of the first one, a part may be written already.
    waiting: Vec<u8>,
    /// The number of the large message that is being written, and how many of its bytes are written.
    begun: Option<(u64, usize)>,
    flushed: bool,
    sent: u64,
    /// When each message in flight was due: by the schedule, or when it was sent.
    moments: VecDeque<Instant>,
    answered: u64,
    /// Bytes read so far of the current answer.
    read: usize,
    differs: bool,
    state: ConnectionState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    Open,
    /// We have sent a Close.
    Closing,
    /// The end is counted. Only the end of the stream is left.
    Closed,
}

impl BenchConnection {
    /// Takes the next place in the workspace. `of_threads` holds the thread's number and the number of threads.
    pub(super) fn new(
        opened: Opened,
        message: Option<Arc<Message>>,
        of_threads: (u64, u64),
        workspace: &SharedWorkspace,
    ) -> Self {
        let mut workspace = workspace.lock();
        let place = workspace.enter();
        let (thread, threads) = of_threads;
        let mut connection = Self {
            socket: opened.socket,
            message,
            place,
            number: place * threads + thread,
            frames: Frames::of(Side::Backend),
            kept: Vec::new(),
            waiting: Vec::new(),
            begun: None,
            flushed: true,
            sent: 0,
            moments: VecDeque::new(),
            answered: 0,
            read: 0,
            differs: false,
            state: ConnectionState::Open,
        };
        let Workspace { tally, open, .. } = &mut *workspace;
        connection.take(&opened.early, Instant::now(), tally, open);
        connection
    }

    /// Runs the connection to its end, and counts that end.
    pub(super) async fn run(mut self, workspace: SharedWorkspace) {
        poll_fn(|cx| self.poll(cx, &mut workspace.lock())).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, workspace: &mut Workspace) -> Poll<()> {
        workspace.remember(self.place, cx.waker());
        let mut more = true;
        for _ in 0..READS_PER_TURN {
            let Poll::Ready(filled) = self.fill(cx, &mut workspace.input) else {
                more = false;
                break;
            };
            let Workspace { input, tally, open, .. } = workspace;
            let going_on = match filled {
                Some(filled) => self.take(&input[..filled], Instant::now(), tally, open),
                None => false,
            };
            if !going_on {
                self.end(ABNORMAL, tally, open);
                return Poll::Ready(());
            }
        }
        if more {
            cx.waker().wake_by_ref();
        }
        // Reading reports an error of writing too, after the bytes that came before it.
        let _ = self.transmit(cx, &mut workspace.output, workspace.phase, &mut workspace.tally);
        Poll::Pending
    }

    /// Reads behind the bytes that were kept; `None` = the stream has ended, properly or not.
    fn fill(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<Option<usize>> {
        let (kept, free) = input.split_at_mut(self.kept.len());
        kept.copy_from_slice(&self.kept);
        let mut buffer = ReadBuf::new(free);
        match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Poll::Ready(Some(kept.len() + buffer.filled().len())),
            Poll::Ready(_) => Poll::Ready(None),
        }
    }

    /// Reads the frames in `bytes`. Returns whether to read on.
    fn take(&mut self, bytes: &[u8], now: Instant, tally: &mut BenchTally, open: &mut u64) -> bool {
        let mut rest = bytes;
        loop {
            let piece = match self.frames.next(rest) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(breach) => {
                    if self.state != ConnectionState::Closed {
                        *tally.breaches.entry(breach.as_str()).or_default() += 1;
                        self.leave(open);
                    }
                    return false;
                }
            };
            let length = piece.length();
            match piece {
                Piece::Data { header, payload, end } => {
                    self.compare(header.map(|header| header.opcode), &rest[payload]);
                    if end == End::Message {
                        self.finish(now, tally);
                    }
                }
                Piece::Control { frame, .. } => self.control(&frame, tally, open),
            }
            rest = &rest[length..];
        }
        if !rest.is_empty() || !self.kept.is_empty() {
            self.kept = rest.to_vec();
        }
        true
    }

    /// Compares a piece of an answer. `opcode` is that of the frame, if the frame begins here.
    fn compare(&mut self, opcode: Option<OpCode>, payload: &[u8]) {
        let Some(message) = &self.message else { return };
        let tag = Tag::new(self.number, self.answered);
        let right = self.answered < self.sent
            && opcode.is_none_or(|opcode| opcode == message.opcode() || opcode == OpCode::Continuation)
            && message.matches(tag, self.read, payload);
        self.differs |= !right;
        self.read = self.read.saturating_add(payload.len());
    }

    /// Counts a complete answer.
    fn finish(&mut self, now: Instant, tally: &mut BenchTally) {
        let Some(message) = &self.message else { return };
        let differs = self.differs || self.read != message.size();
        (self.differs, self.read) = (false, 0);
        tally.differing += u64::from(differs);
        if let Some(moment) = self.moments.pop_front() {
            self.answered += 1;
            tally.finish(now.saturating_duration_since(moment));
        }
    }

    fn control(&mut self, frame: &ControlFrame, tally: &mut BenchTally, open: &mut u64) {
        match (frame.opcode, self.state) {
            (OpCode::Ping, ConnectionState::Open | ConnectionState::Closing) => {
                tally.pings += 1;
                if self.state == ConnectionState::Open {
                    ControlFrame::new(OpCode::Pong, frame.payload(), None).encode(Some(MASK), &mut self.waiting);
                }
            }
            (OpCode::Close, ConnectionState::Open) => {
                frame.encode(Some(MASK), &mut self.waiting);
                self.end(code(frame), tally, open);
            }
            (OpCode::Close, ConnectionState::Closing) if is_normal(frame) => self.leave(open),
            (OpCode::Close, ConnectionState::Closing) => self.end(code(frame), tally, open),
            _ => {}
        }
    }

    /// Counts an unexpected end, but only once.
    fn end(&mut self, code: u16, tally: &mut BenchTally, open: &mut u64) {
        if self.state != ConnectionState::Closed {
            tally.close(code);
            self.leave(open);
        }
    }

    fn leave(&mut self, open: &mut u64) {
        self.state = ConnectionState::Closed;
        *open = open.saturating_sub(1);
    }

    /// Writes what is due, as much as the socket takes.
    fn transmit(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Vec<u8>,
        phase: Phase,
        tally: &mut BenchTally,
    ) -> io::Result<()> {
        loop {
            let written = if let Some((number, offset)) = self.begun {
                self.write_large(cx, number, offset)?
            } else if !self.waiting.is_empty() {
                let written = Pin::new(&mut self.socket).poll_write(cx, &self.waiting)?;
                if let Poll::Ready(taken) = written {
                    self.waiting.drain(..taken);
                }
                written.map(drop)
            } else if !self.put_together(output, phase, tally) {
                break;
            } else if output.is_empty() {
                continue;
            } else {
                let written = Pin::new(&mut self.socket).poll_write(cx, output)?;
                let taken = if let Poll::Ready(taken) = written { taken } else { 0 };
                self.waiting.extend_from_slice(&output[taken..]);
                written.map(drop)
            };
            self.flushed = false;
            if written.is_pending() {
                return Ok(());
            }
        }
        if !self.flushed {
            self.flushed = Pin::new(&mut self.socket).poll_flush(cx)?.is_ready();
        }
        Ok(())
    }

    /// Puts the next frames into `output`, or begins a large one. Returns whether there is anything to write.
    fn put_together(&mut self, output: &mut Vec<u8>, phase: Phase, tally: &mut BenchTally) -> bool {
        output.clear();
        if self.state != ConnectionState::Open {
            return false;
        }
        let now = Instant::now();
        let due = match phase {
            Phase::Hold => 0,
            Phase::Saturate(depth) => self.answered + depth,
            Phase::Follow(schedule) | Phase::End(Some(schedule)) => schedule.due(self.place, now),
            Phase::End(None) => 0,
        };
        if let Phase::End(_) = phase
            && self.sent == self.answered
            && self.sent >= due
        {
            ControlFrame::new(OpCode::Close, &NORMAL.0.to_be_bytes(), None).encode(Some(MASK), output);
            self.state = ConnectionState::Closing;
            return true;
        }
        let Some(message) = &self.message else { return false };
        let before = self.sent;
        while self.sent < due && output.len() < BATCH {
            let number = self.sent;
            self.sent += 1;
            tally.sent += 1;
            self.moments.push_back(match phase {
                Phase::Follow(schedule) | Phase::End(Some(schedule)) => schedule.moment(self.place, number),
                _ => now,
            });
            if message.length() > SMALL {
                self.begun = Some((number, 0));
                break;
            }
            message.write(Tag::new(self.number, number), output);
        }
        self.sent > before
    }

    fn write_large(&mut self, cx: &mut Context<'_>, number: u64, offset: usize) -> io::Result<Poll<()>> {
        let Some(message) = &self.message else { return Ok(Poll::Ready(())) };
        let (head, tail) = message.parts(Tag::new(self.number, number));
        let head = head.as_slice();
        let slices = match offset.checked_sub(head.len()) {
            None => [io::IoSlice::new(&head[offset..]), io::IoSlice::new(tail)],
            Some(offset) => [io::IoSlice::new(&tail[offset..]), io::IoSlice::new(&[])],
        };
        Ok(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices)?.map(|taken| {
            let offset = offset + taken;
            self.begun = (offset < message.length()).then_some((number, offset));
        }))
    }
}

/// Closes a WebSocket that carried nothing. Returns the code of its end, if that was not the code that we sent.
///
/// It waits for the server's FIN, because the side that closes first keeps the port (RFC 6455 §7.1.1).
pub(super) async fn close(opened: Opened, within: Duration) -> Option<u16> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let Opened { mut socket, early: mut bytes, .. } = opened;
    let mut frames = Frames::of(Side::Backend);
    let mut closed = None;
    let closing = async {
        let mut close = Vec::new();
        ControlFrame::new(OpCode::Close, &NORMAL.0.to_be_bytes(), None).encode(Some(MASK), &mut close);
        socket.write_all(&close).await?;
        socket.flush().await?;
        loop {
            while let Ok(Some(piece)) = frames.next(&bytes) {
                if let Piece::Control { frame, .. } = &piece
                    && frame.opcode == OpCode::Close
                {
                    closed = Some((!is_normal(frame)).then(|| code(frame)));
                }
                bytes.drain(..piece.length());
            }
            if socket.read_buf(&mut bytes).await? == 0 {
                return io::Result::Ok(());
            }
        }
    };
    // Once the Close is there, it does not matter how the stream ends.
    let _ = tokio::time::timeout(within, closing).await;
    closed.unwrap_or(Some(ABNORMAL))
}

fn code(close: &ControlFrame) -> u16 {
    CloseFrame::read(close).code.map_or(NO_CODE, |code| code.0)
}

/// Whether a Close is the right answer to ours. It repeats our code (RFC 6455 §5.5.1), but some servers leave the code out.
fn is_normal(close: &ControlFrame) -> bool {
    CloseFrame::read(close).code.is_none_or(|code| code == NORMAL)
}
