//! Which calls an instance sends, and when it wants to be asked again.

use super::*;

impl World {
    /// What the first instance sends now: of each call of the script its verb and its arguments.
    fn calls(&mut self) -> Vec<Vec<String>> {
        let (now, before) = (self.instant(), self.instances[0].to_server.len());
        self.instances[0].send(now);
        let sent: Vec<u8> = self.instances[0].to_server.iter().skip(before).copied().collect();
        let (mut at, mut calls) = (0, Vec::new());
        while let Some((command, length)) = read_command(&sent[at..]) {
            at += length;
            let is_script = command[0].starts_with("EVAL");
            calls.push(if is_script { [&command[7..8], &command[10..]].concat() } else { command });
        }
        calls
    }

    fn verbs(&mut self) -> Vec<String> {
        self.calls().into_iter().map(|mut call| call.swap_remove(0)).collect()
    }

    /// In how many milliseconds the first instance wants to be asked again.
    fn due(&self) -> Option<u128> {
        let due = self.instances[0].membership.poll_timeout()?;
        Some(due.saturating_duration_since(self.instant()).as_millis())
    }

    /// The first instance alone is connected, and does what there is to do.
    fn settle_first(&mut self) {
        let now = self.instant();
        self.instances[0].connect(now);
        while self.instances[0].send(now) || self.serve(0) || self.instances[0].receive(now) {}
    }

    fn ask(&mut self) -> bool {
        let before = self.instances[0].waiting.len();
        self.happen(0, Happening::Ask { client: 0 });
        self.instances[0].waiting.len() > before
    }
}

#[test]
fn an_instance_wants_to_be_asked_for_a_rewrite_each_renewal_and_an_answer_that_does_not_come() {
    let mut world = World::new();
    assert_eq!(world.due(), None);
    world.happen(0, Happening::Connect);
    assert_eq!(world.due(), Some(0));
    assert_eq!(world.verbs(), ["AUTH", "SELECT", "rewrite"]);
    assert_eq!(world.due(), Some(1000), "the answer");
    world.settle_first();
    for _ in 0..3 {
        assert_eq!((world.due(), world.verbs()), (Some(1000), vec![]), "the renewal");
        world.now += 400;
        assert!(world.ask());
        assert_eq!((world.verbs(), world.due()), (vec!["take".to_owned()], Some(600)), "the renewal comes first");
        world.settle_first();
        world.now += 599;
        assert_eq!(world.verbs(), [""; 0]);
        world.now += 1;
        assert_eq!((world.due(), world.verbs()), (Some(0), vec!["renew".to_owned()]));
        world.settle_first();
    }
}

#[test]
fn an_answer_may_take_a_third_of_the_lease_and_five_seconds_at_most() {
    let patience = |lease| FleetTerms { lease: Duration::from_secs(lease), ..TERMS }.patience().as_secs();
    assert_eq!([patience(3), patience(15), patience(18), patience(3600)], [1, 5, 5, 5]);
}

#[test]
fn a_server_that_loses_our_counts_again_and_again_gets_them_after_a_pause_each() {
    for (lease, pause) in [(1500, 500), (3000, 1000), (9000, 1000)] {
        let mut world = World::new();
        world.instances[0].membership.set_terms(FleetTerms { lease: Duration::from_millis(lease), ..TERMS });
        world.settle_first();
        for has_renewed in [false, false, true] {
            if has_renewed {
                world.now += u64::try_from(world.due().unwrap()).unwrap();
                world.settle_first();
            }
            world.store.empty();
            assert!(world.ask());
            world.settle_first();
            if !has_renewed {
                assert!(!world.ask(), "nobody waits for the rewrite");
                assert_eq!((world.due(), world.verbs()), (Some(pause), vec![]), "{lease}");
                world.now += u64::try_from(pause).unwrap();
                world.settle_first();
            }
            assert!(world.instances[0].membership.is_live(), "{lease}: {has_renewed}");
        }
    }
}

#[test]
fn the_server_is_told_whether_the_lease_of_an_instance_that_comes_back_was_over() {
    let mut world = World::new();
    for (away, past) in [(0, "none"), (2999, "recent"), (3000, "old"), (1, "recent")] {
        world.lose(0);
        world.now += away;
        world.happen(0, Happening::Connect);
        assert_eq!(world.calls()[2], ["rewrite", "only", "3000", past, "*", "0"]);
        world.settle_first();
    }
}

#[test]
fn many_counts_are_told_in_chunks_that_count_as_one() {
    let mut world = World::new();
    for number in 0..1300_u32 {
        let client = Client::from(IpAddr::from(number.to_be_bytes())).counted_as();
        world.instances[0].membership.add(Some(client));
        world.instances[0].let_in.push(client);
    }
    world.happen(0, Happening::Connect);
    assert_eq!(world.calls()[2][..4], ["rewrite", "first", "3000", "none"]);
    for step in ["middle", "last"] {
        world.happen(0, Happening::Serve);
        while world.serve(0) {}
        let now = world.instant();
        while world.instances[0].receive(now) {}
        assert_eq!(world.calls()[0][1], step);
    }
    world.settle();
    world.check_counts().unwrap();
}

#[test]
fn more_differences_than_may_wait_become_a_rewrite() {
    let mut world = World::new();
    world.settle_first();
    for number in 0..=1_u32 << 17 {
        let client = Client::from(IpAddr::from((number + (1 << 24)).to_be_bytes())).counted_as();
        world.instances[0].membership.add(Some(client));
        world.instances[0].let_in.push(client);
    }
    assert_eq!((world.verbs(), world.due()), (vec![], Some(1000)), "a rewrite has just been");
    world.now += 1000;
    assert_eq!(world.calls()[0][..2], ["rewrite", "first"]);
    world.settle();
    world.check_counts().unwrap();
}

#[test]
fn who_leaves_says_so_at_once_and_the_others_leave_no_share_to_it() {
    let mut world = World::new();
    world.live_on(1000);
    assert_eq!(world.instances[1].membership.living(), 3);
    world.now += 100;
    for _ in 0..2 {
        let now = world.instant();
        world.instances[0].membership.begin_leaving(now);
    }
    assert_eq!(world.calls(), [["renew", "3000", "1"]]);
    world.settle_first();
    world.now += 100;
    let now = world.instant();
    world.instances[0].membership.begin_leaving(now);
    assert_eq!((world.verbs(), world.due()), (vec![], Some(900)), "once is enough");
    world.live_on(1000);
    assert_eq!(world.instances[1].membership.living(), 2);
    let leaving = |world: &World| -> Vec<bool> {
        world.instances[1].membership.instances().iter().map(|instance| instance.is_leaving).collect()
    };
    assert_eq!(leaving(&world), [true, false, false]);
    // It leaves over another connection too, and from an empty server.
    world.lose(0);
    world.store.empty();
    world.happen(0, Happening::Connect);
    assert_eq!(world.calls()[2], ["rewrite", "only", "3000", "recent", "*", "0", "leaving", "1"]);
    world.live_on(2000);
    assert_eq!(leaving(&world), [true, false, false]);
    // If all leave, somebody still has the whole number.
    let now = world.instant();
    (1..INSTANCES).for_each(|place| world.instances[place].membership.begin_leaving(now));
    world.live_on(3000 + 8000);
    assert_eq!(world.instances[1].membership.living(), 1);
}

#[test]
fn an_instance_knows_its_own_sessions_of_now_and_those_of_others_at_the_last_renewal() {
    let mut world = World::new();
    world.settle();
    world.live_on(1000);
    for place in [0, 1] {
        world.happen(place, Happening::Ask { client: 1 });
    }
    world.settle();
    let sessions = |world: &World| -> Vec<u64> {
        world.instances[0].membership.instances().iter().map(|instance| instance.sessions).collect()
    };
    assert_eq!(sessions(&world), [1, 0, 0]);
    world.live_on(1000);
    assert_eq!(sessions(&world), [1, 1, 0]);
}

#[test]
fn only_so_many_questions_wait_and_only_so_many_calls_are_under_way() {
    let mut world = World::new();
    world.settle_first();
    world.now += 500;
    assert_eq!((0..1100).filter(|_| world.ask()).count(), 1024);
    assert_eq!(world.verbs().len(), 512);
    assert_eq!((world.verbs(), world.due()), (vec![], Some(1000)), "no renewal either before an answer has come");
    world.serve(0);
    world.happen(0, Happening::Receive);
    assert_eq!(world.verbs(), ["take"]);
}

#[test]
fn a_question_that_has_waited_too_long_is_not_sent_and_no_other_is_asked_meanwhile() {
    let mut world = World::new();
    world.settle_first();
    assert!(world.ask());
    world.now += 49;
    assert!(world.ask());
    world.now += 1;
    assert!(!world.ask(), "the first one was not even sent");
    assert_eq!(world.verbs(), ["take"], "of the second one");
}

#[test]
fn changes_go_one_after_another_but_before_each_question() {
    let mut world = World::new();
    world.settle_first();
    assert!((0..3).all(|_| world.ask()));
    world.settle_first();
    let mut verbs = |happening| {
        world.happen(0, happening);
        world.verbs()
    };
    assert_eq!(verbs(Happening::EndSession(0)), ["change"]);
    assert_eq!(verbs(Happening::EndSession(0)), [""; 0], "many go together");
    assert_eq!(verbs(Happening::Ask { client: 0 }), ["change", "take"]);
}

#[test]
fn who_ends_says_so_once_and_a_connection_that_is_lost_meanwhile_is_the_end_too() {
    let mut world = World::new();
    world.settle_first();
    world.instances[0].membership.end();
    assert_eq!((world.verbs(), world.verbs()), (vec!["leave".to_owned()], vec![]));
    world.lose(0);
    assert!(world.instances[0].membership.has_left());
    world.happen(0, Happening::Connect);
    assert_eq!(world.verbs(), [""; 0]);
    assert!(world.instances[0].membership.has_left());
}

#[test]
fn who_parts_knows_nobody_and_may_join_again() {
    let mut world = World::new();
    world.live_on(1000);
    assert!(world.ask());
    world.settle();
    world.instances[0].membership.end();
    world.instances[0].membership.part();
    let membership = &world.instances[0].membership;
    assert_eq!((membership.living(), membership.instances(), membership.has_left()), (1, vec![], false));
    assert_eq!((world.due(), world.verbs()), (None, vec![]));
    world.lose(0);
    world.instances[0].membership.join("lw", "lw/0", TERMS);
    world.happen(0, Happening::Connect);
    // It is new there, and its session is still there.
    assert_eq!(world.calls()[2], ["rewrite", "only", "3000", "none", "*", "1", "192.0.2.0", "1"]);
}

#[test]
fn an_instance_that_is_back_before_the_others_leaves_their_shares_to_them() {
    let mut world = World::new();
    world.settle();
    world.live_on(1000);
    (0..INSTANCES).for_each(|place| world.lose(place));
    world.store.empty();
    world.settle_first();
    assert!(world.instances[0].membership.is_young());
    assert_eq!(world.instances[0].membership.living(), INSTANCES);
    // The others do not come back: they count no more as soon as the server is believed again.
    for _ in 0..12 {
        world.now += 1000;
        world.settle_first();
    }
    assert!(!world.instances[0].membership.is_young());
    assert_eq!(world.instances[0].membership.living(), 1);
}

#[test]
fn a_connection_begins_with_who_we_are_and_which_database() {
    let greeting = |user, password, database| {
        let (bytes, answers) = greeting(user, password, database);
        let (mut at, mut words) = (0, Vec::new());
        while let Some((command, length)) = read_command(&bytes[at..]) {
            at += length;
            words.push(command.join(" "));
        }
        assert_eq!(words.len(), answers);
        words
    };
    assert_eq!(greeting(Some("lw"), Some("secret"), 1), ["AUTH lw secret", "SELECT 1"]);
    assert_eq!(greeting(None, Some("secret"), 0), ["AUTH secret"]);
    assert_eq!((greeting(None, None, 7), greeting(None, None, 0)), (vec!["SELECT 7".to_owned()], vec![]));
}

#[test]
fn a_share_is_rounded_up_and_nobody_is_alone_with_nothing() {
    assert_eq!([share_of(10, 3), share_of(9, 3), share_of(1, 5), share_of(10, 1), share_of(10, 0)], [4, 3, 1, 10, 10]);
}
