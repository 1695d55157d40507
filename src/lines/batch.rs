//! The lines that the thread is writing, one behind the other, so that one call may take them all. Each line is written whole
//! or lost.

use std::{collections::VecDeque, mem};

/// A batch that has this many bytes takes no further line.
pub(super) const FULL: usize = 64 << 10;

/// The text to write. It stays after its last line is lost, because a part of that line may stand in the output.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    /// Where each line that is not written yet ends.
    ends: VecDeque<usize>,
    /// Where the first of these lines begins.
    begin: usize,
    /// How far the output has taken the text.
    taken: usize,
    /// Whether a part of a lost line stands at the end of the output.
    is_torn: bool,
}

impl Batch {
    /// Moves lines from the front of a queue into this batch, which must be empty.
    ///
    /// It takes at most `most` lines, and no further one once the batch has `FULL` bytes.
    pub(super) fn fill(&mut self, queue: &mut VecDeque<Vec<u8>>, most: usize) {
        self.text.clear();
        self.text.shrink_to(FULL);
        (self.begin, self.taken) = (0, 0);
        while self.text.len() < FULL
            && self.ends.len() < most
            && let Some(line) = queue.pop_front()
        {
            self.text.extend_from_slice(&line);
            self.ends.push_back(self.text.len());
        }
    }

    /// How many lines are not written yet.
    pub(super) fn lines(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of the lines that are not written yet.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() - self.begin
    }

    /// The bytes to write next.
    pub(super) fn rest(&self) -> &[u8] {
        if self.is_torn { b"\n" } else { self.text.get(self.taken..).unwrap_or_default() }
    }

    /// Notes that the output has taken the first `count` bytes of [`Self::rest`], at least one.
    pub(super) fn take(&mut self, count: usize) {
        if mem::take(&mut self.is_torn) {
            return;
        }
        self.taken += count;
        while let Some(&end) = self.ends.front()
            && end <= self.taken
        {
            self.begin = end;
            self.ends.pop_front();
        }
    }

    /// Notes that the output refuses the current line. The next line then begins on a line of its own.
    pub(super) fn skip(&mut self) {
        self.is_torn |= self.taken > self.begin;
        self.begin = self.ends.pop_front().unwrap_or(self.text.len());
        self.taken = self.begin;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// `Some` = how many bytes the output takes; `None` = the output refuses.
        #[test]
        fn a_line_is_whole_in_the_output_or_lost(steps in vec(prop::option::weighted(0.8, 1_usize..40), 1..60), most in 1_usize..5) {
            let mut queue: VecDeque<Vec<u8>> = (0..40).map(|number| format!("{number:08}\n").into()).collect();
            let (mut batch, mut output, mut lost) = (Batch::default(), Vec::new(), Vec::new());
            for step in steps.into_iter().chain([Some(usize::MAX); 200]) {
                if batch.lines() == 0 {
                    batch.fill(&mut queue, most);
                }
                if batch.lines() == 0 {
                    break;
                }
                let next = 40 - queue.len() - batch.lines();
                match step {
                    Some(count) => {
                        let rest = batch.rest();
                        let count = count.min(rest.len());
                        output.extend_from_slice(&rest[..count]);
                        batch.take(count);
                    }
                    None => {
                        lost.push(next);
                        batch.skip();
                    }
                }
            }
            prop_assert_eq!((queue.len(), batch.lines()), (0, 0));
            let output = String::from_utf8_lossy(&output).into_owned();
            let whole: Vec<_> = (0..40).filter(|number| !lost.contains(number)).map(|number| format!("{number:08}")).collect();
            // A lost line of which only the line feed was missing may look whole: a line feed is written in front of the next
            // line.
            let found: Vec<_> = output.lines().filter(|line| whole.iter().any(|whole| whole == line)).collect();
            prop_assert_eq!(&found, &whole);
            prop_assert!(output.lines().all(|line| line.len() <= 8), "{output}");
        }
    }

    #[test]
    fn a_batch_that_is_full_takes_no_further_line() {
        let mut queue: VecDeque<_> = [vec![b'x'; FULL - 1], vec![b'y'; 10], vec![b'z'; 10]].into();
        let mut batch = Batch::default();
        batch.fill(&mut queue, usize::MAX);
        assert_eq!((batch.lines(), batch.bytes(), queue.len()), (2, FULL + 9, 1));
    }
}
