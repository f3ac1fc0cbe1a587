//! What the tests of this bus share: a namespace of their own on a server, which they remove at their end.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use factum_bus_nats::{Nats, Options};

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", RandomState::new().hash_one(0u8))
}

/// A namespace on a server; removed when this is dropped.
pub(crate) struct Namespace {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn on(url: &str) -> Self {
        Self { url: url.to_owned(), name: unique("test") }
    }

    pub(crate) fn options(&self) -> Options {
        Nats::options(&self.url).namespace(&self.name)
    }

    pub(crate) async fn bus(&self) -> Nats {
        self.options().connect().await.unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let options = self.options().request_deadline(Duration::from_secs(2));
        // On a thread of its own: the runtime of the test may be on its way out.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Err(error) = runtime.block_on(options.clean_up()) {
                eprintln!("could not clean up: {error}");
            }
        });
        let _ = cleaning.join();
    }
}
