use std::collections::HashSet;

use super::*;

#[test]
fn alarms_ring_together_and_at_most_a_hundredth_late() {
    let epoch = Instant::now();
    let now = epoch + Duration::from_micros(123_456_789);
    for (first, wait) in [(0, 25_000), (7, 25_000), (3, 1_000), (0, 40), (1, 1)] {
        let wait = Duration::from_millis(first + wait);
        let late = together(epoch, now + wait, now).duration_since(now + wait);
        assert!(late <= Duration::from_millis(1).max(wait / 100), "{wait:?}: {late:?}");
    }
    let rings: HashSet<_> =
        (0..1000).map(|ms| together(epoch, now + Duration::from_millis(25_000 + ms), now)).collect();
    assert!(rings.len() <= 1000 / 128 + 2, "{}", rings.len());
    assert_eq!(together(epoch, now, now), now);
}

#[test]
fn slices_cover_a_table_once_also_one_that_grows_meanwhile() {
    let (mut at, mut seen, mut capacity) = (None, Vec::new(), 100);
    loop {
        seen.extend(next_slice(&mut at, 64, capacity));
        capacity = 200;
        if at.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    assert_eq!((next_slice(&mut at, 64, 0), at), (0..0, None));
}

#[test]
fn the_last_place_is_reached_however_often_the_orders_change() {
    let (mut walk, mut seen) = (Walk::default(), HashSet::new());
    for _ in 0..10 {
        walk.begin();
        seen.extend(walk.next_slice(64, 200));
    }
    assert_eq!(seen.len(), 200);
    // After the last change, each place is looked at once more.
    walk.begin();
    seen.clear();
    while !walk.is_over() {
        seen.extend(walk.next_slice(64, 200));
    }
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_tick_is_before_another_also_when_the_clock_has_wrapped() {
    let late = WrappingMillis(u32::MAX - 5);
    assert!(late.is_before(WrappingMillis(10)) && !WrappingMillis(10).is_before(late) && !late.is_before(late));
}
