//! A name or a service of the DNS: asked for again and again, as its [`Lookout`] says.

use std::{
    future::pending,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::dns_client::DnsClient;
use crate::discovery::{DnsAnswer, DnsQuestion, DnsReply, FindingPlace, Findings, Lookout, NamePlace, News};

/// The most time for the answer to one question, whatever number of servers and tries it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The most questions about one place that are asked at once. A service may have hundreds of targets, and servers drop what
/// comes in a burst.
const AT_ONCE: usize = 16;

/// Told, by its end, that each question about a place has had a first answer or failure.
pub(super) type FirstAnswers = mpsc::Sender<()>;

/// Asks for the names of a place again and again, until this is dropped. `first`: dropped after the first answers.
pub(super) async fn follow(place: NamePlace, findings: Arc<Findings>, news: Arc<Notify>, first: FirstAnswers) {
    let client = DnsClient::new(&place.settings);
    let (names, place) = (place.clone(), FindingPlace::Names(place));
    let mut lookout = Lookout::new(names, findings.of(&place).as_ref(), Instant::now());
    let (mut asked, mut first, mut left_out) = (JoinSet::new(), Some(first), 0);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        for question in lookout.due(Instant::now()) {
            let (client, turns) = (client.clone(), Arc::clone(&turns));
            asked.spawn(async move {
                let _turn = turns.acquire().await;
                let reply = ask(client, question.clone()).await;
                (question, reply)
            });
        }
        let next = lookout.next_due();
        let due = async {
            match next {
                Some(next) => sleep_until(next.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => continue,
            Some(answered) = asked.join_next() => {
                // These tasks do not panic, because they catch what does.
                let Ok((question, reply)) = answered else { continue };
                lookout.note(&question, reply, Instant::now(), chance());
            }
        }
        let known = findings.note_names(&place, lookout.backends(), lookout.failure(), Instant::now());
        tell(&place, &known, &lookout);
        if known == News::Changed {
            news.notify_one();
        }
        if std::mem::replace(&mut left_out, lookout.left_out()) == 0 && left_out > 0 {
            tracing::warn!(%place, left_out, "a name has more backends than `discovery.most` allows: the lowest addresses are kept");
        }
        if lookout.is_settled() && first.take().is_some() && lookout.backends().is_none_or(|found| found.is_empty()) {
            tracing::warn!(%place, "a name has no backends yet");
        }
    }
}

/// Asks one question. A panic of the client is a failure like others.
async fn ask(client: DnsClient, question: DnsQuestion) -> DnsReply {
    let is_service = matches!(question, DnsQuestion::Targets(_));
    let asked = tokio::spawn(async move { timeout(PATIENCE, client.ask(&question)).await });
    let failure = match asked.await {
        Ok(Ok(reply)) => return reply,
        Ok(Err(_)) => format!("no answer within {} s", PATIENCE.as_secs()),
        Err(error) => error.to_string(),
    };
    match is_service {
        true => DnsReply::Targets(DnsAnswer::Failed(failure)),
        false => DnsReply::Addresses(DnsAnswer::Failed(failure)),
    }
}

/// Says in the log what has changed.
fn tell(place: &FindingPlace, news: &News, lookout: &Lookout) {
    let backends = lookout.backends().map_or(0, |backends| backends.len());
    match news {
        News::Nothing => {}
        News::Changed => tracing::info!(%place, backends, "the backends of a name are others now"),
        News::Mended => tracing::info!(%place, backends, "a name can be looked up again"),
        News::Failed => {
            let failure = lookout.failure().map(|(failure, _)| failure).unwrap_or_default();
            tracing::warn!(%place, failure, "a name cannot be looked up, and its backends stay as they were");
        }
    }
}

/// From 0 to 1. The kernel mostly has random bytes; without them, waits are only less spread.
fn chance() -> f64 {
    getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use hickory_resolver::proto::{
        op::Message,
        rr::{Name, RData, Record, RecordType, rdata::SRV},
    };
    use tokio::net::UdpSocket;

    use super::*;
    use crate::discovery::{LookupSettings, NameKind};

    #[tokio::test]
    async fn a_service_with_many_targets_asks_few_questions_at_once() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let settings = LookupSettings { resolvers: vec![server.local_addr().unwrap()], ..LookupSettings::default() };
        let place = NamePlace { kind: NameKind::Service("chat.test".into()), settings };
        let (findings, news, (first, _)) = (Arc::default(), Arc::default(), mpsc::channel());
        let following = tokio::spawn(follow(place, findings, news, first));
        let (mut asked, mut bytes) = (BTreeSet::new(), [0; 1500]);
        // Questions for addresses get no answer. The first one that is asked again is so before the next ones have a turn.
        loop {
            let (length, from) = server.recv_from(&mut bytes).await.unwrap();
            let question = Message::from_vec(&bytes[..length]).unwrap();
            let query = question.queries[0].clone();
            if query.query_type() == RecordType::SRV {
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_answers((0..30).map(|number| {
                    let target = Name::from_ascii(format!("t{number}.test.")).unwrap();
                    Record::from_rdata(query.name().clone(), 60, RData::SRV(SRV::new(1, 1, 80, target)))
                }));
                answer.add_query(query);
                server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            } else if !asked.insert((query.name().to_ascii(), query.query_type())) {
                break;
            }
        }
        assert_eq!(asked.len(), AT_ONCE);
        following.abort();
    }
}
