//! Lines of the log on their way out. A thread of their own writes them, so that a slow reader or a full disk holds nobody
//! up. A line that cannot be written is counted, whatever the reason: too many wait, the disk refuses it, the process ends.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How soon a writer is tried again that is not ready: somebody may have made standard output non-blocking.
const RETRY: Duration = Duration::from_millis(10);
/// How long a writer that fails again and again is not spoken of again.
const SILENCE: Duration = Duration::from_secs(60);

/// What may wait for a slow writer. A line beyond either of them is lost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Lines.
    pub lines: usize,
    /// Bytes of these lines.
    pub bytes: usize,
}

/// The way to one writer. Cheap to clone; the thread ends with the last clone, when it has written what waits.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: Arc<Queue>,
    /// Closes the queue when the last clone is dropped: the thread has the queue too.
    _closing: Arc<Closing>,
}

#[derive(Debug)]
struct Queue {
    bounds: Bounds,
    /// A lock, because lines come from every worker; held for the move of one line.
    state: Mutex<State>,
    /// A line has come, or none will come any more.
    changed: Condvar,
    /// No line waits.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is writing a line.
    is_writing: bool,
    /// No line is taken any more.
    is_closed: bool,
    lost: usize,
}

#[derive(Debug)]
struct Closing(Arc<Queue>);

impl Lines {
    /// Lines go to `writer`, and errors of the writer to `tell`, at most one in `SILENCE`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new(
        name: &str,
        bounds: Bounds,
        writer: impl Write + Send + 'static,
        tell: impl Fn(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let queue =
            Arc::new(Queue { bounds, state: Mutex::default(), changed: Condvar::new(), emptied: Condvar::new() });
        let theirs = Arc::clone(&queue);
        thread::Builder::new().name(name.to_owned()).spawn(move || theirs.write_all_to(writer, tell))?;
        Ok(Self { _closing: Arc::new(Closing(Arc::clone(&queue))), queue })
    }

    /// Queues a whole line, with its line feed. Never waits for the writer.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.queue.state();
        let Bounds { lines, bytes } = self.queue.bounds;
        if state.is_closed || state.lines.len() >= lines || state.bytes + line.len() > bytes {
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Lines that nobody will read.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.queue.state().lost
    }

    /// Waits until every line is written, until the deadline at most. How many wait then.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> usize {
        self.wait_locked(deadline).waiting()
    }

    /// [`Self::wait`]; what then still waits is lost, and so is what comes later. How many lines have been lost since the
    /// beginning. The line that a slow reader is just taking counts as lost.
    #[must_use]
    pub fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.wait_locked(deadline);
        if state.waiting() > 0 {
            state.abandon();
        }
        state.lost
    }

    fn wait_locked(&self, deadline: Instant) -> MutexGuard<'_, State> {
        let mut state = self.queue.state();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.waiting() == 0 || left.is_zero() {
                return state;
            }
            state = self.queue.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// For writers of whole lines: each call is one.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.lines.len() + usize::from(self.is_writing)
    }

    fn abandon(&mut self) {
        self.lost += self.waiting();
        self.lines.clear();
        self.is_closed = true;
        // Whatever becomes of it, it is counted.
        self.is_writing = false;
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, writer: impl Write, tell: impl Fn(&io::Error)) {
        let mut writer = WholeLines { writer, is_torn: false };
        let mut told: Option<Instant> = None;
        while let Some(line) = self.next() {
            // One that panics, which none should, has lost this line and no other.
            let outcome = catch_unwind(AssertUnwindSafe(|| writer.write(&line)))
                .unwrap_or_else(|_| Err(io::Error::other("the writer panicked")));
            self.written(outcome.is_ok());
            if let Err(error) = outcome
                && told.is_none_or(|told| told.elapsed() >= SILENCE)
            {
                told = Some(Instant::now());
                tell(&error);
            }
        }
    }

    /// `None`: none waits, and none will come.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return Some(line);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn written(&self, is_whole: bool) {
        let mut state = self.state();
        // An abandoned line has been counted already.
        if std::mem::take(&mut state.is_writing) && !is_whole {
            state.lost += 1;
        }
        if state.waiting() == 0 {
            self.emptied.notify_all();
        }
    }
}

/// Keeps lines apart where one was written in part.
struct WholeLines<W> {
    writer: W,
    is_torn: bool,
}

impl<W: Write> WholeLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_part(b"\n")?;
            self.is_torn = false;
        }
        self.write_part(line)?;
        self.writer.flush()
    }

    fn write_part(&mut self, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() {
            match self.writer.write(part) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    part = part.get(written..).unwrap_or_default();
                    self.is_torn = !part.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Read as _, sync::mpsc};

    use super::*;

    const BOUNDS: Bounds = Bounds { lines: 4, bytes: 100 };

    /// Does with each write what it is told to, and waits to be told.
    struct Told {
        steps: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Nobody left to say what: all of it.
            let count = self.steps.recv().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer, what it is told to do, and what it wrote.
    type Stage = (Lines, mpsc::Sender<io::Result<usize>>, Arc<Mutex<Vec<u8>>>);

    fn stage() -> Stage {
        let (step, steps) = mpsc::channel();
        let written = Arc::default();
        let lines = Lines::new("test", BOUNDS, Told { steps, written: Arc::clone(&written) }, |_| {}).unwrap();
        (lines, step, written)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_waits_is_written_before_the_deadline() {
        let (lines, step, written) = stage();
        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.into());
        }
        assert_eq!(lines.wait(Instant::now()), 3);
        drop(step);
        assert_eq!((lines.finish(soon()), lines.wait(Instant::now())), (0, 0));
        assert_eq!(text(&written), "one\ntwo\nthree\n");
    }

    #[test]
    fn what_the_reader_has_not_taken_at_the_deadline_is_counted_and_what_comes_later_too() {
        let (lines, step, written) = stage();
        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.into());
        }
        assert_eq!(lines.finish(Instant::now()), 3);
        lines.push("four\n".into());
        assert_eq!((lines.lost(), lines.wait(Instant::now())), (4, 0));
        // The line in hand may be taken yet, and no other.
        drop(step);
        drop(lines);
        assert!(["", "one\n"].contains(&&*text(&written)));
    }

    #[test]
    fn of_too_many_lines_or_bytes_the_rest_is_lost_and_counted() {
        let (lines, _step, _) = stage();
        // One may be with the writer already.
        for _ in 0..=BOUNDS.lines {
            lines.push("one\n".into());
        }
        assert!(lines.lost() <= 1);
        for _ in 0..3 {
            lines.push("one\n".into());
        }
        assert!([3, 4].contains(&lines.lost()), "{}", lines.lost());
        let (lines, _step, _) = stage();
        lines.push(vec![b'x'; BOUNDS.bytes + 1]);
        assert_eq!((lines.lost(), lines.wait(Instant::now())), (1, 0));
    }

    #[test]
    fn a_line_that_the_disk_takes_in_part_is_lost_and_the_next_begins_a_line_of_its_own() {
        let (lines, step, written) = stage();
        step.send(Ok(2)).unwrap();
        step.send(Err(ErrorKind::StorageFull.into())).unwrap();
        step.send(Err(ErrorKind::StorageFull.into())).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.into());
        }
        drop(step);
        assert_eq!(lines.finish(soon()), 2);
        assert_eq!(text(&written), "on\nthree\n");
    }

    #[test]
    fn a_writer_that_is_not_ready_or_was_interrupted_is_tried_again() {
        let (lines, step, written) = stage();
        for kind in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
            step.send(Err(kind.into())).unwrap();
        }
        lines.push("one\n".into());
        drop(step);
        assert_eq!(lines.finish(soon()), 0);
        assert_eq!(text(&written), "one\n");
    }

    #[test]
    fn a_writer_that_fails_is_spoken_of_once() {
        let (say, said) = mpsc::channel();
        let (step, steps) = mpsc::channel();
        let writer = Told { steps, written: Arc::default() };
        let lines = Lines::new("test", BOUNDS, writer, move |error| say.send(error.kind()).unwrap()).unwrap();
        for _ in 0..3 {
            step.send(Err(ErrorKind::StorageFull.into())).unwrap();
            lines.push("one\n".into());
        }
        assert_eq!(lines.finish(soon()), 3);
        drop(lines);
        assert_eq!(said.iter().collect::<Vec<_>>(), [ErrorKind::StorageFull]);
    }

    #[test]
    fn the_thread_ends_with_the_last_clone_and_writes_what_waits_before() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::new("test", BOUNDS, writer, |_| {}).unwrap();
        let other = lines.clone();
        lines.push("one\n".into());
        drop(lines);
        other.push("two\n".into());
        drop(other);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "one\ntwo\n");
    }

    #[test]
    fn a_writer_that_panics_loses_one_line_and_the_next_is_written() {
        struct Once(bool, mpsc::Sender<Vec<u8>>);
        impl Write for Once {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(std::mem::replace(&mut self.0, true), "what none should do");
                self.1.send(bytes.to_vec()).unwrap();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, lines) = mpsc::channel();
        let queue = Lines::new("lines", BOUNDS, Once(false, written), |_| {}).unwrap();
        queue.push(b"one\n".to_vec());
        queue.push(b"two\n".to_vec());
        assert_eq!(lines.recv_timeout(Duration::from_secs(10)), Ok(b"two\n".to_vec()));
        assert_eq!(queue.finish(Instant::now() + Duration::from_secs(10)), 1);
    }
}
