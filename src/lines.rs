//! Lines of the log on their way out. A thread of their own writes the lines, so a slow reader or a full disk delays no
//! session.
//!
//! A line that cannot be written is counted as lost, whatever the reason: too many lines wait, the disk refuses it, the
//! process ends.
//!
//! Lines that come close together are written together, because a wake-up of the thread and a write cost more than to make a
//! line. The rules:
//!
//! 1. The first line after a pause is written at once.
//! 2. The next write is `pace` later.
//! 3. It is earlier if many bytes wait, or if somebody waits for the lines to be written.

mod batch;
mod output;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use self::batch::{Batch, FULL};
pub use self::output::Output;

/// How long to wait before a writer that is not ready is tried again. Somebody may have made standard output non-blocking.
const RETRY: Duration = Duration::from_millis(10);
/// The least time between two reports of a writer that fails again and again.
const SILENCE: Duration = Duration::from_secs(60);

/// What may wait for a slow writer, beside the batch that it is writing. A line beyond either bound is lost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most lines.
    pub lines: usize,
    /// The most bytes of these lines.
    pub bytes: usize,
}

/// The queue of one writer. Cheap to clone. When the last clone is dropped, the thread writes what waits and ends.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: Arc<LineQueue>,
    /// Closes the queue when the last clone is dropped. The thread holds the queue too, so the queue itself would not be
    /// dropped.
    _closing: Arc<Closing>,
}

#[derive(Debug)]
struct LineQueue {
    bounds: Bounds,
    pace: Duration,
    /// A lock, because lines come from every worker. It is held while one line or one batch moves.
    state: Mutex<QueueState>,
    /// Told when the thread has something to do.
    called: Condvar,
    /// Told when no line waits.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many lines the thread is writing.
    in_hand: usize,
    thread: Thread,
    /// Whether somebody waits until every line is written.
    is_awaited: bool,
    /// How many lines are to be written before the writer is flushed; `None` = no flush is due.
    flush: Option<usize>,
    /// Whether the queue takes no further line.
    is_closed: bool,
    lost: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// The thread writes, and then looks at the queue again. It needs no call.
    #[default]
    Busy,
    /// The thread waits for a line.
    Idle,
    /// Lines wait, and the thread waits for more of them.
    Gathering,
}

/// The next step of the thread.
#[derive(Debug, PartialEq, Eq)]
enum WriterStep {
    Write,
    Sleep(Thread, Option<Duration>),
    End,
}

#[derive(Debug)]
struct Closing(Arc<LineQueue>);

impl Lines {
    /// Writes lines to `writer`, at most one write in each `pace`. `writer` must have no buffer of its own.
    ///
    /// Errors of the writer go to `tell`, at most one in `SILENCE`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn new(
        name: &str,
        bounds: Bounds,
        pace: Duration,
        writer: impl Write + Send + 'static,
        tell: impl Fn(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let (called, emptied) = (Condvar::new(), Condvar::new());
        let queue = Arc::new(LineQueue { bounds, pace, state: Mutex::default(), called, emptied });
        let theirs = Arc::clone(&queue);
        thread::Builder::new().name(name.to_owned()).spawn(move || theirs.write_all_to(writer, tell))?;
        Ok(Self { _closing: Arc::new(Closing(Arc::clone(&queue))), queue })
    }

    /// Queues a whole line with its line feed. Never waits for the writer.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.queue.state();
        state.push(line, self.queue.bounds);
        self.queue.call(state);
    }

    /// Asks for a flush of the writer, behind the lines that are queued now and before later ones. Does not wait for the
    /// flush.
    pub fn flush(&self) {
        let mut state = self.queue.state();
        state.flush = Some(state.lines.len());
        self.queue.call(state);
    }

    /// How many lines are lost so far: nobody will read them.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.queue.state().lost
    }

    /// Has every line written at once, and waits for that until `deadline` at most. Returns how many lines still wait.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> usize {
        self.wait_locked(deadline).waiting()
    }

    /// [`Self::wait`]; then gives up the lines that still wait. Returns how many lines have been lost since the beginning.
    ///
    /// If lines are given up, the queue is closed, and every later line is lost too. The lines that a slow reader is just
    /// taking count as lost.
    #[must_use]
    pub fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.wait_locked(deadline);
        if state.waiting() > 0 {
            state.abandon();
        }
        state.lost
    }

    fn wait_locked(&self, deadline: Instant) -> MutexGuard<'_, QueueState> {
        let mut state = self.queue.state();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.waiting() == 0 || left.is_zero() {
                return state;
            }
            state.is_awaited = true;
            if state.take_due_call() {
                self.queue.called.notify_one();
            }
            state = self.queue.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// For writers of whole lines: each call must be one whole line.
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
        let mut state = self.0.state();
        state.is_closed = true;
        self.0.call(state);
    }
}

impl QueueState {
    fn waiting(&self) -> usize {
        self.lines.len() + self.in_hand
    }

    fn push(&mut self, line: Vec<u8>, bounds: Bounds) {
        if self.is_closed || self.lines.len() >= bounds.lines || self.bytes + line.len() > bounds.bytes {
            self.lost += 1;
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// What the thread does at `now`. `due` is the earliest time of the next write.
    fn next(&self, due: Instant, now: Instant) -> WriterStep {
        if self.lines.is_empty() && self.flush.is_none() {
            return if self.is_closed { WriterStep::End } else { WriterStep::Sleep(Thread::Idle, None) };
        }
        let left = due.saturating_duration_since(now);
        if left.is_zero() || self.is_urgent() {
            WriterStep::Write
        } else {
            WriterStep::Sleep(Thread::Gathering, Some(left))
        }
    }

    fn is_urgent(&self) -> bool {
        self.bytes >= FULL || self.is_awaited || self.is_closed || self.flush.is_some()
    }

    /// Whether the thread sleeps but would not, had it seen what has changed. If so, it counts as called.
    fn take_due_call(&mut self) -> bool {
        let is_due = match self.thread {
            Thread::Busy => false,
            Thread::Idle => true,
            Thread::Gathering => self.is_urgent(),
        };
        if is_due {
            self.thread = Thread::Busy;
        }
        is_due
    }

    /// Moves the next lines into `batch`, where they are in hand. Returns whether to flush behind them.
    fn hand_over(&mut self, batch: &mut Batch) -> bool {
        batch.fill(&mut self.lines, self.flush.unwrap_or(usize::MAX));
        self.bytes -= batch.bytes();
        self.in_hand = batch.lines();
        self.flush = self.flush.map(|behind| behind - self.in_hand);
        self.flush.take_if(|behind| *behind == 0).is_some()
    }

    fn abandon(&mut self) {
        self.lost += self.waiting();
        self.lines.clear();
        self.is_closed = true;
        self.flush = None;
        // The lines in hand were counted as lost above, whatever becomes of them.
        self.in_hand = 0;
    }
}

impl LineQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the thread if it must know of a change. A needless call would cost a system call, even if nobody sleeps.
    fn call(&self, mut state: MutexGuard<'_, QueueState>) {
        let is_due = state.take_due_call();
        drop(state);
        if is_due {
            self.called.notify_one();
        }
    }

    fn write_all_to(&self, mut writer: impl Write, tell: impl Fn(&io::Error)) {
        let mut batch = Batch::default();
        let mut due = Instant::now();
        let mut told: Option<Instant> = None;
        let mut note = |outcome: &io::Result<usize>| {
            if let Err(error) = outcome
                && told.is_none_or(|told| told.elapsed() >= SILENCE)
            {
                told = Some(Instant::now());
                tell(error);
            }
        };
        while let Some(flushes) = self.gather(&mut batch, due) {
            due = Instant::now() + self.pace;
            while batch.lines() > 0 {
                let outcome = guarded(|| write(&mut writer, batch.rest()));
                let lines = batch.lines();
                match outcome {
                    Ok(count) => batch.take(count),
                    Err(_) => batch.skip(),
                }
                let is_wanted = self.written(lines - batch.lines(), outcome.is_ok());
                note(&outcome);
                if !is_wanted {
                    return;
                }
            }
            if flushes {
                note(&guarded(|| writer.flush().map(|()| 0)));
            }
        }
    }

    /// Sleeps until it is time to write, then fills `batch`.
    ///
    /// Returns whether to flush behind the batch; `None` = nothing waits, and nothing will come.
    fn gather(&self, batch: &mut Batch, due: Instant) -> Option<bool> {
        let mut state = self.state();
        loop {
            let (thread, wait) = match state.next(due, Instant::now()) {
                WriterStep::Write => return Some(state.hand_over(batch)),
                WriterStep::End => return None,
                WriterStep::Sleep(thread, wait) => (thread, wait),
            };
            state.thread = thread;
            state = match wait {
                None => self.called.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.called.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.thread = Thread::Busy;
        }
    }

    /// Notes that `lines` lines are no longer in hand. Returns whether the other lines in hand are still to be written.
    fn written(&self, lines: usize, is_whole: bool) -> bool {
        let mut state = self.state();
        // The lines were given up, so they are counted already.
        if state.in_hand == 0 {
            return false;
        }
        state.in_hand -= lines;
        if !is_whole {
            state.lost += lines;
        }
        if state.waiting() == 0 && mem::take(&mut state.is_awaited) {
            self.emptied.notify_all();
        }
        true
    }
}

/// Turns a panic of the writer, which none should have, into an error. Only the line at which the writer is gets lost.
fn guarded(step: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
}

/// Writes some of `bytes`, and waits while the writer is not ready. Returns how many bytes the writer took.
#[expect(clippy::disallowed_methods, reason = "the thread of the lines does nothing else")]
fn write(writer: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match writer.write(bytes) {
            Ok(0) if !bytes.is_empty() => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Read as _, sync::mpsc};

    use super::*;

    const BOUNDS: Bounds = Bounds { lines: 4, bytes: 100 };

    /// Longer than any test takes.
    const NEVER: Duration = Duration::from_secs(3600);

    /// A writer that waits to be told its next step. It takes at most one line with each write.
    struct Told {
        steps: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            // When nobody is left to tell, the writer takes all.
            let count = self.steps.recv().unwrap_or(Ok(line))?.min(line);
            self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer, the way to tell it its steps, and what it wrote.
    type Stage = (Lines, mpsc::Sender<io::Result<usize>>, Arc<Mutex<Vec<u8>>>);

    fn stage() -> Stage {
        let (step, steps) = mpsc::channel();
        let written = Arc::default();
        let lines =
            Lines::new("test", BOUNDS, Duration::ZERO, Told { steps, written: Arc::clone(&written) }, |_| {}).unwrap();
        (lines, step, written)
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Event {
        Write(String),
        Flush,
    }

    /// A writer that reports each call, and carries it out when the gate opens or is gone.
    struct Telling {
        events: mpsc::Sender<Event>,
        gate: mpsc::Receiver<()>,
    }

    impl Write for Telling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.events.send(Event::Write(String::from_utf8(bytes.to_vec()).unwrap()));
            let _ = self.gate.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let _ = self.events.send(Event::Flush);
            Ok(())
        }
    }

    fn telling(pace: Duration, bounds: Bounds) -> (Lines, mpsc::Receiver<Event>, mpsc::Sender<()>) {
        let (events, told) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        (Lines::new("test", bounds, pace, Telling { events, gate }, |_| {}).unwrap(), told, open)
    }

    /// Lines whose writer never waits. It has written one line and would not write another for an hour.
    fn paused() -> (Lines, mpsc::Receiver<Event>) {
        let (lines, events, _) = telling(NEVER, Bounds { lines: 1000, bytes: 1 << 20 });
        lines.push("first\n".into());
        assert_eq!(next(&events), write_of("first\n"));
        (lines, events)
    }

    fn next(events: &mpsc::Receiver<Event>) -> Event {
        events.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn write_of(text: &str) -> Event {
        Event::Write(text.into())
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
        // The writer may still take the line in hand, and no other.
        drop(step);
        drop(lines);
        assert!(["", "one\n"].contains(&&*text(&written)));
    }

    #[test]
    fn of_too_many_lines_or_bytes_the_rest_is_lost_and_counted() {
        let (lines, events, _gate) = telling(Duration::ZERO, BOUNDS);
        lines.push("one\n".into());
        // This line is with the writer. No other is.
        assert_eq!(next(&events), write_of("one\n"));
        for _ in 0..BOUNDS.lines + 3 {
            lines.push("one\n".into());
        }
        assert_eq!(lines.lost(), 3);
        let (lines, _, _) = telling(Duration::ZERO, BOUNDS);
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
    fn lines_of_a_burst_are_written_in_their_order_and_together() {
        let (lines, events) = paused();
        let burst: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        for line in &burst {
            lines.push(line.clone().into());
            while lines.queue.state().thread != Thread::Gathering {
                assert_eq!(events.try_recv(), Err(mpsc::TryRecvError::Empty), "it did not wait for the others");
                thread::yield_now();
            }
        }
        assert_eq!(lines.wait(soon()), 0);
        assert_eq!(next(&events), write_of(&burst.concat()));
        drop(lines);
        assert_eq!(events.iter().collect::<Vec<_>>(), []);
    }

    #[test]
    fn a_line_is_written_though_no_other_comes() {
        let (lines, events, _) = telling(Duration::from_millis(100), BOUNDS);
        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.into());
            assert_eq!(next(&events), write_of(line));
        }
    }

    #[test]
    fn many_bytes_wait_for_no_more() {
        let (lines, events) = paused();
        let line = "x".repeat(FULL / 2 - 1) + "\n";
        lines.push(line.clone().into());
        lines.push(line.clone().into());
        assert_eq!(next(&events), write_of(&line.repeat(2)));
    }

    #[test]
    fn lines_wait_ten_milliseconds_at_most_and_are_written_a_hundred_times_a_second() {
        const PACE: Duration = Duration::from_millis(10);
        let begin = Instant::now();
        let (mut state, mut batch, mut due) = (QueueState::default(), Batch::default(), begin);
        let (mut writes, mut longest) = (0, Duration::ZERO);
        // Five lines in each millisecond.
        for micros in (0..1_000_000).step_by(200) {
            let now = begin + Duration::from_micros(micros);
            state.push(format!("{micros}\n").into(), Bounds { lines: 1000, bytes: 1000 });
            if state.next(due, now) == WriterStep::Write {
                due = now + PACE;
                state.hand_over(&mut batch);
                let first: u64 = str::from_utf8(batch.rest()).unwrap().lines().next().unwrap().parse().unwrap();
                longest = longest.max(Duration::from_micros(micros - first));
                batch.take(batch.bytes());
                writes += 1;
            } else {
                let WriterStep::Sleep(Thread::Gathering, Some(left)) = state.next(due, now) else {
                    panic!("no end to it")
                };
                assert_eq!(now + left, due);
            }
        }
        assert_eq!(writes, 100);
        assert!(longest < PACE, "{longest:?}");
    }

    #[test]
    fn a_writer_is_flushed_between_what_came_before_and_what_comes_later() {
        let (lines, events) = paused();
        lines.push("before\n".into());
        lines.flush();
        lines.push("later\n".into());
        assert_eq!(lines.wait(soon()), 0);
        drop(lines);
        assert_eq!(events.iter().collect::<Vec<_>>(), [write_of("before\n"), Event::Flush, write_of("later\n")]);
    }

    #[test]
    fn a_writer_that_fails_is_spoken_of_once() {
        let (say, said) = mpsc::channel();
        let (step, steps) = mpsc::channel();
        let writer = Told { steps, written: Arc::default() };
        let lines =
            Lines::new("test", BOUNDS, Duration::ZERO, writer, move |error| say.send(error.kind()).unwrap()).unwrap();
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
        let lines = Lines::new("test", BOUNDS, NEVER, writer, |_| {}).unwrap();
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
                assert!(mem::replace(&mut self.0, true), "what none should do");
                self.1.send(bytes.to_vec()).unwrap();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, lines) = mpsc::channel();
        let queue = Lines::new("lines", BOUNDS, Duration::ZERO, Once(false, written), |_| {}).unwrap();
        queue.push(b"one\n".to_vec());
        queue.push(b"two\n".to_vec());
        assert_eq!(lines.recv_timeout(Duration::from_secs(10)), Ok(b"two\n".to_vec()));
        assert_eq!(queue.finish(Instant::now() + Duration::from_secs(10)), 1);
    }
}
