//! Words that come again and again, as numbers.

use std::{collections::HashMap, mem};

/// The most different words of one kind. Further ones are one word.
const MOST_WORDS: usize = 4096;

/// The words of one kind, numbered from 1. The number 0 stands for no word, and for those that came when there were too many.
#[derive(Debug, Default)]
pub(super) struct WordNumbers {
    numbers: HashMap<Box<str>, u16>,
    words: Vec<Box<str>>,
}

impl WordNumbers {
    /// The number of a word.
    pub(super) fn number(&mut self, word: Option<&str>) -> u16 {
        let Some(word) = word else { return 0 };
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        if self.words.len() >= MOST_WORDS {
            return 0;
        }
        let Ok(number) = u16::try_from(self.words.len() + 1) else { return 0 };
        self.words.push(word.into());
        self.numbers.insert(word.into(), number);
        number
    }

    /// Whether there is no longer room for as many words as there are.
    pub(super) fn is_half_full(&self) -> bool {
        self.words.len() > MOST_WORDS / 2
    }

    /// Keeps only the words of these numbers, and gives them new numbers.
    pub(super) fn keep_only<'n>(&mut self, numbers: impl Iterator<Item = &'n mut u16>) {
        let before = mem::take(self);
        for number in numbers {
            *number = self.number(before.word(*number));
        }
    }

    /// The word of a number.
    pub(super) fn word(&self, number: u16) -> Option<&str> {
        let place = usize::from(number).checked_sub(1)?;
        self.words.get(place).map(|word| &**word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_number_and_its_number_has_the_word() {
        let mut words = WordNumbers::default();
        let numbers = [Some("a"), Some("b"), Some("a"), None].map(|word| words.number(word));
        assert_eq!(numbers, [1, 2, 1, 0]);
        assert_eq!([0, 1, 2, 3].map(|number| words.word(number)), [None, Some("a"), Some("b"), None]);
    }

    #[test]
    fn a_flood_of_words_takes_a_bounded_place() {
        let mut words = WordNumbers::default();
        for word in 0..2 * MOST_WORDS {
            words.number(Some(&word.to_string()));
        }
        assert_eq!((words.words.len(), words.numbers.len()), (MOST_WORDS, MOST_WORDS));
        assert_eq!((words.number(Some("0")), words.number(Some("new"))), (1, 0));
    }

    #[test]
    fn words_that_nothing_has_any_more_make_room() {
        let mut words = WordNumbers::default();
        for word in 0..=MOST_WORDS / 2 {
            assert!(!words.is_half_full());
            words.number(Some(&word.to_string()));
        }
        let mut kept = [4, 0, 2, 4];
        assert!(words.is_half_full());
        words.keep_only(kept.iter_mut());
        assert_eq!((kept, words.is_half_full()), ([1, 0, 2, 1], false));
        assert_eq!([1, 2, 3].map(|number| words.word(number)), [Some("3"), Some("1"), None]);
        assert_eq!(words.number(Some("new")), 3);
    }
}
