//! Random trouble, by seed: whatever happens, everything arrives, and in order.

use std::collections::BTreeMap;

use factum::integration::{Answer, Inspect as _};
use factum::protocol::Jitter;
use std::sync::Mutex;
use std::time::Duration;

use crate::world::{Act, CONFIRM, FakeBus, commit, envelope, in_time, pass, refuse, relay, start, store};

/// The first time that each arrived, in order, by key.
fn firsts(published: BTreeMap<String, Vec<u32>>) -> BTreeMap<String, Vec<u32>> {
    let first = |published: Vec<u32>| {
        let mut seen = Vec::new();
        published.into_iter().for_each(|n| {
            if !seen.contains(&n) {
                seen.push(n)
            }
        });
        seen
    };
    published.into_iter().map(|(key, published)| (key, first(published))).collect()
}

async fn run(seed: u64) {
    let random = Mutex::new(Jitter::new(seed));
    let script = move |_: &factum::Envelope, _| match random.lock().unwrap().up_to(19) {
        0..=2 => refuse(),
        3 => Act::Answer(Answer::Unroutable),
        4 => Act::Answer(Answer::Unknown("?".into())),
        5 => Act::Drop,
        _ => CONFIRM,
    };
    let (store, bus) = (store(), FakeBus::new(script));
    let mut random = Jitter::new(!seed);
    let options = |o: &mut factum_runtime::RelayOptions| (o.attempts_max, o.seed) = (1_000, seed);
    let mut running = [(); 2].map(|()| Some(start(relay(&store, &bus).options(options))));
    for n in 0..60 {
        commit(&store, (0..5).map(|key| envelope(&format!("k{key}"), n)).collect()).await;
        pass(Duration::from_millis(random.up_to(900))).await;
        bus.unreachable(random.up_to(9) == 0);
        if random.up_to(14) == 0 {
            let at = random.up_to(1) as usize;
            running[at].take().unwrap().kill().await;
            running[at] = Some(start(relay(&store, &bus).options(options)));
        }
    }
    bus.unreachable(false);
    in_time("an empty outbox", store.drained()).await;
    for (key, published) in firsts(bus.confirmed_by_key()) {
        assert_eq!(published, (0..60).collect::<Vec<_>>(), "seed {seed}, key {key}");
    }
    assert_eq!(bus.confirmed_by_key().len(), 5, "seed {seed}");
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.outbox, backlog.dead_letters), (0, 0), "seed {seed}");
    for running in running.into_iter().flatten() {
        running.shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_no_key_loses_its_order_whatever_fails() {
    for seed in 0..40 {
        run(seed).await;
    }
}
