//! factum's event bus on NATS JetStream.
