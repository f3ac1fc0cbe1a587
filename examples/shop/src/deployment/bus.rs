//! The bus that a URL means.

use std::sync::Arc;

use factum::EventBus;
use factum_runtime::memory_bus;

use super::{Namespace, Url};
use crate::Failure;

const OPTION: &str = "--bus";

/// A bus that this build knows.
pub(super) enum Bus {
    Memory,
    #[cfg(feature = "full")]
    Nats(Url),
    #[cfg(feature = "full")]
    RabbitMq(Url),
}

impl Bus {
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        match url.scheme() {
            "memory" if url.rest().is_empty() => Ok(Self::Memory),
            #[cfg(feature = "full")]
            "nats" | "natss" | "tls" => Ok(Self::Nats(url.clone())),
            #[cfg(feature = "full")]
            "amqp" | "amqps" => Ok(Self::RabbitMq(url.clone())),
            #[cfg(not(feature = "full"))]
            "nats" | "natss" | "tls" | "amqp" | "amqps" => Err(Failure::not_compiled_in(OPTION, url)),
            _ => Err(Failure::Usage {
                option: OPTION,
                why: format!("expected memory:, nats://HOST or amqp://HOST; found {}", url.shown()),
            }),
        }
    }

    /// Whether it is on a server.
    pub(super) fn is_served(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    pub(super) async fn open(&self, namespace: &Namespace) -> Result<Arc<dyn EventBus>, Failure> {
        let _ = namespace; // An embedded one needs no name.
        match self {
            Self::Memory => Ok(Arc::new(memory_bus())),
            #[cfg(feature = "full")]
            Self::Nats(url) => super::servers::nats(url, namespace).await,
            #[cfg(feature = "full")]
            Self::RabbitMq(url) => super::servers::rabbitmq(url, namespace).await,
        }
    }

    /// Removes what carries the namespace; answers what that was.
    pub(super) async fn clean_up(&self, namespace: &Namespace) -> Result<Vec<String>, Failure> {
        let _ = namespace;
        match self {
            Self::Memory => Ok(Vec::new()),
            #[cfg(feature = "full")]
            Self::Nats(url) => super::servers::clean_up_nats(url, namespace).await,
            #[cfg(feature = "full")]
            Self::RabbitMq(url) => super::servers::clean_up_rabbitmq(url, namespace).await,
        }
    }
}
