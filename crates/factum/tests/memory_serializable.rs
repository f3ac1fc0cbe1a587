//! Whatever transactions do to the store in memory, and in whatever order their steps meet: those that committed saw
//! and did what they would have seen and done one after the other, in the order of their commits.

use std::collections::BTreeMap;

use factum::memory::{Connection, MemoryStore, MemoryTx};
use factum::port::{Access, Intent, NotCommitted, Store};
use factum::{Sort, Written};
use proptest::prelude::*;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(usize),
    /// Adds 1, or inserts a 1.
    Add(usize),
    Delete(usize),
    List,
    Commit,
    Forget,
}

/// What a transaction saw and did.
#[derive(Clone, Debug)]
enum Did {
    Saw(usize, Option<i64>),
    Wrote(usize, i64),
    Deleted(usize),
    Listed(Vec<(String, i64)>),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    prop_oneof![
        3 => key.clone().prop_map(Step::Read),
        4 => key.clone().prop_map(Step::Add),
        1 => key.prop_map(Step::Delete),
        1 => Just(Step::List),
        3 => Just(Step::Commit),
        1 => Just(Step::Forget),
    ]
}

fn number(bytes: &[u8]) -> i64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// One transaction; `None` once it has lost a race.
struct Running {
    tx: Option<MemoryTx>,
    did: Vec<Did>,
}

impl Running {
    async fn begin(store: &MemoryStore) -> Self {
        let intent = Intent { access: Access::Write, who: "a test".into() };
        Self { tx: Some(store.begin(&intent).await.unwrap()), did: Vec::new() }
    }

    async fn take(&mut self, step: Step) {
        let Some(tx) = &mut self.tx else { return };
        let connection = MemoryStore::connection(tx).await.unwrap();
        match act(connection, step) {
            Some(did) => self.did.extend(did),
            None => self.tx = None,
        }
    }
}

/// `None`: somebody was faster.
fn act(connection: &mut Connection, step: Step) -> Option<Vec<Did>> {
    let mut look = |key: usize| {
        let row = connection.get("numbers", KEYS[key]).unwrap();
        row.map(|row| (number(&row.bytes), row.version))
    };
    Some(match step {
        Step::Read(key) => vec![Did::Saw(key, look(key).map(|(number, _)| number))],
        Step::Add(key) => {
            let found = look(key);
            let next = found.map_or(1, |(number, _)| number + 1);
            let expected = found.map(|(_, version)| version);
            let written = connection.put("numbers", KEYS[key], expected, next.to_string().into_bytes());
            let saw = Did::Saw(key, found.map(|(number, _)| number));
            (written.unwrap() == Written::Fresh).then(|| vec![saw, Did::Wrote(key, next)])?
        }
        Step::Delete(key) => {
            let Some((number, version)) = look(key) else { return Some(vec![Did::Saw(key, None)]) };
            let written = connection.delete("numbers", KEYS[key], version).unwrap();
            (written == Written::Fresh).then(|| vec![Did::Saw(key, Some(number)), Did::Deleted(key)])?
        }
        Step::List => {
            let rows = connection.list("numbers").unwrap();
            vec![Did::Listed(rows.iter().map(|row| (row.id.to_string(), number(&row.bytes))).collect())]
        }
        Step::Commit | Step::Forget => Vec::new(),
    })
}

/// Does it again, with nobody else around.
fn replay(model: &mut BTreeMap<usize, i64>, did: Vec<Did>) {
    for did in did {
        match did {
            Did::Saw(key, number) => assert_eq!(model.get(&key).copied(), number, "key {}", KEYS[key]),
            Did::Wrote(key, number) => drop(model.insert(key, number)),
            Did::Deleted(key) => drop(model.remove(&key)),
            Did::Listed(rows) => {
                let expected: Vec<_> =
                    model.iter().map(|(key, number)| (KEYS[*key].into(), *number)).collect();
                assert_eq!(rows, expected);
            }
        }
    }
}

async fn committed(tx: MemoryTx) -> bool {
    match MemoryStore::commit(tx, Vec::new()).await {
        Ok(()) => true,
        Err(NotCommitted::RolledBack(error)) => {
            assert_eq!(Sort::of::<MemoryStore>(&*error), Sort::Transient, "{error}");
            false
        }
        Err(NotCommitted::Unknown(error)) => panic!("{error}"),
    }
}

async fn run(schedule: Vec<(usize, Step)>) {
    let store = MemoryStore::new();
    let mut model = BTreeMap::new();
    let mut running: [Option<Running>; 3] = [None, None, None];
    for (who, step) in schedule {
        let mut transaction = match running[who].take() {
            Some(transaction) => transaction,
            None => Running::begin(&store).await,
        };
        match step {
            Step::Forget => {}
            Step::Commit => {
                let Running { tx, did } = transaction;
                let writes = did.iter().any(|did| matches!(did, Did::Wrote(..) | Did::Deleted(_)));
                if let Some(tx) = tx
                    && committed(tx).await
                    && writes
                {
                    replay(&mut model, did);
                }
            }
            step => {
                transaction.take(step).await;
                running[who] = Some(transaction);
            }
        }
    }
    drop(running);
    let mut last = Running::begin(&store).await;
    last.take(Step::List).await;
    replay(&mut model, last.did.clone());
    drop(last);
    assert_eq!(store.open_transactions(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_committed_could_have_run_one_after_the_other(schedule in proptest::collection::vec((0..3usize, step()), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(schedule));
    }
}
