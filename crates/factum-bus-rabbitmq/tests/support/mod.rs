//! What tests share: a namespace of their own on the broker, removed when they are done with it.

use std::hash::{BuildHasher, RandomState};

use factum_bus_rabbitmq::{Options, RabbitMq};
use factum_conformance::service;

/// A name that nobody else has.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Namespace {
    /// On the server that all tests share.
    pub(crate) fn new() -> Self {
        Self::on(service::RABBITMQ.url())
    }

    pub(crate) fn on(url: String) -> Self {
        Self { name: format!("test-{:016x}", RandomState::new().hash_one(0u8)), url }
    }

    pub(crate) fn options(&self) -> Options {
        RabbitMq::options(&self.url).namespace(&self.name)
    }
}

impl Drop for Namespace {
    /// On a thread of its own, because a runtime cannot be entered from within another one.
    fn drop(&mut self) {
        let options = self.options();
        let clean_up = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(options.clean_up())
        });
        if let Err(error) = clean_up.join().unwrap() {
            eprintln!("the namespace {} is left on the broker: {error}", self.name);
        }
    }
}
