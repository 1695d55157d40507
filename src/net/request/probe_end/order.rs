//! The orders that the far end of a probe obeys. An order is a whole text message. PURE.

use std::{ops::RangeInclusive, time::Duration};

use crate::{config, ws::close::CloseCode};

/// The longest order, in bytes: a Close with the longest reason there is, and the words before it.
pub(super) const LONGEST_ORDER: usize = 160;
/// The most bytes of one message, of the client's and of ours.
pub(super) const LONGEST_MESSAGE: u64 = 16 * 1024 * 1024;
/// The longest life: that of the longest probe there is, an hour, and a little.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(65 * 60);

/// How often a Ping of ours may be ordered.
const PING_EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
/// How long a probe may be ordered to stay.
const STAY: RangeInclusive<Duration> = Duration::from_secs(1)..=LONGEST_LIFE;
/// The most bytes of a reason (RFC 6455 §5.5.1).
const LONGEST_REASON: usize = 123;

/// What a client orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProbeOrder {
    /// Stop what was ordered before.
    Silent,
    /// Send a Ping after each such time.
    Ping(Duration),
    /// Answer no Ping any more.
    Mute,
    /// End the probe after so long, though nothing comes any more: a path that drops connections in silence tells nobody.
    Stay(Duration),
    /// Send one binary message of so many bytes.
    Send(u64),
    /// Close with this code and reason.
    Close(CloseCode, String),
}

impl ProbeOrder {
    /// # Errors
    /// What is wrong with the text, for the client. It repeats no word of the client's.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text.split_once(' ').unwrap_or((text, "")) {
            _ if text == "silent" => Ok(Self::Silent),
            _ if text == "mute" => Ok(Self::Mute),
            ("ping", every) => {
                let every = config::duration(every).filter(|every| PING_EVERY.contains(every));
                every.map(Self::Ping).ok_or("ping takes a duration from 100ms to 1h")
            }
            ("stay", time) => {
                let time = config::duration(time).filter(|time| STAY.contains(time));
                time.map(Self::Stay).ok_or("stay takes a duration from 1s to 65m")
            }
            ("send", bytes) => {
                let bytes = number(bytes).filter(|bytes| *bytes <= LONGEST_MESSAGE);
                bytes.map(Self::Send).ok_or("send takes a number of bytes, at most 16777216")
            }
            ("close", rest) => {
                let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                let code = number(code).and_then(|code| u16::try_from(code).ok()).filter(|code| may_be_sent(*code));
                let code = code.ok_or("close takes a code that a Close may carry, and then a reason")?;
                if reason.len() > LONGEST_REASON {
                    return Err("the reason of a Close has at most 123 bytes");
                }
                Ok(Self::Close(CloseCode(code), reason.to_owned()))
            }
            _ => Err("an order is silent, ping DURATION, mute, stay DURATION, send BYTES or close CODE REASON"),
        }
    }
}

/// A number of decimal digits alone: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a Close may carry this code (RFC 6455 §7.4).
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn orders_are_read() {
        for (text, order) in [
            ("silent", ProbeOrder::Silent),
            ("mute", ProbeOrder::Mute),
            ("ping 24s", ProbeOrder::Ping(Duration::from_secs(24))),
            ("ping 100ms", ProbeOrder::Ping(Duration::from_millis(100))),
            ("ping 1m 30s", ProbeOrder::Ping(Duration::from_secs(90))),
            ("stay 75s", ProbeOrder::Stay(Duration::from_secs(75))),
            ("send 0", ProbeOrder::Send(0)),
            ("send 16777216", ProbeOrder::Send(LONGEST_MESSAGE)),
            ("close 1000", ProbeOrder::Close(CloseCode(1000), String::new())),
            ("close 4999 see you  later ", ProbeOrder::Close(CloseCode(4999), "see you  later ".into())),
        ] {
            assert_eq!(ProbeOrder::parse(text), Ok(order), "{text}");
        }
    }

    #[test]
    fn what_is_no_order_or_beyond_a_bound_is_told() {
        let long = format!("close 1000 {}", "é".repeat(62));
        let bad = [
            "",
            " silent",
            "silent ",
            "silent now",
            "Silent",
            "mute 1s",
            "ping",
            "ping 24",
            "ping 0s",
            "ping 99ms",
            "ping 61m",
            "ping -1s",
            "stay",
            "stay 0s",
            "stay 66m",
            "send",
            "send -1",
            "send +1",
            "send 1KiB",
            "send 16777217",
            "send 99999999999999999999",
            "close",
            "close 999",
            "close 1005",
            "close 1006",
            "close 1015",
            "close 2000",
            "close 5000",
            "close 66536",
            "close x",
            &long,
        ];
        for text in bad {
            assert!(ProbeOrder::parse(text).is_err(), "{text}");
        }
    }

    /// Words of which orders are made, and other words.
    fn words() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            4 => prop::sample::select(vec!["silent", "ping", "mute", "stay", "send", "close", "1000", "24s", "1h", "0", "999", " "])
                .prop_map(str::to_owned),
            1 => any::<String>(),
            1 => any::<u64>().prop_map(|number| number.to_string()),
        ];
        prop::collection::vec(word, 0..5).prop_map(|words| words.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_an_order_within_its_bounds_or_is_told_what_is_wrong(text in words()) {
            match ProbeOrder::parse(&text) {
                Ok(ProbeOrder::Ping(every)) => prop_assert!(PING_EVERY.contains(&every)),
                Ok(ProbeOrder::Stay(time)) => prop_assert!(STAY.contains(&time)),
                Ok(ProbeOrder::Send(bytes)) => prop_assert!(bytes <= LONGEST_MESSAGE),
                Ok(ProbeOrder::Close(code, reason)) => {
                    prop_assert!(may_be_sent(code.0) && reason.len() <= LONGEST_REASON);
                    prop_assert!(text.len() <= LONGEST_ORDER);
                }
                Ok(ProbeOrder::Silent | ProbeOrder::Mute) => {}
                Err(why) => prop_assert!(why.is_ascii() && why.len() < 100),
            }
        }
    }
}
