//! What exchanges and queues are called: rules that a person can predict, from the namespace, the source and the
//! subscription alone.
//!
//! | what | name | with namespace `factum` |
//! |---|---|---|
//! | a service's exchange | `<namespace>.<source>` | `factum.https://shop.example/ordering` |
//! | the same, to bind to by type | `<exchange>.topic` | `factum.https://shop.example/ordering.topic` |
//! | all exchanges together | `<namespace>` | `factum` |
//! | routing key | `<type>.<partition>` | `com.example.order-placed.v1.3` |
//! | a subscription's queue | `<namespace>.<subscription>.<partition>` | `factum.billing.3` |
//! | what it could not read | `<namespace>.<subscription>.unreadable` | `factum.billing.unreadable` |
//! | who reads it | `<namespace>.<subscription>.readers` | `factum.billing.readers` |
//! | what this namespace has made | `<namespace>.registry` | `factum.registry` |
//! | how many partitions it has | `<namespace>.partitions` | `factum.partitions` |
//!
//! AMQP allows 255 bytes. What is longer keeps its beginning and ends in `~` and sixteen hexadecimal digits of its
//! hash.

use std::collections::BTreeMap;

use factum::integration::Source;
use lapin::types::ShortString;

use crate::error::Error;

/// The most bytes of a name in AMQP.
const NAME_BYTES_MAX: usize = 255;
const NAMESPACE_BYTES_MAX: usize = 60;

/// Gives everything of one namespace its name.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    namespace: String,
    exchanges: BTreeMap<String, String>,
}

impl Names {
    /// # Errors
    /// The namespace, or the exchange of a source, is no name.
    pub(crate) fn new(namespace: String, exchanges: BTreeMap<String, String>) -> Result<Self, Error> {
        let fits = (1..=NAMESPACE_BYTES_MAX).contains(&namespace.len())
            && namespace.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if !fits || namespace == "amq" {
            return Err(Error::Namespace { found: namespace });
        }
        for (source, exchange) in &exchanges {
            let fits = (1..=NAME_BYTES_MAX).contains(&exchange.len()) && !exchange.starts_with("amq.");
            if !fits || *exchange == namespace {
                return Err(Error::Exchange { source_uri: source.clone(), found: exchange.clone() });
            }
        }
        Ok(Self { namespace, exchanges })
    }

    /// The exchange to which each service's exchange is bound, and each subscription's queues are.
    pub(crate) fn hub(&self) -> ShortString {
        fit(&self.namespace, NAME_BYTES_MAX)
    }

    /// The exchange of one service.
    pub(crate) fn exchange(&self, source: &Source) -> ShortString {
        match self.exchanges.get(source.as_str()) {
            Some(name) => fit(name, NAME_BYTES_MAX),
            None => fit(&format!("{}.{source}", self.namespace), NAME_BYTES_MAX),
        }
    }

    /// The topic exchange behind it, from which somebody else takes some types.
    pub(crate) fn topic(&self, source: &Source) -> ShortString {
        fit(&format!("{}.topic", self.exchange(source)), NAME_BYTES_MAX)
    }

    /// The queue of one partition of a subscription.
    pub(crate) fn queue(&self, subscription: &str, partition: u8) -> ShortString {
        self.of(subscription, &partition.to_string())
    }

    /// Where deliveries go that are no events.
    pub(crate) fn unreadable(&self, subscription: &str) -> ShortString {
        self.of(subscription, "unreadable")
    }

    /// The queue by whose consumers the processes that read a subscription are counted.
    pub(crate) fn readers(&self, subscription: &str) -> ShortString {
        self.of(subscription, "readers")
    }

    fn of(&self, subscription: &str, what: &str) -> ShortString {
        let subscription = fit(subscription, NAME_BYTES_MAX - NAMESPACE_BYTES_MAX - ".unreadable.".len());
        fit(&format!("{}.{subscription}.{what}", self.namespace), NAME_BYTES_MAX)
    }

    /// The queue that lists what this namespace has made.
    pub(crate) fn registry(&self) -> ShortString {
        fit(&format!("{}.registry", self.namespace), NAME_BYTES_MAX)
    }

    /// The queue whose length limit tells the number of partitions.
    pub(crate) fn partitions(&self) -> ShortString {
        fit(&format!("{}.partitions", self.namespace), NAME_BYTES_MAX)
    }
}

/// What an envelope of this type is routed by within its exchange.
pub(crate) fn routing_key(r#type: &str, partition: u8) -> ShortString {
    let head = fit(r#type, NAME_BYTES_MAX - ".63".len());
    fit(&format!("{head}.{partition}"), NAME_BYTES_MAX)
}

/// The text if it is short enough, otherwise its beginning and its hash.
fn fit(text: &str, most: usize) -> ShortString {
    const HASH: usize = "~0123456789abcdef".len();
    if let Some(name) =
        Some(text).filter(|text| text.len() <= most).and_then(|it| ShortString::try_new(it).ok())
    {
        return name;
    }
    let mut end = most.saturating_sub(HASH);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = text.get(..end).unwrap_or_default();
    ShortString::try_new(format!("{head}~{:016x}", fnv1a(text))).unwrap_or_default()
}

/// FNV-1a, 64 bits: the same in every version and every language.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let exchanges = [("https://shop.example/payment".to_owned(), "payments".to_owned())];
        Names::new("factum".into(), exchanges.into()).unwrap()
    }

    #[test]
    fn a_service_has_the_exchange_of_its_source_unless_it_is_told_otherwise() {
        let names = names();
        let exchange = |source: &str| names.exchange(&source.into()).to_string();
        assert_eq!(exchange("https://shop.example/ordering"), "factum.https://shop.example/ordering");
        assert_eq!(exchange("urn:shop"), "factum.urn:shop");
        assert_eq!(exchange("https://shop.example/payment"), "payments");
        assert_eq!(names.topic(&"https://shop.example/payment".into()).as_str(), "payments.topic");
    }

    #[test]
    fn a_subscription_has_a_queue_for_each_partition() {
        let names = names();
        assert_eq!(names.queue("billing", 3).as_str(), "factum.billing.3");
        assert_eq!(names.unreadable("billing").as_str(), "factum.billing.unreadable");
        assert_eq!(routing_key("com.example.order-placed.v1", 3).as_str(), "com.example.order-placed.v1.3");
    }

    #[test]
    fn names_that_are_too_long_stay_different_from_each_other() {
        let long = |end: &str| "ä".repeat(200) + end;
        let exchange = |end: &str| names().exchange(&long(end).into()).to_string();
        assert!(exchange("a").len() <= 255, "{}", exchange("a").len());
        assert_ne!(exchange("a"), exchange("b"));
        let topic = |end: &str| names().topic(&long(end).into()).to_string();
        assert!(topic("a").len() <= 255 && topic("a") != topic("b") && topic("a") != exchange("a"));
        assert_ne!(routing_key(&"t".repeat(255), 63), routing_key(&"t".repeat(254), 63));
        assert!(routing_key(&"t".repeat(255), 63).as_str().ends_with(".63"));
        assert_ne!(names().queue(&long("a"), 1), names().queue(&long("b"), 1));
        assert!(names().queue(&long("a"), 63).as_str().ends_with(".63"));
    }

    #[test]
    fn a_namespace_has_no_dot_so_that_two_never_overlap() {
        for namespace in ["", "amq", "a.b", "Factum", "ä", &"n".repeat(61)] {
            let error = Names::new((*namespace).to_owned(), BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains("lower-case letters"), "{error}");
        }
    }

    #[test]
    fn an_exchange_that_the_broker_reserves_is_refused() {
        for exchange in ["", "amq.topic", "factum", &"x".repeat(256)] {
            let exchanges = [("urn:a".to_owned(), (*exchange).to_owned())];
            assert!(Names::new("factum".into(), exchanges.into()).is_err(), "{exchange}");
        }
    }
}
