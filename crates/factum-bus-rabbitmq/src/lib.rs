//! factum's event bus on RabbitMQ.
