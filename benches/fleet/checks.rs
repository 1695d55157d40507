//! What must hold of the figures, whatever the seed.

use crate::figures::Figures;

/// All that does not hold.
pub fn broken(figures: &[Figures]) -> Vec<String> {
    let mut broken = Vec::new();
    for each in figures {
        let (record, name) = (&each.record, each.scenario.name);
        let seats = f64::from(each.scenario.rules.seats);
        let ends = record.ended as f64 / seats;
        let (peak, _) = record.arrivals(crate::figures::SINCE);
        let a_second = |share: f64, seconds: f64| seats * share / seconds;
        let holds: &[(&str, bool)] = match name {
            "up" => &[("nothing moves by itself", ends == 0.0 && each.last().ratio > 1.3)],
            "up-rebalance" | "up-rebalance-fast" => &[
                ("the fleet becomes even", record.even_after(0).is_some()),
                ("less than all sessions are ended", ends < 1.0),
            ],
            "up-share" => &[("a quarter of the old does not make a quarter that is new even", each.last().ratio > 1.2)],
            "up-share-most" => &[("nearly all of the old nearly do", each.last().ratio < 1.1)],
            "up-lifetime" => {
                &[("the fleet becomes even within a life", record.even_after(0).is_some_and(|after| after < 3_700))]
            }
            "lifetime" => &[("arrivals are as even as the ages", f64::from(peak) < 1.15 * a_second(1.0, 3_420.0))],
            "lifetime-echo" => &[("a restart is heard a life later", f64::from(peak) > 5.0 * a_second(1.0, 3_420.0))],
            "down-no-wait" => &[("who does not wait is missed", record.nobody() > 0)],
            "down-15s" => &[("who waits is not missed", record.nobody() == 0), ("nobody is told twice", ends < 0.26)],
            "down-60s" => &[("the spread is the peak", f64::from(peak) < 1.1 * a_second(0.25, 60.0))],
            "roll-1" => &[
                // Each of those who are moved meets the rest of the update again: e^(1-x) times from the part x on.
                ("a session is moved e - 1 times", (ends - 1.718).abs() < 0.05),
                ("the last instance has e times its share", (2.4..3.0).contains(&record.most_uneven())),
                ("no attempt finds nobody", record.nobody() == 0),
            ],
            "roll-beside" => &[("a session is moved once", ends == 1.0)],
            "roll-rebalance" => &[("the fleet becomes even", record.even_after(0).is_some())],
            "zone-queue" => &[("all come back", each.all_back().is_some())],
            "zone-backends" => &[("backends without a bound do not recover by themselves", each.all_back().is_none())],
            "zone" | "zone-plain" | "zone-silent" => {
                &[("all come back", each.all_back().is_some_and(|after| after < 60))]
            }
            "valkey-3" => &[("a share of 4 at each of 3 instances is 12", each.before_return().most <= 12)],
            "valkey-100" => {
                &[("a share of 1 at each of 100 instances is all that is wanted", each.before_return().over > 2.5)]
            }
            "valkey-3-address" => {
                &[("a share of 4 at one instance is 4", (each.before_return().under - 0.6).abs() < 0.05)]
            }
            "valkey-sessions-loses" => {
                &[("a third of the shares is lost with its instances", each.before_return().sessions < 0.7)]
            }
            _ => &[],
        };
        broken.extend(holds.iter().filter(|(_, holds)| !holds).map(|(what, _)| format!("{name}: {what}")));
        if !each.is_sound {
            broken.push(format!("{name}: clients are miscounted"));
        }
    }
    broken
}
