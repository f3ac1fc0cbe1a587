//! What it does when a bus refuses, is gone, or says nothing.

use std::time::Duration;

use factum::integration::{Answer, Inspect as _, OnDeadLetter, Side};

use crate::world::{
    Act, CONFIRM, FakeBus, SOURCE, TYPE, commit, envelope, in_time, pass, refuse, relay, start, store,
};

fn two_keys() -> Vec<factum::Envelope> {
    vec![envelope("bad", 0), envelope("bad", 1), envelope("good", 0), envelope("good", 1)]
}

#[tokio::test(start_paused = true)]
async fn an_envelope_whose_publish_failed_is_sent_later_without_a_restart() {
    let (store, bus) = (store(), FakeBus::new(|_, before| if before < 3 { refuse() } else { CONFIRM }));
    let running = start(relay(&store, &bus));
    commit(&store, vec![envelope("k", 0), envelope("k", 1)]).await;
    in_time("both", store.drained()).await;
    assert_eq!(bus.confirmed(), ["k/0", "k/1"]);
    assert_eq!((bus.came("k/0"), bus.came("k/1")), (4, 4));
    assert_eq!(running.stats.now().refused, 6);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn f_58_while_a_key_is_refused_its_later_envelopes_wait_and_other_keys_go_on() {
    let refuses = |envelope: &factum::Envelope, before| match envelope.id.as_str() {
        "bad/0" if before < 10 => refuse(),
        _ => CONFIRM,
    };
    let (store, bus) = (store(), FakeBus::new(refuses));
    let running = start(relay(&store, &bus));
    commit(&store, two_keys()).await;
    in_time("the good key", bus.until(|bus| bus.confirmed().len() == 2)).await;
    assert_eq!(bus.confirmed(), ["good/0", "good/1"]);
    assert_eq!(bus.came("bad/1"), 0);
    in_time("the bad key", store.drained()).await;
    assert_eq!(bus.confirmed()[2..], ["bad/0", "bad/1"]);
    running.shut_down().await;
}

async fn given_up(policy: OnDeadLetter) -> (factum::memory::MemoryStore, std::sync::Arc<FakeBus>, u32) {
    let refuses =
        |envelope: &factum::Envelope, _| if envelope.id.as_str() == "bad/0" { refuse() } else { CONFIRM };
    let (store, bus) = (store(), FakeBus::new(refuses));
    let running = start(relay(&store, &bus).on_dead_letter(TYPE, policy).options(|o| o.attempts_max = 5));
    commit(&store, two_keys()).await;
    let given_up = async {
        while store.backlog().await.unwrap().dead_letters == 0 {
            pass(Duration::from_millis(100)).await;
        }
        // Time enough for whatever may still be published.
        pass(Duration::from_secs(30)).await;
    };
    in_time("the dead letter", given_up).await;
    commit(&store, vec![envelope("good", 2), envelope("bad", 2)]).await;
    pass(Duration::from_secs(30)).await;
    running.shut_down().await;
    let dead = store.dead_letters(9).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].side, dead[0].attempts), (&Side::Relay, 5));
    assert_eq!(dead[0].reason, "it is not to my taste");
    let came = bus.came("bad/0");
    (store, bus, came)
}

#[tokio::test(start_paused = true)]
async fn a_refused_envelope_becomes_a_dead_letter_and_with_park_its_key_waits_for_a_person() {
    let (store, bus, came) = given_up(OnDeadLetter::Park).await;
    assert_eq!(came, 5);
    assert_eq!(bus.confirmed(), ["good/0", "good/1", "good/2"]);
    assert_eq!(store.backlog().await.unwrap().outbox, 2, "bad/1 and bad/2 wait");
    // A person requeues it, and the bus has changed its mind.
    let bus = FakeBus::new(|_, _| CONFIRM);
    let running = start(relay(&store, &bus));
    assert!(store.requeue(&Side::Relay, SOURCE, &"bad/0".into()).await.unwrap());
    in_time("the rest of the key", store.drained()).await;
    assert_eq!(bus.confirmed(), ["bad/0", "bad/1", "bad/2"]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn with_skip_the_rest_of_the_key_goes_on() {
    let (store, bus, came) = given_up(OnDeadLetter::Skip).await;
    assert_eq!(came, 5);
    assert_eq!(bus.confirmed_by_key()["bad"], [1, 2]);
    assert_eq!(bus.confirmed_by_key()["good"], [0, 1, 2]);
    assert_eq!(store.backlog().await.unwrap().outbox, 0);
}

#[tokio::test(start_paused = true)]
async fn with_halt_nothing_more_is_published_until_a_person_decides() {
    let (store, bus, came) = given_up(OnDeadLetter::Halt).await;
    assert_eq!(came, 5);
    assert_eq!(bus.confirmed(), ["good/0", "good/1"]);
    assert_eq!(store.backlog().await.unwrap().outbox, 3);
    let running = start(relay(&store, &bus));
    assert!(store.discard(&Side::Relay, SOURCE, &"bad/0".into()).await.unwrap());
    in_time("the rest", store.drained()).await;
    assert_eq!(bus.confirmed_by_key()["bad"], [1, 2]);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_kills_no_event_however_long_it_lasts() {
    let (store, bus) = (store(), FakeBus::new(|_, _| CONFIRM));
    bus.unreachable(true);
    let running = start(relay(&store, &bus).options(|o| o.attempts_max = 1));
    commit(&store, two_keys()).await;
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(store.backlog().await.unwrap().outbox, 4);
    let published = running.stats.now().published;
    assert!(published < 5_000, "{published} tries in an hour: it does not back off");
    bus.unreachable(false);
    in_time("all of it", store.drained()).await;
    assert_eq!(bus.confirmed_by_key()["bad"], [0, 1]);
    assert_eq!(store.backlog().await.unwrap().dead_letters, 0);
    running.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn f_53_an_envelope_without_an_answer_is_published_again_and_never_counts_as_refused() {
    for act in [|| Act::Drop, || Act::Answer(Answer::Unknown("the connection died".into()))] {
        let bus = FakeBus::new(move |_, before| if before < 4 { act() } else { CONFIRM });
        let store = store();
        let running = start(relay(&store, &bus).options(|o| o.attempts_max = 1));
        commit(&store, vec![envelope("k", 0), envelope("k", 1)]).await;
        in_time("both", store.drained()).await;
        assert_eq!(bus.confirmed(), ["k/0", "k/1"]);
        assert_eq!(store.backlog().await.unwrap().dead_letters, 0);
        running.shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn f_51_a_type_that_nobody_takes_waits_and_is_picked_up_soon_after_somebody_does() {
    let nobody = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_gone = nobody.clone();
    let script = move |envelope: &factum::Envelope, _| match envelope.ordering_key() {
        "bad" if is_gone.load(std::sync::atomic::Ordering::SeqCst) => Act::Answer(Answer::Unroutable),
        _ => CONFIRM,
    };
    let (store, bus) = (store(), FakeBus::new(script));
    let running = start(relay(&store, &bus).options(|o| o.attempts_max = 1));
    let mut unheard = two_keys();
    unheard[0].r#type = "com.example.shop.ordering.unheard-of.v1".into();
    commit(&store, unheard).await;
    pass(Duration::from_secs(600)).await;
    assert_eq!(bus.confirmed(), ["good/0", "good/1"]);
    assert_eq!(store.backlog().await.unwrap().dead_letters, 0);
    nobody.store(false, std::sync::atomic::Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    in_time("the rest", store.drained()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert_eq!(bus.confirmed()[2..], ["bad/0", "bad/1"]);
    running.shut_down().await;
}
