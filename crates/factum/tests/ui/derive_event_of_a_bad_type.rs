//! A type is a name for good, so it has one shape.

#[path = "support/prelude.rs"]
mod prelude;
use prelude::*;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "OrderPlaced")]
struct NoVersion;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.OrderPlaced.v1")]
struct UpperCase;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed")]
struct NoVersionEither;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example.shop.order-placed.v01")]
struct LeadingZero;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "shop.order-placed.v1")]
struct NoDomain;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(type = "com.example..order-placed.v1")]
struct Gap;

#[derive(Debug, Serialize, Deserialize, IntegrationEvent)]
#[event(
    type = "com.example.loooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooong.v1"
)]
struct Long;

fn main() {}
