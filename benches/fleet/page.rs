//! benches/FLEET.md.

use std::fmt::Write as _;

use crate::{
    figures::Figures,
    model::{
        anchors,
        maglev::Table,
        scenarios::{Chapter, Size},
    },
    plot::number,
};

const CHAPTERS: [(Chapter, &str, &str); 7] = [
    (
        Chapter::Up,
        "A scale-up",
        "A quarter of the fleet is new: three quarters have all sessions, and the others join. Who comes back is hashed over all.",
    ),
    (Chapter::Lifetime, "`max_lifetime: 1h`", "With its jitter of a tenth. Nothing else happens."),
    (
        Chapter::Down,
        "A scale-down",
        "A quarter of the fleet leaves for good, all at once: readiness fails, then they drain.",
    ),
    (
        Chapter::Roll,
        "A rolling update",
        "Each part: readiness fails, `drain.wait: 10s`, `drain.spread: 15s`, exit, and 5 s later the new processes are ready. Then the next \
         part. \"Fullest\" is of the instances to which the balancer sends.",
    ),
    (
        Chapter::Zone,
        "A lost zone",
        "A third of the instances is gone in one moment, with their hosts. Until the balancer has noticed, a third of those who come back is \
         sent to hosts that do not answer. The runs with slow backends have a tenth of the fleet, and ten backends that take 500 handshakes \
         a second each, one after another, also those whose client has gone meanwhile: all sessions of the fleet take them 200 s.",
    ),
    (
        Chapter::Backend,
        "A backend comes back",
        "One of the backends is drained (1012, over 15 s) and is back 50 s later, without a session; `balance: least_conn`; users stay for an \
         hour in the mean.",
    ),
    (
        Chapter::Valkey,
        "Valkey away",
        "Addresses with 40 clients each, which all try to have a session, by the library, for as long as they have none; users stay for 2 min \
         in the mean. `sessions_per_client: 10`, or `sessions` alone, of two thirds of what is wanted. Valkey is away for 10 min, with \
         `on_loss: share`. What is said of \"over\" and \"under\" is so just before it comes back, in percent of what may be. By flow: the \
         balancer hashes addresses and ports. By address: it sends all clients of an address to one instance.",
    ),
];

pub fn page(size: Size, figures: &[Figures]) -> String {
    let mut page = format!(
        "# A fleet in virtual time\n\n\
         What `cargo bench --bench fleet` printed. Written by it, not by hand; [docs/scale.md](../docs/scale.md) says what follows from it. Whoever \
         runs it with the same code gets the same figures.\n\n\
         {} instances, {} sessions, where nothing else is said; a balancer that hashes addresses and ports (Maglev, a table of {} slots). \
         Clients come back as `longwire-client` does: full jitter over 500 ms · 2^n, 30 s at most; over 5 s at least after 1012; an attempt is \
         given up after 10 s. The balancer looks away from an instance, and back, 6 s after its readiness has changed. Time goes in steps of 10 ms.\n\n\
         An instance has two cores. On one of them a handshake with TLS takes {} µs (`tls-full` of [RESULTS.md](RESULTS.md)), one without {} µs \
         (`handshake-16`). Its memory is {} MB, {} B for each session ({} B without TLS: `idle-tls`, `idle`), and {} B for each handshake in flight \
         ({} B without; [THREE.md](THREE.md)). That of the kernel is not in it.\n",
        number(f64::from(size.instances)),
        number(f64::from(size.sessions)),
        number(Table::length(usize::from(size.instances)) as f64),
        number(anchors::HANDSHAKE_TLS_US),
        anchors::HANDSHAKE_PLAIN_US,
        anchors::PROCESS / 1e6,
        number(anchors::IDLE_TLS),
        number(anchors::IDLE_PLAIN),
        number(anchors::IN_FLIGHT_TLS),
        number(anchors::IN_FLIGHT_PLAIN),
    );
    for (chapter, title, about) in CHAPTERS {
        let rows: Vec<_> = figures.iter().filter(|each| each.scenario.chapter == chapter).collect();
        if rows.is_empty() {
            continue;
        }
        _ = write!(page, "\n## {title}\n\n{about}\n\n");
        let heads = Figures::heads(chapter);
        _ = writeln!(page, "| {} |\n| --- |{}", heads.join(" | "), " ---: |".repeat(heads.len() - 1));
        for row in rows {
            _ = writeln!(page, "| {} |", row.row().join(" | "));
        }
    }
    page.push_str(&flows(size));
    page
}

/// What a balancer would cut that does not remember its connections.
fn flows(size: Size) -> String {
    let instances = usize::from(size.instances);
    let table = |in_turn: &[bool]| Table::new(Table::length(instances), in_turn);
    let all = table(&vec![true; instances]);
    let mut text = String::from(
        "\n## Flows that move\n\nOf the flows between instances that stay, the share that Maglev's table sends elsewhere when others go. A \
         balancer that remembers its connections loses none of them.\n\n| instances gone | flows moved |\n| ---: | ---: |\n",
    );
    for gone in [1, instances / 100, instances / 4, instances / 3] {
        let in_turn: Vec<_> = (0..instances).map(|place| place >= gone).collect();
        let moved = all.moved(&table(&in_turn), &in_turn);
        _ = writeln!(text, "| {gone} of {instances} | {:.2} % |", moved * 100.0);
    }
    text
}
